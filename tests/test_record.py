"""realfill.json as it is written, and as earlier releases wrote it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import realfill
from realfill.errors import UserError
from realfill.record import (
    RECORD_FILE,
    CompletionsRecord,
    Record,
    TrainingRecord,
    all_versions,
    claim,
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    training = TrainingRecord(script="train_realfill.py", files=["a"], steps=3, lora_sha256="0a")
    completions = CompletionsRecord(script="infer.py", completions={"0": {"strangeness": 1.5}})
    for record in (training, replace(completions, versions=all_versions())):
        record.write(tmp_path)
        assert type(record).read(tmp_path) == record
    versions = json.loads((tmp_path / RECORD_FILE).read_text())["versions"]
    assert versions["realfill"] == realfill.__version__


@pytest.mark.parametrize(
    "content, script",
    [
        ({}, None),
        ({"identity": {}, "settings": {"seed": 4}}, "train_realfill.py"),
        ({"model_path": "model", "settings": {"seed": 4}}, "infer.py"),
        ({"settings": {"geometry": "only", "seed": 4}, "from a later release": 1}, "infer.py"),
        ({"something": "else"}, "another program"),
    ],
)
def test_records_of_other_releases(tmp_path: Path, content: dict, script: str | None) -> None:
    (tmp_path / RECORD_FILE).write_text(json.dumps(content))
    for kind in (Record, TrainingRecord, CompletionsRecord):
        record = kind.read(tmp_path)
        assert (record.script, record.files) == (script, None)
        assert record.seed == content.get("settings", {}).get("seed")
    (tmp_path / "0.png").touch()
    if script == "infer.py":
        assert claim(tmp_path, "infer.py", ["0.png"]) == ["0.png"], "it named no files"
    else:
        with pytest.raises(UserError):
            claim(tmp_path, "infer.py", ["0.png"])


def test_only_names_in_the_folder_are_its_own(tmp_path: Path) -> None:
    Record(script="infer.py", files=["0.png", "../1.png"]).write(tmp_path)
    assert Record.read(tmp_path).files == ["0.png"]
