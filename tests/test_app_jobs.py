"""What runs beside the app's page: one piece of work at a time, and what is said of it."""

import time
from pathlib import Path

import pytest

from realfill.app.display import duration
from realfill.app.jobs import Queue, Work, explain, follow
from realfill.errors import UserError


def wait(work: Work, seconds: float = 30) -> Work:
    end = time.monotonic() + seconds
    while not work.ended:
        assert time.monotonic() < end, work
        time.sleep(0.02)
    return work


def test_one_piece_of_work_at_a_time(tmp_path: Path) -> None:
    queue = Queue()
    script = f"import time; open({str(tmp_path / 'x')!r}, 'a').write('<'); time.sleep(0.3); "
    script += f"open({str(tmp_path / 'x')!r}, 'a').write('>')"
    first = queue.add(Work("one", "One", [["-c", script]]))
    second = queue.add(Work("two", "Two", [["-c", script]]))
    with pytest.raises(UserError, match="wait for it"):
        queue.add(Work("one", "Again", [["-c", script]]))
    assert queue.place(second) == 1
    assert (wait(first).state, wait(second).state) == ("done", "done")
    assert (tmp_path / "x").read_text() == "<><>"


def test_work_is_cancelled_with_all_that_it_started(tmp_path: Path) -> None:
    child = (
        f"import time\nwhile True: open({str(tmp_path / 'x')!r}, 'a').write('x'); time.sleep(.05)"
    )
    queue = Queue()
    started = ["-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"]
    work = queue.add(Work("one", "One", [started, ["-c", "pass"]]))
    while not (tmp_path / "x").exists():
        time.sleep(0.02)
    queue.cancel("one")
    assert wait(work).state == "cancelled"
    time.sleep(0.3)
    size = (tmp_path / "x").stat().st_size
    time.sleep(0.3)
    assert (tmp_path / "x").stat().st_size == size
    assert wait(queue.add(Work("one", "Again", [["-c", "pass"]]))).state == "done"


def test_filling_goes_on_from_a_look_that_is_not_over(tmp_path: Path) -> None:
    queue, file = Queue(), tmp_path / "x"
    look = Work("one", "Looking", [["-c", "import time; time.sleep(0.5)"]])
    fill = Work("one", "Filling", [["-c", "pass"]], prepare=lambda: file.write_text("prepared"))
    assert queue.add(look) is queue.add(fill, after="Looking")
    assert wait(look).state == "done"
    assert (look.title, look.begun, file.read_text()) == ("Filling", 2, "prepared")
    assert queue.add(fill, after="Looking") is fill
    assert wait(fill).state == "done"


def test_a_killed_worker_is_a_sentence_and_the_queue_goes_on() -> None:
    queue = Queue()
    killed = wait(queue.add(Work("one", "One", [["-c", "import os; os.kill(os.getpid(), 9)"]])))
    assert killed.state == "failed"
    assert "memory" in killed.stage
    assert wait(queue.add(Work("one", "One", [["-c", "pass"]]))).state == "done"


def test_progress_and_faults_are_read_from_what_scripts_print() -> None:
    work = Work("one", "One", [])
    follow(work, "training:  33%|###  | 20/60 [00:06<00:08,  4.71step/s, loss=0.2161]")
    assert work.share == pytest.approx(1 / 3)
    assert "20 of 60" in work.stage
    assert "0.2161" in work.stage
    assert work.pace == pytest.approx(1 / 4.71)
    assert "64 s" in duration(work.pace, 300)
    assert "machine" not in duration(None, 300)
    follow(work, "training:  50%|#####  | 30/60 [00:06<00:08,  1.50s/step, loss=0.2161]")
    assert work.pace == 1.5
    follow(work, "geometry: finding the cameras")
    assert work.share is None
    before = work.stage
    assert "20 of 60" not in before
    follow(work, "the lock of process 1 was taken over")
    assert work.stage == before
    said = ["left out: yard: data/yard/ref: no photos in it", "complete_scenes.py: none completed"]
    assert explain(2, said) == "data/yard/ref: no photos in it"
    assert "fault of the program" in explain(1, ["Traceback (most recent call last):", "KeyError"])
