"""The package's layout: each room uses only the rooms below it."""

import ast
from pathlib import Path

from tests.conftest import ROOT

ROOMS = (
    "completing",
    "ranking",
    "exemplars",
    "sheets",
    "training",
    "sampling",
    "geometry",
    "model",
    "matching",
    "datasets",
    "images",
)
"""From the top down; the modules beside them are below all rooms, but for `ABOVE_IMAGES`."""
ABOVE_IMAGES = ("scene",)


def room(module: str) -> int:
    """Return the floor of a module of the package, 0 for the lowest."""
    name = module.removeprefix("realfill.").split(".")[0]
    if name in ROOMS:
        return 2 * (len(ROOMS) - ROOMS.index(name))
    return 3 if name in ABOVE_IMAGES else 0


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "realfill"}


def test_no_arrow_points_upward() -> None:
    upward = []
    for path in sorted((ROOT / "realfill").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        upward += [
            f"{module} imports {name}" for name in imports(path) if room(name) > room(module)
        ]
    assert not upward


def test_the_package_and_its_metrics_do_not_import_the_scripts() -> None:
    scripts = {path.stem for path in ROOT.glob("*.py")} | {"scripts", "tests"}
    for path in (*(ROOT / "realfill").rglob("*.py"), *(ROOT / "benchmark").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[0] not in scripts, path


def test_no_circle_of_imports_within_the_package() -> None:
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / "realfill").rglob("*.py")
    }
    below = {module: imports(path) & files.keys() for module, path in files.items()}
    left = dict(below)
    while left:
        free = [module for module, uses in left.items() if not uses & left.keys() - {module}]
        assert free, f"a circle among {sorted(left)}"
        left = {module: uses for module, uses in left.items() if module not in free}
