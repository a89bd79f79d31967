"""A configuration becomes steps: classes by `_target_`, upstream steps by their role; what was read is remembered."""

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from assimilate.errors import UserError
from assimilate.graph.refusal import refused, unknown_word
from assimilate.graph.settings import At, From, Settings, When, choices, settings_type

TARGET = "_target_"
T = TypeVar("T", bound=Settings)
_ABSENT: Any = object()


class Wiring:
    """Makes components of a configuration.

    Args:
        config: the composed configuration, plain values.
        roles: what makes the step of each field whose type is a step, by the field's name; called once.

    Attributes:
        read: keys of the configuration that decide something in this run.
        unread: keys that a component has but does not use under its settings, each with the reason.
    """

    def __init__(self, config: Mapping[str, Any], roles: Mapping[str, Callable[[], Any]]) -> None:
        self.config = config
        self.read: set[str] = set()
        self.unread: dict[str, str] = {}
        self._roles = roles
        self._made: dict[str, Any] = {}

    def role(self, name: str) -> Any:
        """The step of that role; None where the run has none."""
        if name not in self._made:
            self._made[name] = self._roles[name]()
        return self._made[name]

    def select(self, path: str) -> Any:
        """What the configuration holds at a dotted path; None where it has none."""
        found = self._find(path)
        return None if found is _ABSENT else found

    def take(self, path: str) -> Any:
        """`select`, for a value that decides something in this run."""
        self.read.add(path)
        return self.select(path)

    def class_at(self, path: str, base: type[T]) -> type[T]:
        """The class that a node of the configuration names by `_target_`; `base` itself where it names none.

        Raises:
            UserError: it cannot be imported, or is no subclass of `base`.
        """
        node = self._find(path)
        target = node.get(TARGET) if isinstance(node, Mapping) else None
        return base if target is None else find_class(f"{path}.{TARGET}", target, base)

    def make(self, path: str | None, base: type[T], **given: Any) -> T:
        """The component whose settings stand at `path`.

        Args:
            path: dotted; None for one that has no place of its own: all its fields stand elsewhere (`From`, `At`).
            base: what it must be.
            given: fields that do not come from the configuration.

        Raises:
            UserError: the class cannot be used, or a setting has a value that it may not have.
        """
        return self.fill(path, base if path is None else self.class_at(path, base), given)

    def fill(self, path: str | None, cls: type[T], given: Mapping[str, Any] | None = None) -> T:
        """The component of that very class whose settings stand at `path`; otherwise like `make`."""
        given = given or {}
        values: dict[str, Any] = {}
        places: dict[str, str | None] = {}
        for name, field in sorted(cls.model_fields.items(), key=lambda item: bool(_conditions(item[1]))):
            place = places[name] = _place_of(name, field, path)
            if name in given:
                values[name] = given[name]
            elif not _is_wanted(field, values):
                values[name] = None
            elif (value := self._value(name, field, place)) is not _ABSENT:
                values[name] = value
        try:
            made = cls(**values)
        except ValidationError as error:
            raise refused(error, cls, {name: place or name for name, place in places.items()}) from error
        unused = made.unused()
        for name, place in places.items():
            if place is None or name in given:
                continue
            if name in unused:
                self.unread[place] = unused[name]
                self.read -= {key for key in self.read if path and key.startswith(f"{path}.{name}.")}
            else:
                self.read.add(place)
        return made

    def _value(self, name: str, field: FieldInfo, place: str | None) -> Any:
        """The value of one field."""
        nested = settings_type(field.annotation)
        if nested is not None and name in self._roles:
            return self.role(name)
        value = _ABSENT if place is None else self._find(place)
        if nested is None or value is _ABSENT or value is None or isinstance(value, Settings):
            return value
        assert place is not None
        if isinstance(value, Mapping):
            spread = any(isinstance(mark, At) for mark in field.metadata)
            return self.fill(place, nested if spread else self.class_at(place, nested))
        # A word: the class that it chooses, whose settings stand beside it.
        return self.fill(place.rpartition(".")[0], find_class(place, value, nested))

    def _find(self, path: str) -> Any:
        node: Any = self.config
        for part in path.split(".") if path else ():
            node = node.get(part, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        return node

    def is_read(self, key: str) -> bool:
        """Whether a key, or one of the settings below it, decides something in this run."""
        below = f"{key}."
        return any(known == key or known.startswith(below) for known in self.read)


def _place_of(name: str, field: FieldInfo, path: str | None) -> str | None:
    """Where the value of a field stands; None where it can only be given, or be its default."""
    for mark in field.metadata:
        if isinstance(mark, From | At):
            return mark.path
    called = field.alias or name
    return None if path is None else f"{path}.{called}" if path else called


def _conditions(field: FieldInfo) -> list[When]:
    return [mark for mark in field.metadata if isinstance(mark, When)]


def _is_wanted(field: FieldInfo, values: Mapping[str, Any]) -> bool:
    return all(values.get(mark.field) in mark.values for mark in _conditions(field))


def find_class(key: str, name: Any, base: type[T]) -> type[T]:
    """The subclass of `base` that a word chooses, or a dotted path.

    Raises:
        UserError: there is none; says what there is.
    """
    known = choices(base)
    if name in known:
        return known[name]  # type: ignore[return-value]
    if not isinstance(name, str) or "." not in name:
        raise unknown_word(key, name, known)
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={name} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise UserError(f"{key}={name} cannot be used: allowed is a subclass of {base.__module__}.{base.__qualname__}")
    return found
