"""Training the embedded base model of `data/tiny-inpainting`, one subject a file."""
