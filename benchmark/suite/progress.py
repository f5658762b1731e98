"""Saying how far a run is: a bar on a terminal, a line for each folder elsewhere."""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from benchmark.suite.folders import ResultsFolder
from benchmark.suite.scorer import Scored
from realfill.command_line import printable


class Progress:
    """Progress over folders, each of as many steps, with the time that is left."""

    def __init__(self, folders: Sequence[ResultsFolder], steps: int) -> None:
        """Count what there is to do."""
        self.folders, self.done = len(folders), 0
        total = len(folders) * steps
        self.bar = tqdm(total=total, unit="step", disable=not sys.stderr.isatty(), leave=False)

    def __enter__(self) -> "Progress":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self.bar.close()

    def step(self) -> None:
        """Count one metric of one folder."""
        self.bar.update()

    def report(self, result: Scored) -> None:
        """Say what came of a folder: one line, and what is amiss with it."""
        self.done += 1
        self.bar.set_description(result.folder.name)
        line = f"[{self.done}/{self.folders}] {result.folder.name}: "
        line += f"{len(result.images)} completions, {result.measured} numbers measured"
        details = "; ".join([*result.notes, *result.left_out])
        if details or self.bar.disable:
            tqdm.write(printable(f"{line}; {details}" if details else line), file=sys.stderr)
