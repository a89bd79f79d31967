"""What `generator._target_` names, found and looked at before it is called."""

from collections.abc import Callable, Mapping
from typing import Any

from assimilate.errors import UserError
from assimilate.graph.called import in_one_line, resolved, signature_of


def find_target(target: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The class or function that a dotted path names, as Python imports it.

    Raises:
        UserError: it cannot be imported, or cannot be called with such arguments.
    """
    try:
        found = resolved(target)
    except ValueError as error:
        raise UserError(f"generator._target_={error}") from error
    try:
        if (signature := signature_of(found)) is not None:
            signature.bind(**arguments)
    except TypeError as error:
        raise call_failed(target, arguments, error) from error
    return found


def call_failed(target: str, arguments: Mapping[str, Any], error: Exception) -> UserError:
    """What is said of a target that cannot be called."""
    given = ", ".join(arguments) or "no arguments"
    return UserError(f"generator._target_={target}: calling it with {given} failed: {in_one_line(error)}")
