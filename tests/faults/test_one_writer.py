"""One launch at a time writes to a folder, and what was killed leaves it usable."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from realfill.errors import UserError
from realfill.lock import LOCK_FILE, one_writer
from realfill.storage import (
    OUTDATED,
    REPLACEMENT,
    appears_whole,
    clear_partial_writes,
    finish_replacement,
    replaced_together,
    write_text,
)
from tests.conftest import (
    LAUNCH,
    ROOT,
    RunScript,
    draw_photo,
    environment,
    launch,
    train_flags,
    write_scene,
)
from tests.helpers import LORA, contents

HOLD = """
import sys, time
from pathlib import Path
from realfill.lock import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen:
    """Start a process that holds the lock of `folder`, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_and_a_killed_one_is_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = hold(tmp_path)
    (tmp_path / ".0.png.abcd.partial.png").touch()
    try:
        with pytest.raises(UserError, match=f"process {process.pid} on"), one_writer(tmp_path):
            pass
        assert (tmp_path / ".0.png.abcd.partial.png").exists(), "the writer's own"
    finally:
        process.kill()
        process.wait()
    with one_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    assert f"process {process.pid}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_overwriting_waits_for_no_writer(scene_folder: Path, refuse: RunScript) -> None:
    """The completions that another process is making are not replaced under its hands."""
    results = scene_folder / "results"
    flags = ["infer.py", "--scene", scene_folder, "--output_dir", results, "--geometry", "off"]
    results.mkdir()
    draw_photo(0).save(results / "0.png")
    process = hold(results)
    before = contents(results)
    try:
        assert f"process {process.pid} on" in refuse(*flags, "--overwrite")
        assert contents(results) == before
    finally:
        process.kill()
        process.wait()


def test_a_lock_ends_with_an_error_and_serves_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), one_writer(tmp_path):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_temporary_names_are_random(tmp_path: Path) -> None:
    with appears_whole(tmp_path / "a") as first, appears_whole(tmp_path / "a") as second:
        assert first != second
        first.touch()
        second.touch()


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("the user's")
    with pytest.raises(FileExistsError), appears_whole(tmp_path / "0.png", new=True) as path:
        path.write_text("ours")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the user's"]


def old_folder(folder: Path) -> Path:
    """Write a folder with two files and a folder."""
    (folder / "part").mkdir(parents=True)
    for name in ("a", "b", "part/c"):
        (folder / name).write_text("old")
    return folder


def replace_all(folder: Path) -> None:
    with replaced_together(folder, ["a", "b"]) as temporary:
        (temporary / "part").mkdir()
        for name in ("a", "part/d"):
            (temporary / name).write_text("new")


def state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


OLD = {"a": "old", "b": "old", "part/c": "old"}
NEW = {"a": "new", "part/d": "new"}


def test_files_are_replaced_together(tmp_path: Path) -> None:
    replace_all(old_folder(tmp_path))
    assert state(tmp_path) == NEW


@pytest.mark.parametrize("call", range(1, 4))
def test_a_replacement_that_breaks_off_is_none_or_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Each of its renames fails once: the first makes it ready, the others put it in place."""
    count, replace = [0], os.replace

    def fail_once(source: Path, target: Path) -> None:
        count[0] += 1
        if count[0] == call:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(OSError):
        replace_all(old_folder(tmp_path))
    with one_writer(tmp_path):
        pass
    assert state(tmp_path) == (OLD if call == 1 else NEW)
    replace_all(tmp_path)
    assert state(tmp_path) == NEW


def test_an_error_while_writing_leaves_the_old(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), replaced_together(old_folder(tmp_path)) as temporary:
        (temporary / "a").write_text("half")
        raise MemoryError
    assert state(tmp_path) == OLD


def test_a_replacement_that_is_not_ready_is_cleared(tmp_path: Path) -> None:
    (old_folder(tmp_path) / ".replacement.12ab.partial").mkdir()
    clear_partial_writes(tmp_path)
    (tmp_path / REPLACEMENT).mkdir()
    finish_replacement(tmp_path)
    assert not (tmp_path / REPLACEMENT / OUTDATED).exists()
    assert state(tmp_path) == OLD


def test_files_follow_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "plain", "x")
    (tmp_path / "as usual").touch()
    with appears_whole(tmp_path / "kept to the owner") as path:
        path.touch(mode=0o600)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_bytes_of_a_path_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    write_text(folder / "a.txt", str(folder))
    assert "caf\\udce9" in (folder / "a.txt").read_text("utf-8")


def test_a_child_of_a_launcher_ends_with_it_and_a_plain_one_does_not(tmp_path: Path) -> None:
    """A launcher starts a child and is ended; the child writes a letter every tenth of a second."""
    child = "import time\nfrom realfill.command_line import run\n"
    child += "def main():\n for _ in range(100):\n  open(PATH, 'a').write('x'); time.sleep(0.1)\n"
    launcher = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    alive = {}
    for kind, variables in (("plain", {}), ("launched", {"ACCELERATE_DYNAMO_BACKEND": "NO"})):
        path = tmp_path / kind
        code = child.replace("PATH", repr(str(path))) + "run(main)"
        process = subprocess.Popen(
            [sys.executable, "-c", launcher, code], cwd=ROOT, env=environment() | variables
        )
        while not path.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait()
        alive[kind] = path
    time.sleep(1.5)
    sizes = {kind: path.stat().st_size for kind, path in alive.items()}
    time.sleep(0.5)
    assert alive["launched"].stat().st_size == sizes["launched"]
    assert alive["plain"].stat().st_size > sizes["plain"]


@pytest.mark.slow
def test_a_training_ended_with_its_launcher_goes_on_to_the_same_weights(
    base_folder: Path, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene")

    def flags(name: str) -> list[object]:
        saving = ("--checkpointing_steps", 1, "--resume_from_checkpoint", "latest")
        return [*train_flags(scene, base_folder, tmp_path / name, steps=30), *saving]

    launch(*flags("whole"))
    model = tmp_path / "ended"
    command = [str(each) for each in (*LAUNCH, *flags("ended"))]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    while not list(model.glob("checkpoint-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert not (model / LORA).exists()
    time.sleep(2)  # the launcher's child looks for it every second
    launch(*flags("ended"))
    ended, whole = (load_file(tmp_path / name / LORA) for name in ("ended", "whole"))
    assert ended.keys() == whole.keys()
    assert all(torch.equal(ended[name], whole[name]) for name in whole)
