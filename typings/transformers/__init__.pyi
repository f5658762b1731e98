# Not checked: its decorators hide what its models' methods take.
from typing import Any

def __getattr__(name: str) -> Any: ...
