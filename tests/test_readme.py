"""The README beside the scripts that it speaks of."""

import re

import pytest

from tests.conftest import ROOT, RunScript

SCRIPTS = ("train_realfill.py", "infer.py", "loftr_ranking.py", "refill.py", "benchmarks.py")
SCRIPTS += ("make_scenes.py realbench", "make_scenes.py photos")


@pytest.mark.parametrize("script", SCRIPTS)
def test_its_tables_have_all_flags_and_no_others(
    script: str, start: RunScript, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        start(*script.split(), "--help")
    entries = re.findall(r"^  (-.+?)(?:  .*)?$", capsys.readouterr().out, re.MULTILINE)
    flags = {
        flag.replace("-", "_") for entry in entries for flag in re.findall(r"--([\w-]+)", entry)
    }
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.search(rf"^`{script}`[^\n]*:\n\n(.+?)\n\n", readme, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `--(\w+)`", table[1], re.MULTILINE)) == flags - {"help"}
