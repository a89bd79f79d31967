"""What a class from outside must define, checked when it is found, before anything is built."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_required_unless"


def required(*, unless: str) -> Callable[[F], F]:
    """Mark a method that a subclass must define, unless it overrides the method that calls it.

    Args:
        unless: the method that calls it.
    """

    def mark(method: F) -> F:
        setattr(method, _MARK, unless)
        return method

    return mark


def left_out(cls: type) -> list[str]:
    """What a class must define and does not, in alphabetical order."""
    found = set(getattr(cls, "__abstractmethods__", ()))
    # Of settings, class variables too that a base declares without a value.
    found |= {name for name in getattr(cls, "__class_vars__", ()) if not hasattr(cls, name)}
    for owner in cls.__mro__:
        for name, member in vars(owner).items():
            unless = getattr(member, _MARK, None)
            if unless is None or inspect.getattr_static(cls, name) is not member:
                continue
            if inspect.getattr_static(cls, unless) is inspect.getattr_static(owner, unless):
                found.add(name)
    return sorted(found)
