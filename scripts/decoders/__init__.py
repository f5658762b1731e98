"""Comparing decoders, one subject a file."""
