"""How far the scenes are, and how it ended with each."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from realfill.scenes.plan import SceneRecord


@dataclass(frozen=True)
class Outcome:
    """How it ended with a scene."""

    scene: Path
    record: SceneRecord | None = None
    """None if it did not come to its end."""
    fault: str = ""
    """One line on why it did not."""
    new: bool = True
    """Whether something was done, or all was there."""


@dataclass
class Progress:
    """How far the scenes are."""

    scenes: list[Path]
    at_once: int = 1
    started: float = field(default_factory=time.monotonic)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """The scenes that did not come to their end."""
        return [outcome for outcome in self.outcomes if outcome.fault]

    def line(self) -> str:
        """Return how many scenes are done, running and failed, and the time left."""
        waiting = len(self.scenes) - len(self.outcomes)
        done, running = len(self.outcomes) - len(self.failed), min(waiting, self.at_once)
        said = f"{done} of {len(self.scenes)} scenes done, {running} running"
        said += f", {len(self.failed)} failed"
        new = sum(outcome.new and not outcome.fault for outcome in self.outcomes)
        if waiting and new:
            seconds = (time.monotonic() - self.started) / new * waiting
            said += f", about {in_words(seconds)} left"
        return said


def in_words(seconds: float) -> str:
    """Return a length of time as a person says it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
