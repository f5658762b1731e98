"""Seeds of single steps and batches."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed of 56 bits that belongs to `parts`, such as seed, step and process.

    What draws from a seed of its own needs no random states kept: a resumed run goes on exactly
    as it would have.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
