"""How long-running work reports its progress."""

from collections.abc import Callable, Mapping

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called as ``progress(done, total, {"loss": 0.3})``; the mapping holds what is new and worth showing, or nothing."""


def silent(done: int, total: int, values: Mapping[str, float]) -> None:
    """Show nothing: the default of every function that takes a ``Progress``."""
