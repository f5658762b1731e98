"""Correspondences between photos, and what they are evidence of."""
