"""The layout: what goes where in the hole, by PatchMatch (Barnes et al., 2009).

PatchMatch keeps its random seed for the whole process, so each layout is made by a process of its
own. This file is its program, and imports nothing that takes long.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def make_layout(
    pixels: np.ndarray, usable: np.ndarray, hole: np.ndarray, patch: int, seed: int
) -> np.ndarray:
    """Fill `hole`, a bool `(h, w)` at the corner of the canvas, from what is usable on it.

    The canvas is uint8 `(H, W, 3)`, `usable` bool `(H, W)`; patches are `2 * patch + 1` pixels
    wide. Returns the filled corner, uint8 `(h, w, 3)`. Raises `RuntimeError` if PatchMatch fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npy"
        np.savez(given, pixels=pixels, usable=usable, hole=hole, patch=patch, seed=seed)
        # Isolated (-I), so that nothing in the caller's folder is taken for a module.
        command = [sys.executable, "-I", str(Path(__file__).resolve()), str(given), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"PatchMatch failed: {done.stderr.strip() or done.returncode}")
        return np.load(made)


def is_available() -> bool:
    """Say whether PatchMatch's library works on this machine."""
    try:
        import patchmatch
    except ImportError:
        return False
    return patchmatch.patchmatch_available


def main() -> None:
    """Read the canvas from the file named first, write the layout to the one named second."""
    import patchmatch

    with np.load(sys.argv[1]) as given:
        height, width = given["hole"].shape
        mask = np.zeros(given["usable"].shape, bool)
        mask[:height, :width] = given["hole"]
        walls = ~given["usable"]
        walls[:height, :width] = False  # the target is context, whatever may be copied of it
        patchmatch.set_random_seed(int(given["seed"]))
        filled = patchmatch.inpaint(
            given["pixels"], mask, global_mask=walls, patch_size=int(given["patch"])
        )
    np.save(sys.argv[2], filled[:height, :width])


if __name__ == "__main__":
    main()
