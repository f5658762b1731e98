"""Filling a hole with pieces of the references: no model, no training, any laptop."""
