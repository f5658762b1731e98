"""The report of a run: one dictionary, and the four files that are written from it."""
