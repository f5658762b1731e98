"""The commands: their flags, and what each does with them."""
