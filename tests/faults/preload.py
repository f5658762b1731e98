"""What the scripts import, once for all of the runs that `inject` starts."""

import benchmark.report.files  # noqa: F401
import realfill.completing.complete
import realfill.matching.pairs
import realfill.training.job  # noqa: F401
import refill  # noqa: F401  (brings the commands)
