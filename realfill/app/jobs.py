"""What runs beside the page: the scripts, one at a time, in processes that can be ended."""

import atexit
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from realfill.command_line import SOMETHING_LEFT_OUT
from realfill.errors import UserError

ROOT = Path(__file__).parent.parent.parent
"""The folder with the scripts."""
PROGRESS = re.compile(
    r"^(\w+): +\d+%.*?(\d+)/(\d+) \[(?:[\d:]+)<([\d:?]+)"
    r"(?:, +([\d.]+)(step/s|s/step))?(?:.*loss=([\d.]+))?"
)
"""A progress bar of tqdm: name, done, all, time left, pace and its unit, loss."""
STAGES = {
    "geometry: finding the cameras": "finding out where the photos were taken",
    "geometry: cameras by": "comparing depths and colours",
    "geometry: ": "putting together what your photos show",
    "best: ": "ranking",
    "wrote ": "writing",
}
"""What a line begins with, and what begins with it, in words; other lines change nothing."""
KEPT_LINES = 40
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "COLUMNS": "120", "OMP_WAIT_POLICY": "PASSIVE"}
"""Of the commands. Threads that wait give their core away: page and browser want it as well, and
those that wait for one another in a loop were seen to take 15 times as long beside them."""
Command = list[str]


@dataclass
class Work:
    """Commands to be run one after another for a scene, and how far they are."""

    scene: str
    title: str
    commands: list[Command]
    state: str = "waiting"
    """One of waiting, running, done, failed and cancelled."""
    stage: str = ""
    """What is being done, in words."""
    share: float | None = None
    """How much of the stage is done, 0 to 1, if that is known."""
    lines: list[str] = field(default_factory=list)
    """The last lines that the commands printed."""
    started: float = 0.0
    """By `time.monotonic`."""
    prepare: Callable[[], None] | None = None
    """Called before each command."""
    base: str | None = None
    """The base that is trained, if one is."""
    pace: float | None = None
    """Seconds that a training step takes, once that is known."""
    begun: int = 0
    """How many of the commands were begun."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


class Queue:
    """Runs work in the order in which it comes, one piece at a time, until the page's end."""

    def __init__(self) -> None:
        """Start with nothing to do."""
        self.work: list[Work] = []
        self.process: subprocess.Popen[str] | None = None
        self.changed = threading.Condition()
        threading.Thread(target=self.run_for_ever, daemon=True).start()
        atexit.register(self.close)

    def add(self, work: Work, after: str | None = None) -> Work:
        """Add work for a scene; work with the title `after`, if it is being done, becomes it.

        Raises `UserError` if there is other work for the scene already.
        """
        with self.changed:
            latest = self.latest(work.scene)
            if latest and not latest.ended:
                if latest.title != after:
                    raise UserError("This scene is being worked on: wait for it, or cancel it.")
                latest.title, latest.prepare, latest.base = work.title, work.prepare, work.base
                latest.commands = [*latest.commands, *work.commands]
                return latest
            self.work.append(work)
            self.changed.notify_all()
        return work

    def pace(self, base: str) -> float | None:
        """Return the seconds that a training step of a base took last, if that is known."""
        paces = (work.pace for work in reversed(self.work) if work.base == base)
        return next((pace for pace in paces if pace), None)

    def latest(self, scene: str) -> Work | None:
        """Return the last work for a scene, or None."""
        return next((work for work in reversed(self.work) if work.scene == scene), None)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(work.ended for work in self.work)

    def place(self, work: Work) -> int:
        """Return how many are before `work` in the line."""
        return [each for each in self.work if not each.ended].index(work)

    def cancel(self, scene: str) -> None:
        """End the work for a scene: its process, with all that it has started."""
        with self.changed:
            work = self.latest(scene)
            if work is None or work.ended:
                return
            running, work.state = work.state == "running", "cancelled"
            if running and self.process is not None:
                end(self.process)

    def close(self) -> None:
        """End what is running; nothing more is begun."""
        with self.changed:
            for work in self.work:
                if not work.ended:
                    work.state = "cancelled"
            if self.process is not None and self.process.poll() is None:
                end(self.process)

    def run_for_ever(self) -> None:
        """Take the next piece of work as soon as there is one."""
        while True:
            with self.changed:
                while not (waiting := [each for each in self.work if each.state == "waiting"]):
                    self.changed.wait()
                work = waiting[0]
                work.state, work.started = "running", time.monotonic()
            while command := self.next_command(work):
                self.run(work, command)

    def next_command(self, work: Work) -> Command | None:
        """Return the next command of a running piece of work; without one, it is done."""
        with self.changed:
            if work.state == "running" and work.begun == len(work.commands):
                work.state = "done"
            if work.state != "running":
                return None
            work.begun += 1
            return work.commands[work.begun - 1]

    def run(self, work: Work, command: Command) -> None:
        """Run one command, follow what it prints, and write down how it ended."""
        if work.prepare:
            work.prepare()
        with self.changed:
            if work.state != "running":
                return
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=os.environ | ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        assert self.process.stdout is not None  # it is a pipe
        for line in lines_of(self.process.stdout):
            follow(work, line)
        code = self.process.wait()
        if code and work.state == "running":
            work.state, work.stage = "failed", explain(code, work.lines)


def end(process: "subprocess.Popen[str]") -> None:
    """End a process and those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def lines_of(pipe: IO[str]) -> Iterator[str]:
    """Yield the lines of a pipe; those that a progress bar writes over one another as well."""
    line = ""
    while letter := pipe.read(1):
        if letter in "\r\n":
            if line.strip():
                yield line.strip()
            line = ""
        else:
            line += letter


def follow(work: Work, line: str) -> None:
    """Write down what a line says of the progress."""
    bar = PROGRESS.match(line)
    if bar is None:
        work.lines = [*work.lines, line][-KEPT_LINES:]
        known = [stage for start, stage in STAGES.items() if line.startswith(start)]
        if known:
            work.stage, work.share = known[0], None
        return
    name, done, total, left, pace, unit, loss = bar.groups()
    if pace and name == "training":
        work.pace = float(pace) if unit == "s/step" else 1 / max(1e-3, float(pace))
    work.share = int(done) / max(1, int(total))
    work.stage = f"{name}: {done} of {total}, {left.replace('?', '…')} left"
    work.stage += f", loss {loss}" if loss else ""


def explain(code: int, lines: list[str]) -> str:
    """Return a sentence on why a command ended with `code`."""
    if code < 0:
        return (
            "The work was ended from outside, perhaps because the memory was full. What was "
            "finished is kept: start it again, with smaller photos or fewer steps if it ends again."
        )
    said = [line for line in lines if not line.startswith(("Traceback", "File "))]
    left_out = [line for line in said if line.startswith("left out: ")]
    if code in (2, SOMETHING_LEFT_OUT) and said:
        # The script's name comes first; a scene's reason says more than that there is none.
        line = left_out[-1].removeprefix("left out: ") if left_out else said[-1]
        return line.split(": ", 1)[-1]
    return f"This is a fault of the program ({said[-1] if said else code}). Please report it."


def as_typed(command: Command) -> str:
    """Return a command as a person types it."""
    return "python " + shlex.join(command)
