"""The inpainting model: its base, its LoRA layers, what is saved of it."""
