"""Adapting a base model to a scene with LoRA (RealFill, sections 3.2 and 3.3)."""
