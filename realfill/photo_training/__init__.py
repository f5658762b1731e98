"""Training what serves every scene from any folder of photos."""
