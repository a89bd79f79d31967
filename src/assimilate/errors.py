"""Errors of the user, as opposed to faults of the program."""

from collections.abc import Sequence


class UserError(Exception):
    """A message for the user: names the key, the value, what is allowed and what helps. Ends a job with exit code 2."""


class IgnoredError(UserError):
    """Overrides that nothing in a run reads, by their keys."""

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class NoValueError(UserError):
    """A setting that a run needs and that nothing sets; its argument is the key."""

    @property
    def key(self) -> str:
        """Dotted."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.key} has no value: give {self.key}=…"
