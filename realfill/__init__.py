"""RealFill: reference-driven image completion (arXiv 2309.16668)."""

__version__ = "0.1.0"
