"""Ranking completions and feeding the best back (RealFill, section 3.4)."""
