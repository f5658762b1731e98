"""The layout of both packages: each room uses only the rooms below it."""

import ast
from pathlib import Path

from tests.conftest import ROOT

ROOMS = (
    "benchmark.report",
    "benchmark.suite",
    "benchmark",
    "realfill.app",
    "realfill.commands",
    "realfill.scenes",
    "realfill.completing",
    "realfill.ranking",
    "realfill.canvas",
    "realfill.exemplars",
    "realfill.sheets",
    "realfill.photo_training",
    "realfill.training",
    "realfill.sampling",
    "realfill.geometry",
    "realfill.model",
    "realfill.matching",
    "realfill.datasets",
    "realfill.scene",
    "realfill.images",
    "realfill",
)
"""From the top down; a package's own name stands for the modules beside its rooms."""


def room(module: str) -> int:
    """Return the floor of a module, 0 for the lowest."""
    names = [module.rsplit(".", count)[0] for count in range(module.count(".") + 1)]
    return len(ROOMS) - min(ROOMS.index(name) for name in names if name in ROOMS) - 1


def modules() -> dict[str, Path]:
    """Return the files of both packages by the names of their modules."""
    files = [path for name in ("realfill", "benchmark") for path in (ROOT / name).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def imports(path: Path) -> set[str]:
    """Return the modules of both packages that a file imports, also within functions.

    What a file imports only if it is run as a script is not counted.
    """
    tree = ast.parse(path.read_text("utf-8"))
    script = "if __name__ == '__main__':"
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith(script)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("realfill", "benchmark")}


def test_no_arrow_points_upward() -> None:
    upward = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imports(path)
        if room(name) > room(module)
    ]
    assert not upward


def test_every_folder_is_a_room() -> None:
    packages = {module.rpartition(".")[0] for module in modules()}
    assert packages <= set(ROOMS)


def test_the_package_and_its_metrics_do_not_import_the_scripts() -> None:
    scripts = {path.stem for path in ROOT.glob("*.py")} | {"scripts", "tests"}
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[0] not in scripts, path


def test_no_circle_of_imports() -> None:
    files = modules()
    below = {module: imports(path) & files.keys() for module, path in files.items()}
    left = dict(below)
    while left:
        free = [module for module, uses in left.items() if not uses & left.keys() - {module}]
        assert free, f"a circle among {sorted(left)}"
        left = {module: uses for module, uses in left.items() if module not in free}


def test_no_file_is_longer_than_a_person_reads() -> None:
    limits = {path: 150 for path in ROOT.glob("*.py")}
    limits |= {
        path: 250
        for room in ("realfill", "benchmark", "scripts")
        for path in ROOT.joinpath(room).rglob("*.py")
    }
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in limits}
    assert not {path.name for path in limits if lengths[path] > limits[path]}
