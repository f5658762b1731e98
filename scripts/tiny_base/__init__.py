"""Training the embedded base model of `data/tiny-inpainting`, one subject a file."""

SIZE = 128
"""Native size: the side in pixels of the crops that the UNet sees."""
