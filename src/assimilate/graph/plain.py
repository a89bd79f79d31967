"""Typed settings as the plain containers of a checkpoint, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from assimilate.graph.settings import Settings
from assimilate.graph.wiring import TARGET, Wiring

T = TypeVar("T", bound=Settings)


def as_plain(value: Any) -> Any:
    """Settings as a mapping of what is typed, with their class as `_target_`; any other value as it is."""
    if isinstance(value, Settings):
        cls = type(value)
        fields = {field.alias or name: as_plain(getattr(value, name)) for name, field in cls.model_fields.items()}
        return {TARGET: f"{cls.__module__}.{cls.__qualname__}", **fields}
    return [as_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(group: str, value: T | Mapping[str, Any], base: type[T]) -> T:
    """The settings themselves, or those that `as_plain` made a mapping of.

    Args:
        group: the key that is named in messages, e.g. "loss".
        value: either.
        base: the class that they are of.

    Raises:
        UserError: the class cannot be imported, or a value is not allowed.
    """
    return Wiring({group: value}, {}).make(group, base) if isinstance(value, Mapping) else value
