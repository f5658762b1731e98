"""Matchers: one file each over the common interface in `base`."""
