# Not checked: its annotations allow a state without a device, and a sum of tensors that is none.
from typing import Any

def __getattr__(name: str) -> Any: ...
