"""A configuration becomes steps: classes by `_target_`, upstream steps by their role; what was read is remembered."""

import functools
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from assimilate.errors import UserError
from assimilate.graph.called import TARGET, Called, resolved, signature_of
from assimilate.graph.refusal import as_typed, refused, unknown_word
from assimilate.graph.required import left_out
from assimilate.graph.settings import At, From, Settings, When, choices, is_shipped, listed, settings_type
from assimilate.graph.step import Step

T = TypeVar("T", bound=Settings)
_ABSENT: Any = object()


class Wiring:
    """Makes components of a configuration.

    Args:
        config: the composed configuration, plain values.
        roles: what makes the step of each field whose type is a step, by the field's name; called once.
        typed: what a user typed for a key, where that is another one.

    Attributes:
        read: keys of the configuration that decide something in this run.
        unread: keys that a component has but does not use under its settings, each with the reason.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        roles: Mapping[str, Callable[[], Any]],
        typed: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self._typed = typed or {}
        self.read: set[str] = set()
        self.unread: dict[str, str] = {}
        self._chosen: dict[str, tuple[Any, type[Settings]]] = {}
        self._families: dict[str, tuple[type[Settings], type[Settings]]] = {}
        self._roles = roles
        self._made: dict[str, tuple[Any, set[str]]] = {}

    def role(self, name: str) -> Any:
        """The step of that role; None where the run has none."""
        if name not in self._made:
            self._made[name] = self._reading(self._roles[name])
        made, read = self._made[name]
        self.read |= read  # also where it was made for what turned out not to use it
        return made

    def _reading(self, make: Callable[[], Any]) -> tuple[Any, set[str]]:
        """What `make` makes, and the keys that it reads, which are not counted yet."""
        outside, self.read = self.read, set()
        try:
            return make(), self.read
        finally:
            self.read = outside

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

        Where it names what is no component, the class that stands in for it (`Settings.adapter`).

        Raises:
            UserError: it cannot be imported, or is no subclass of `base`.
        """
        node = self._find(path)
        target = node.get(TARGET) if isinstance(node, Mapping) else None
        if target is None:
            return base
        found = find_class(f"{path}.{TARGET}", target, base)
        self._families[path] = found, base
        self.read.add(f"{path}.{TARGET}")
        return found

    def make(self, path: str | None, base: type[T], **given: Any) -> T:
        """The component whose settings stand at `path`.

        Args:
            path: dotted; None for one that has no place of its own: all its fields stand elsewhere (`From`, `At`).
            base: what it must be.
            given: fields that do not come from the configuration.

        Raises:
            UserError: the class cannot be used, or a setting has a value that it may not have.
        """
        if path is None:
            return self.fill(path, base, given)
        cls = self.class_at(path, base)
        if cls is base and left_out(cls):
            raise UserError(f"{path} names no class: give {path}.{TARGET}=module.Class")
        return self.fill(path, cls, {**self._called(path, cls, base), **given})

    def _called(self, path: str, cls: type[Settings], base: type[Settings]) -> dict[str, Any]:
        """What is called at a place, and its arguments, where `_target_` names what is no component."""
        node = self._find(path)
        target = node.get(TARGET) if isinstance(node, Mapping) else None
        if not issubclass(cls, Called):
            return {}
        if target is None:
            raise UserError(f"{path} names no class: give {path}.{TARGET}=module.Class")
        found = resolved(target)
        if found is cls:
            return {}
        signature = signature_of(found)
        takes = () if signature is None else signature.parameters
        ours, others = _names_at(path, cls), {"name"}.union(*(_names_at(path, other) for other in _family(base)))
        arguments = {}
        for name, value in node.items():
            if name in others and name not in takes:  # of the option that the target replaces
                self.leave(f"{path}.{name}", f"{target} takes no {name}")
            elif name != TARGET and name not in ours:
                arguments[name] = value
        self.read |= {f"{path}.{name}" for name in (TARGET, *_leaves(arguments))}
        return {"factory": target, "arguments": arguments}

    def fill(self, path: str | None, cls: type[T], given: Mapping[str, Any] | None = None) -> T:
        """The component of that very class whose settings stand at `path`; otherwise like `make`."""
        given = given or {}
        values: dict[str, Any] = {}
        places: dict[str, str | None] = {}
        read: dict[str, set[str]] = {}
        for name, field in sorted(cls.model_fields.items(), key=lambda item: bool(_conditions(item[1]))):
            place = places[name] = _place_of(name, field, path)
            if name in given:
                values[name] = given[name]
            elif not _is_wanted(field, cls, values):
                values[name] = None
            else:
                value, read[name] = self._reading(functools.partial(self._value, name, field, place))
                if value is not _ABSENT:
                    values[name] = value
        try:
            made = cls(**values)
        except ValidationError as error:
            named = {name: self._typed.get(place or name, place or name) for name, place in places.items()}
            found = refused(error, cls, named, values)
            if issubclass(cls, Called) and not error.errors()[0]["loc"]:  # it begins with what is called
                found = UserError(f"{path}.{TARGET if 'factory' in given else 'factory'}={found}")
            raise found from error
        unused = made.unused()
        for name, place in places.items():
            if name not in unused:
                self.read |= read.get(name, set())
            if place is None or name in given:
                continue
            if name in unused:
                if not _is_elsewhere(cls.model_fields[name]):  # what stands elsewhere is others' too
                    self.leave(place, unused[name])
            else:
                value = getattr(made, name)
                # Of a mapping, keys of any name: they are the user's.
                self.read |= {place, *(f"{place}.{key}" for key in (value if isinstance(value, Mapping) else ()))}
                self.put_back(place, value)
        return made

    def _value(self, name: str, field: FieldInfo, place: str | None) -> Any:
        """The value of one field."""
        nested = settings_type(field.annotation)
        if nested is not None and name in self._roles:
            return self.role(name)
        value = _ABSENT if place is None else self._find(place)
        items = _items_of(field.annotation)
        if items is not None and isinstance(value, Mapping):
            self.read |= {f"{place}.{name}" for name, item in value.items() if item is None}  # switched off
            return {name: self.make(f"{place}.{name}", items) for name, item in value.items() if item is not None}
        if nested is None or value is _ABSENT or isinstance(value, Settings):
            return value
        if value is None and not field.is_required():
            return None
        assert place is not None
        if isinstance(value, Mapping):
            spread = any(isinstance(mark, At) for mark in field.metadata)
            return self.fill(place, nested) if spread else self.make(place, nested)
        if not choices(nested):
            raise _no_settings(place, value)
        # A word: the class that it chooses, whose settings stand beside it.
        self._chosen[place] = value, nested
        cls = find_class(place, value, nested)
        if issubclass(cls, Called) and "." in str(value) and resolved(value) is not cls:
            return self.fill(place, cls, {"factory": value})
        beside = _settings_beside(place, cls)
        settings = self._find(beside) if beside else {}
        if settings is not _ABSENT and not isinstance(settings, Mapping):
            raise _no_settings(beside, settings)
        return self.fill(beside, cls)

    def _find(self, path: str) -> Any:
        node: Any = self.config
        for part in path.split(".") if path else ():
            node = node.get(part, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        return node

    def put_back(self, place: str, value: Any) -> None:
        """Let the configuration hold a number where it held the text of one."""
        if isinstance(self._find(place), str) and isinstance(value, int | float):
            group, _, name = place.rpartition(".")
            self._find(group)[name] = value

    def leave(self, key: str, reason: str) -> None:
        """Say why a key, and all below it, is not read."""
        self.unread[key] = reason

    def why(self, key: str) -> str | None:
        """Why nothing reads a key; None where only the run as a whole explains it."""
        for known in (key, *(key[:end] for end in range(len(key) - 1, 0, -1) if key[end] == ".")):
            if known in self.unread:
                return self.unread[known]
        for place, (word, base) in self._chosen.items():
            group, _, name = key.rpartition(".")
            beside = {word: cls for word, cls in choices(base).items() if _settings_beside(place, cls) == group}
            reading = [word for word, cls in beside.items() if name in _names_at(group, cls)]
            if reading and word not in reading:
                return f"{place}={word} does not read it"
        group, _, name = key.rpartition(".")
        if group in self._families:
            chosen, base = self._families[group]
            if name not in chosen.model_fields and any(name in other.model_fields for other in _family(base)):
                return f"{group}={self.select(f'{group}.name')} has no {name}"
        return None

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


def _is_wanted(field: FieldInfo, cls: type[Settings], values: Mapping[str, Any]) -> bool:
    def value(name: str) -> Any:
        return values[name] if name in values else cls.model_fields[name].get_default()

    return all(mark.holds(value(mark.field)) for mark in _conditions(field))


def find_class(key: str, name: Any, base: type[T], *, beside: tuple[str, ...] = ()) -> type[T]:
    """The subclass of `base` that a word chooses, or a dotted path.

    Args:
        key: where the name stands.
        name: the word or path.
        base: what it must be.
        beside: other words that the key may hold, for the message.

    Raises:
        UserError: there is none; says what there is.
    """
    known = choices(base)
    if isinstance(name, str) and name in known:
        return known[name]  # type: ignore[return-value]
    if not isinstance(name, str) or "." not in name:
        raise unknown_word(key, name, [*beside, *known])
    try:
        found = resolved(name)
    except ValueError as error:
        raise UserError(f"{key}={error}") from error
    if not isinstance(found, type) or not issubclass(found, base):
        is_component = isinstance(found, type) and issubclass(found, Settings)
        stand_in = base if issubclass(base, Called) else base.adapter
        if stand_in is not None and not is_component:
            return stand_in  # type: ignore[return-value]
        raise UserError(f"{key}={name} cannot be used: allowed is a subclass of {base.__module__}.{base.__qualname__}")
    if lacking := left_out(found):
        raise UserError(f"{key}={name} cannot be used: the class has no {listed(lacking)} of its own")
    return found


def places_of(path: str | None, base: type[Settings]) -> Iterator[tuple[str, FieldInfo, type[Settings]]]:
    """Every key that a class, or a shipped subclass that may stand in its place, reads at or below a path.

    Args:
        path: where its settings stand; None for one that has no place of its own.
        base: the class.

    Yields:
        The key, and the field and class that read it.
    """
    for cls in _family(base):
        yield from _own_places(path, cls)


def _own_places(path: str | None, cls: type[Settings]) -> Iterator[tuple[str, FieldInfo, type[Settings]]]:
    for name, field in cls.model_fields.items():
        place, nested = _place_of(name, field, path), settings_type(field.annotation)
        if place is None:
            continue
        if place:
            yield place, field, cls
        if nested is None or issubclass(nested, Step):
            continue
        if choices(nested) and not _is_elsewhere(field):
            for each in _family(nested):
                yield from _own_places(_settings_beside(place, each), each)
        else:
            yield from places_of(place, nested)


def _no_settings(place: str, value: Any) -> UserError:
    return UserError(
        f"{place}={as_typed(value)} cannot be used: allowed is a setting in it, {place}.<name>=… (all keys: --cfg job)"
    )


def _settings_beside(place: str, cls: type[Settings]) -> str:
    """Where the settings of a class stand that a word at `place` chooses."""
    return ".".join(part for part in (place.rpartition(".")[0], cls.node) if part)


def _names_at(path: str, cls: type[Settings]) -> set[str]:
    """The keys below a path that a class reads, with those of what it chooses by a word."""
    below = f"{path}."
    return {key.removeprefix(below).partition(".")[0] for key, _, _ in places_of(path, cls) if key.startswith(below)}


def _leaves(arguments: Mapping[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in _leaves(value))


def _items_of(annotation: Any) -> type[Settings] | None:
    """The class of settings that a mapping holds under names of the user's."""
    return settings_type(typing.get_args(annotation)[1]) if typing.get_origin(annotation) is dict else None


def _is_elsewhere(field: FieldInfo) -> bool:
    return any(isinstance(mark, From | At) for mark in field.metadata)


def _family(cls: type[T]) -> list[type[T]]:
    """A class and the shipped ones below it."""
    return [cls, *(found for child in cls.__subclasses__() if is_shipped(child) for found in _family(child))]


# ------------------------------------------------------------------------------------------------ in a checkpoint


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
