"""Which settings there are: what the shipped files of conf/ define, and what a rule speaks of."""

import difflib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from assimilate.assimilation.step import OWN_SETTINGS
from assimilate.errors import UserError
from assimilate.graph.refusal import nearest
from assimilate.graph.settings import listed
from assimilate.graph.wiring import TARGET
from assimilate.run.keys import fields_at, is_argument, is_settable, known_keys, named_keys, value_keys

PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries conf/ and experiments/ inside the package; an editable checkout has them at its top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
EXPERIMENTS = PACKAGE / "experiments" if (PACKAGE / "experiments").is_dir() else PACKAGE.parents[1] / "experiments"
# What a setting that the user has to give holds in a file.
MISSING = "???"
HEADER = "# @package "


def leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a tree's settings; a mapping without any is one."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nodes(tree: Mapping[Any, Any]) -> set[str]:
    """Dotted paths of a tree's settings and of the mappings that hold them."""
    paths = [key.split(".") for key, _ in leaves(tree)]
    return {".".join(path[:length]) for path in paths for length in range(1, len(path) + 1)}


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`second` over `first`, mapping by mapping."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(first.get(key), Mapping)
        result[key] = merged(first[key], value) if both else value
    return result


@functools.cache
def settings_in(path: Path) -> dict[str, Any]:
    """What a file of options or rows sets, by dotted path from the root of the configuration."""
    text = path.read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = {key: value for key, value in (yaml.load(text, loader) or {}).items() if key != "defaults"}
    headers = [line.removeprefix(HEADER).strip() for line in text.splitlines()[:1] if line.startswith(HEADER)]
    package = headers[0] if headers else "" if path.parent == CONF else path.parent.name
    return dict(leaves(tree, "" if package in ("", "_global_") else f"{package}."))


@functools.cache
def _files_by_key() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        for key in settings_in(path):
            found.setdefault(key, []).append(path)
    return found


def is_left_out(key: str) -> bool:
    """Whether no shipped file holds a setting that may be given all the same: Hydra would not know it by itself.

    A class has it, or it stands in a mapping that takes keys of any name.
    """
    return not is_shipped(key) and (key in value_keys() or any(map(_is_open, above(key))))


def is_shipped(key: str) -> bool:
    """Whether a shipped file holds a setting."""
    return key in _files_by_key()


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(_files_by_key()) | frozenset(known_keys())


@functools.cache
def _known_nodes() -> frozenset[str]:
    return frozenset(nodes(dict.fromkeys(_known())))


def plain_keys() -> list[str]:
    """Keys that stand in no group, and the groups themselves."""
    return sorted({key.partition(".")[0] for key in _known()})


def options_with(key: str) -> list[str]:
    """The options of the key's group that have it, as one gives them; where it must be given, those that ask for it."""
    group = key.partition(".")[0]
    having = [path for path in _files_by_key().get(key, []) if path.parent == CONF / group]
    asking = [path for path in having if settings_in(path)[key] == MISSING]
    return [f"{group}={path.stem}" for path in asking or having]


def choices_of(name: str) -> list[str]:
    """What chooses the options of a name, as one types it: ["trainer=gpu"] of gpu."""
    return sorted(f"{path.parent.name}={name}" for path in CONF.glob("*/*.yaml") if path.stem == name)


def check_added(word: str, key: str, composed: Collection[str]) -> None:
    """Refuse a key that a command line adds and nothing in the run reads: the default would run under its name.

    What a run reads is what its options define, and what is set or ruled for every option of a group alike, e.g. the
    settings of a schedule; f's own settings (view.encoder.training) are the run's.

    Args:
        word: as it was typed.
        key: what it adds.
        composed: all keys of the configuration without what is added.

    Raises:
        UserError: such a key; with the options that have it, or the nearest names.
    """
    setting = key.removeprefix(f"{OWN_SETTINGS}.") if "view.encoder" in composed else key
    if key in composed or setting in composed or any(_is_open(node) for node in above(setting) if node in composed):
        return
    having = options_with(setting)
    if having:
        raise UserError(f"{word} cannot be used: nothing in this run reads {key}. It is a key of {' or '.join(having)}")
    if setting not in _known():
        raise UserError(f"{word} cannot be used: nothing reads {key}. {nearest_key(key, composed)}")


def check_composed(config: Mapping[str, Any]) -> None:
    """Refuse settings of rows and options, those of a user's own folder too, that nothing reads.

    Args:
        config: the resolved configuration; the arguments of a class of the user's own are theirs to name.

    Raises:
        UserError: the first of them, with the nearest names, or the class that has no such field.
    """
    named = named_keys(config)
    for key, _ in leaves(config):
        setting = key.removeprefix(f"{OWN_SETTINGS}.")
        if setting in _known_nodes() or setting in named or is_argument(key, config):
            continue
        if not any(_is_open(node) for node in above(key)):
            raise _unread(key, config, named)


def _unread(key: str, config: Mapping[str, Any], named: Iterable[str]) -> UserError:
    for node in reversed(above(key)):
        if (found := fields_at(node, config)) is None:
            continue
        target, fields = found
        name = key.removeprefix(f"{node}.").partition(".")[0]
        if name in fields:
            break
        near = difflib.get_close_matches(name, fields - {"name"}, n=2)
        hint = f"Did you mean {listed([f'{node}.{each}' for each in near])}?" if near else ""
        hint = hint or f"Its fields: {', '.join(sorted(fields))}"
        return UserError(f"{node}.{name}: {target} has no field {name}. {hint}")
    return UserError(f"{key} is set by a row or an option of a group, but nothing reads it. {nearest_key(key, named)}")


def nearest_key(key: str, others: Iterable[str]) -> str:
    """Which setting was meant, of the shipped ones and others; not one that only says which option was chosen."""
    known = {name for name in {*others, *_known()} if not name.startswith("budget.caps.")}
    labels = {name for name in known if name.rpartition(".")[2] in ("name", TARGET) and not is_settable(name)}
    here = {name for name in others if name.endswith(f".{key}")}  # rather than one that the run does not have
    return nearest(key, (here or known) - labels)


def above(key: str) -> list[str]:
    """The dotted paths that a key stands below."""
    return [key[:end] for end, letter in enumerate(key) if letter == "."]


def _is_open(key: str) -> bool:
    """Whether a file leaves a mapping empty, to be filled with keys of any name (paper, budget.caps)."""
    return any(settings_in(path)[key] == {} for path in _files_by_key().get(key, []))
