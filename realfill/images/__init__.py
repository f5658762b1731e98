"""Image arithmetic, without a model in it."""
