"""The reference canvas: a reference beside the photo, and learned tokens that say what to do."""
