"""What each key of the configuration means, what it may hold and who sets it: for --help, completion and the reference.

What a key means stands in the class that reads it, under "Attributes"; what an option is, in the first lines of its
file; what a group is, beside its name in conf/config.yaml.
"""

import contextlib
import functools
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from assimilate.graph.settings import NAMED, From, Settings, allowed_in, choices, is_shipped, settings_type
from assimilate.graph.wiring import TARGET, places_of
from assimilate.run.keys import PLACES, component
from assimilate.run.known_keys import CONF, HEADER, MISSING, settings_in

PRIMARY = CONF / "config.yaml"
# The topic of the keys that stand in no group.
JOB = "job"


@dataclass(frozen=True)
class Sense:
    """What a key means to some of the classes that read it.

    Attributes:
        meaning: in words; "" where no class says it.
        allowed: what it may hold, in words.
        options: the options of its group that read it so; () for all.
        default: the class's own; None where the configuration has to say.
    """

    meaning: str
    allowed: str
    options: tuple[str, ...]
    default: Any


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        name: dotted.
        senses: what it means; several where options of its group differ.
        values: what the options of its group set it to; under "" what conf/config.yaml does.
    """

    name: str
    senses: tuple[Sense, ...]
    values: Mapping[str, Any]

    @property
    def topic(self) -> str:
        """The group that it belongs to."""
        return topic_of(self.name)


def topic_of(key: str) -> str:
    """The first part of a key, or `job` for one that has no other."""
    group, dot, _ = key.partition(".")
    return group if dot else JOB


@functools.cache
def attributes_of(cls: type) -> dict[str, str]:
    """The section "Attributes" of a class's own docstring: what each attribute means."""
    lines = inspect.cleandoc(vars(cls).get("__doc__") or "").splitlines()
    if "Attributes:" not in lines:
        return {}
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Attributes:") + 1 :]:
        if not line.startswith("    "):
            break
        if not line.startswith("     "):
            head, _, line = line.partition(":")
            names = [name.strip() for name in head.split(",")]
        for name in names:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


def meaning_of(cls: type, field: str) -> str:
    """What a class, or the nearest that it is built on, says of a field; "" for nothing."""
    return next((told[field] for each in cls.__mro__ if field in (told := attributes_of(each))), "")


@functools.cache
def keys(folders: tuple[Path, ...] = (CONF,)) -> dict[str, Key]:
    """Every setting that a command line can give, by its name.

    Args:
        folders: where options are, the shipped ones first. The classes of others say what they mean if they want to.
    """
    classes = _classes(folders)
    own = [(place, cls) for place, named in classes.items() for cls in named.values() if not is_shipped(cls)]
    found: dict[str, list[tuple[type[Settings], FieldInfo]]] = {}
    for place, base in (*PLACES, *own):
        for key, field, cls in places_of(place, base):
            if NAMED not in field.metadata and (settings_type(field.annotation) is None or _words_choose(field)):
                found.setdefault(key, []).append((cls, field))
    values = _values(folders)
    shipped, set_by_own = (
        {key for path in paths for key in settings_in(path)} for paths in (_files(CONF), _files(*folders[1:]))
    )
    made = {}
    for key, readers in sorted(found.items()):
        senses = _senses(key, readers, classes.get(key.rpartition(".")[0], {}))
        given = key in shipped or not all(field.is_required() for _, field in readers)
        if (given and any(sense.meaning for sense in senses)) or key in set_by_own - shipped:
            made[key] = Key(key, senses, values.get(key, {}))
    return made


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]


