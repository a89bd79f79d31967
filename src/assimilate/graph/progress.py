"""How long work tells its caller how far it is."""

from collections.abc import Callable, Mapping

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called as ``progress(done, total, {"loss": 0.3})``; the mapping holds what is new and worth showing, or nothing."""


def silent(done: int, total: int, values: Mapping[str, float]) -> None:
    """Show nothing: the default of every function that takes a ``Progress``."""
