"""What `generator._target_` names, found and looked at before it is called."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from assimilate.errors import UserError


def find_target(target: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The class or function that a dotted path names, as Python imports it.

    Raises:
        UserError: it cannot be imported, or cannot be called with such arguments.
    """
    key = f"generator._target_={target}"
    if "." not in target:
        raise UserError(f"{key}: needed is module.Class or module.function, as Python imports it")
    try:
        found = pkgutil.resolve_name(target)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{key}: there is no module {error.name!r}; run from the folder that holds it, or put that on PYTHONPATH"
        ) from error
    except (AttributeError, ValueError) as error:
        raise UserError(f"{key}: {one_line(error)}") from error
    except Exception as error:
        raise UserError(f"{key}: importing it failed: {one_line(error)}") from error
    if not callable(found):
        raise UserError(f"{key}: is {found!r}; needed is a class or a function")
    result: Callable[..., Any] = found
    try:
        inspect.signature(result).bind(**arguments)
    except TypeError as error:
        raise call_failed(target, arguments, error) from error
    except ValueError:  # some that are written in C have no signature to look at
        pass
    return result


def call_failed(target: str, arguments: Mapping[str, Any], error: Exception) -> UserError:
    """What is said of a target that cannot be called."""
    given = ", ".join(arguments) or "no arguments"
    return UserError(f"generator._target_={target}: calling it with {given} failed: {one_line(error)}")


def one_line(error: Exception) -> str:
    """The kind of an error and its text."""
    return " ".join(f"{type(error).__name__}: {error}".split())
