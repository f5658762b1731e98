"""Sampling completions, and the folder that holds them."""
