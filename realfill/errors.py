"""The one exception that a user is to read."""


class UserError(Exception):
    """A mistake that the user can cure. The message names the file and what to do."""
