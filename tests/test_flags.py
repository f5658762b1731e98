"""docs/flags.md has the flags and defaults that the scripts have."""

import re

import pytest

from scripts.write_flags import PAGE, make_page
from tests.conftest import RunScript

SCRIPTS = ("train_realfill.py", "infer.py", "loftr_ranking.py", "refill.py", "benchmarks.py")
SCRIPTS += ("train_task_tokens.py", "reposition.py", "new_view.py")
SCRIPTS += ("make_scenes.py realbench", "make_scenes.py photos", "complete_scenes.py")
SCRIPTS += ("app.py",)
SCRIPTS += ("train_decoder.py", "train_prior.py")


def test_the_page_is_written_from_the_parsers_of_today() -> None:
    assert PAGE.read_text("utf-8") == make_page(), "run python -m scripts.write_flags"


@pytest.mark.parametrize("script", SCRIPTS)
def test_its_tables_have_all_flags_and_no_others(
    script: str, start: RunScript, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        start(*script.split(), "--help")
    entries = re.findall(r"^  (-.+?)(?:  .*)?$", capsys.readouterr().out, re.MULTILINE)
    flags = {flag for entry in entries for flag in re.findall(r"--[\w-]+", entry)}
    table = re.search(rf"^## `{script}`\n(.+?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    rows = re.findall(r"^\| (`--.+?) \|", table[1], re.MULTILINE)
    assert {flag for row in rows for flag in re.findall(r"--[\w-]+", row)} == flags - {"--help"}
