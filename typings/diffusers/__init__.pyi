# Not checked: its annotations say `tuple[int]` for any number of integers, and a dictionary for a
# configuration with attributes.
from typing import Any

def __getattr__(name: str) -> Any: ...
