"""The model hub: can it be reached, and what it says if it refuses."""

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from realfill.errors import UserError


def hub_answers(source: str, revision: str | None = None) -> bool:
    """Say whether the hub can be reached; if not, only what was downloaded before is there.

    Raises `UserError` if the hub answers that it has no such model for us.
    """
    try:
        HfApi().model_info(source, revision=revision, timeout=10)
    except HfHubHTTPError as error:
        raise UserError(f"{source}: the model hub refused it ({first_line(error)})") from None
    except Exception:  # its HTTP library, and so its errors, differ from version to version
        return False
    return True


def first_line(error: Exception) -> str:
    """Return the first line of what `error` says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