def _senses(
    key: str, readers: list[tuple[type[Settings], FieldInfo]], chosen: Mapping[str, type[Settings]]
) -> tuple[Sense, ...]:
    """What a key means to the classes that read it, each sense once; `chosen` are those that options name there."""
    told: dict[tuple[str, str], list[tuple[type[Settings], FieldInfo]]] = {}
    parts = {option: _readers_in(key, cls) for option, cls in chosen.items()}
    for cls, field in readers:
        name = next(name for name, other in cls.model_fields.items() if other is field)
        told.setdefault((meaning_of(cls, name), allowed_in(field)), []).append((cls, field))
    told = {sense: some for sense, some in told.items() if sense[0]} or told
    told = {sense: some for sense, some in told.items() if not _stands_elsewhere(some[0][1])} or told
    found = []
    for (meaning, allowed), some in told.items():
        by = tuple(option for option in chosen if not parts[option].isdisjoint(reader for reader, _ in some))
        field = some[0][1]
        default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
        if by or len(told) == 1 or not chosen:
            default = getattr(default, "word", None) or default
            found.append(Sense(meaning, allowed, by if len(told) > 1 or len(by) < len(chosen) else (), default))
    return tuple(found)


def _readers_in(key: str, cls: type[Settings]) -> set[type]:
    """The class that an option names, and the parts that stand beside it and read a key."""
    group = key.rpartition(".")[0]
    return {cls, *(part for place, _, part in places_of(group, cls) if place == key and not issubclass(part, cls))}


def _words_choose(field: FieldInfo) -> bool:
    return bool(choices(settings_type(field.annotation) or Settings)) and not _stands_elsewhere(field)


def _stands_elsewhere(field: FieldInfo) -> bool:
    return any(isinstance(mark, From) for mark in field.metadata)


def _classes(folders: tuple[Path, ...]) -> dict[str, dict[str, type[Settings]]]:
    """The classes that options name, by where they name them and by option."""
    found: dict[str, dict[str, type[Settings]]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/*.yaml"))):
        for key, target in settings_in(path).items():
            # A class of a library has no meanings of ours, and takes seconds to import.
            foreign = path.is_relative_to(CONF) and not str(target).startswith("assimilate.")
            if key.endswith(f".{TARGET}") and not foreign and (cls := component(target)) is not None:
                found.setdefault(key.removesuffix(f".{TARGET}"), {})[path.stem] = cls
    return found


def _values(folders: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """What the primary configuration and the options of a key's own group set it to."""
    found: dict[str, dict[str, Any]] = {}
    for path in [PRIMARY, *(path for folder in folders for path in sorted(folder.glob("*/*.yaml")))]:
        option = "" if path == PRIMARY else path.stem
        for key, value in settings_in(path).items():
            if path == PRIMARY or key.partition(".")[0] == path.parent.name:
                found.setdefault(key, {})[option] = value
    return found


# ----------------------------------------------------------------------------------------------- groups and options


@functools.cache
def groups() -> dict[str, str]:
    """The groups of which one chooses an option, each with what it is; those that follow from others are left out."""
    lines = PRIMARY.read_text(encoding="utf-8").splitlines()
    told = (re.fullmatch(r"  - (\w+): [^#]*(?:#\s*(.*))?", line) for line in lines)
    return {found.group(1): found.group(2) or "" for found in told if found is not None}


def options(group: str, folders: tuple[Path, ...] = (CONF,)) -> dict[str, str]:
    """The options of a group, or the rows of a table, each with what its file says first.

    Args:
        group: its name.
        folders: where groups are.
    """
    return {path.stem: told_by(path) for folder in folders for path in sorted((folder / group).glob("*.yaml"))}


def told_by(path: Path) -> str:
    """The first sentence of a file of options, with the command that it ends in; "" where it begins with none."""
    told: list[str] = []
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith((HEADER, "# python")):
                continue
            is_command = line.startswith("#  ")
            if not line.startswith("# ") or (is_command and "".join(told).endswith(".")):
                break
            told.append(line[2:].strip())
            if is_command:
                break
    return re.split(r"(?<=[\w)²’'])\. (?=[A-Z])", " ".join(told))[0].rstrip(".")


def shown(value: Any) -> str:
    """A value as one types it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{shown(item)}' for key, item in value.items())}}}"
    return "" if value == MISSING else str(value)
