"""Scoring results folders: finding them, what the cache knows, rankings, and averages."""
