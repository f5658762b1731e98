"""The names of the files that geometry leaves in a folder of completions."""

RECORD = "cameras.json"
REPORT = "geometry.png"
PICTURES = ("prefill.png", "confidence.png")
