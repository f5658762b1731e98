"""The notebook runs from top to bottom on a CPU, with the embedded base."""

import re
from pathlib import Path

import pytest
from PIL import Image

from realfill.images.read import read_photo
from realfill.sampling.folder import find_completions
from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "realfill.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept"
    settings = notebook.cells[2]
    settings.source, found = re.subn(r"else 100$", "else 10", settings.source, flags=re.M)
    assert found == 1
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
    for name in ("exemplars", "samples"):
        folder = tmp_path / "results" / name
        completions = find_completions(folder)
        assert len(completions) == 4
        assert read_photo(completions[0]).size == read_photo(ROOT / "data/yard/target/gt.png").size
        with Image.open(folder / "contact_sheet.png") as sheet:
            assert sheet.width >= 1000
    assert (tmp_path / "realfill-results.zip").stat().st_size > 1_000_000
