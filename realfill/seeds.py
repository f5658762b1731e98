"""The seed of a run, and those of its single steps and batches."""

import hashlib
import secrets


def derive_seed(*parts: int | str) -> int:
    """Return a seed of 56 bits that belongs to `parts`, such as seed, step and process.

    What draws from a seed of its own needs no random states kept: a resumed run goes on exactly
    as it would have.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def choose_seed(requested: int | None, recorded: int | None) -> int:
    """Return the seed asked for, the recorded one, or a new one that all processes share."""
    if requested is not None:
        return requested
    if recorded is not None:
        return recorded
    from accelerate.utils import broadcast_object_list  # seconds to import

    return broadcast_object_list([secrets.randbelow(2**31)])[0]
