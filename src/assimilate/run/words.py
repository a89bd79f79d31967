"""The words of a command line: Hydra's flags wherever they stand, and overrides as Hydra's grammar reads them."""

import argparse
import difflib
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException
from yaml import YAMLError

from assimilate.errors import UserError
from assimilate.graph.wiring import TARGET
from assimilate.run.job import shell_word
from assimilate.run.keys import chosen_by_path, known_keys, named_keys
from assimilate.run.known_keys import CONF, above, choices_of, is_left_out, is_shipped, settings_in

SEARCH_PATH = "hydra.searchpath"
# What begins so is a path, whatever the key.
BEGINNINGS_OF_PATHS = ("/", "~", "./", "../")
# Flags that would compose another configuration than the one that is checked.
REFUSED_FLAGS = {
    "config_path": "give a folder of options of your own with --config-dir",
    "config_name": "give a folder of options of your own with --config-dir",
    "experimental_rerun": "give the command again",
}
MODES = ("run", "multirun", "cfg", "shell_completion", "info")


@dataclass(frozen=True)
class CommandLine:
    """What a user typed.

    Attributes:
        words: the overrides, each as Hydra reads it; folders of options come first, as hydra.searchpath=[…].
        searched: those folders, as Hydra takes them.
        multirun: whether -m was given, before or after any word.
        shows: flags that show something instead of running, e.g. ("--cfg", "job").
    """

    words: tuple[str, ...]
    searched: tuple[str, ...]
    multirun: bool
    shows: tuple[str, ...]


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Tell flags from overrides, in whatever order they come, and quote paths that Hydra's grammar cannot read.

    Raises:
        UserError: an unknown flag or one that cannot be used here, a folder of options that is not there, a word that
            is no UTF-8.
    """
    for argument in arguments:
        if any("\udc80" <= letter <= "\udcff" for letter in argument):  # the bytes of a path, as Python reads them
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise UserError(f"{shown}: overrides are UTF-8, and this is not: give the folder through a link, ln -s")
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    following = [*arguments, ""][1:]
    for argument, after in zip(arguments, following, strict=True):
        _check_dashes(argument, after)
    asking = {"-i": "--info=all", "--info": "--info=all"}  # an override behind it is no value of it
    told = [asking.get(word, word) if "=" in after else word for word, after in zip(arguments, following, strict=True)]
    found = parser.parse_intermixed_args(told)
    for name, instead in REFUSED_FLAGS.items():
        if getattr(found, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} cannot be used: {instead}")
    modes = [f"--{name.replace('_', '-')}" for name in MODES if getattr(found, name)]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} exclude each other: give one of them")
    if found.resolve and not (found.cfg or found.help):
        raise UserError("--resolve would be ignored: it says how --cfg job shows values")
    folders = [] if found.config_dir is None else [found.config_dir]
    words = []
    folders += _folders_in(found.overrides)
    searched = tuple(dict.fromkeys(map(_searchable, folders)))
    unknown = _unknown_to_hydra(found.overrides, searched)
    for word in found.overrides:
        if word.partition("=")[0].lstrip("+") != SEARCH_PATH:
            given = readable(word, multirun=found.multirun)
            words.append(f"++{given}" if word in unknown else given)
    if searched:
        listed = ",".join(_quoted(folder) for folder in searched)
        words.insert(0, f"{SEARCH_PATH}=[{listed}]")
    return CommandLine(tuple(words), searched, found.multirun, tuple(_flags(parser, found)))


def typed_words(words: Sequence[str]) -> list[str]:
    """Words as a user types them: without the + or ++ by which Hydra takes keys that no file of ours has."""
    typed = [word.lstrip("+") for word in words]
    unknown = _unknown_to_hydra(typed, _folders_in(words))
    return [short if short in unknown else word for word, short in zip(words, typed, strict=True)]


def _folders_in(words: Sequence[str]) -> list[str]:
    """The folders of options that overrides name."""
    pairs = [word.lstrip("+").partition("=") for word in words]
    return [folder for key, _, value in pairs if key == SEARCH_PATH for folder in _listed(value)]


def _unknown_to_hydra(words: Sequence[str], searched: Sequence[str]) -> set[str]:
    """The overrides whose keys no file has that composes, although a class, or what is called, takes them."""
    named, of_own = set(map(_names_a_class, words)), _keys_of_own_options(words, searched)
    keys = {word: word.partition("=")[0] for word in words}
    return {
        word
        for word, key in keys.items()
        if (named.intersection(above(key)) and not is_shipped(key)) or is_left_out(key) or key in of_own
    }


def _keys_of_own_options(words: Sequence[str], searched: Sequence[str]) -> set[str]:
    """The keys that the classes of chosen options outside the package read; their files may leave defaults out."""
    found: set[str] = set()
    for group, _, names in (word.partition("=") for word in words):
        if not group.isidentifier() or not (CONF / group).is_dir():
            continue  # it chooses no option
        for folder, name in itertools.product(searched, names.split(",")):
            target = _target_in(Path(folder.removeprefix("file://")) / group, name, group)
            found |= named_keys({group: {TARGET: target}}) if target else set()
    return found


def _target_in(folder: Path, name: str, group: str) -> str | None:
    """The class that an option's file names; None for a file that is not there or that Hydra will refuse."""
    try:
        if name != Path(name).name or not (folder / f"{name}.yaml").is_file():
            return None
        target = settings_in(folder / f"{name}.yaml").get(f"{group}.{TARGET}")
    except (OSError, ValueError, AttributeError, YAMLError):
        return None
    return target if isinstance(target, str) else None


def _names_a_class(word: str) -> str | None:
    """The place of the class that an override names by its path, with settings of names that no file of ours has."""
    key, _, value = word.lstrip("+").partition("=")
    group, _, name = key.rpartition(".")
    return group if name == TARGET or (key in chosen_by_path() and "." in value) else None


def _check_dashes(word: str, after: str) -> None:
    """Refuse a setting that is given like a flag, `--dataset folder`.

    Args:
        word: as it was typed.
        after: the word behind it.

    Raises:
        UserError: it is one, with the word to type.
    """
    name, sign, value = word.lstrip("-").partition("=")
    key = name.replace("-", "_")
    named = key.isidentifier() and (CONF / key).is_dir()
    if not word.startswith("--") or not (named or key in known_keys()):
        return
    if not sign:
        value = "" if "=" in after or after.startswith("-") else after
    instead = shell_word(f"{key}={value}") if sign or value else f"{key}=…"
    raise UserError(f"{word} cannot be used: a setting is given without dashes, {instead}")


def _refuse(message: str) -> NoReturn:
    unknown = message.removeprefix("unrecognized arguments: ").split()[0]
    flags = [flag for action in get_args_parser()._actions for flag in action.option_strings]
    near = difflib.get_close_matches(unknown, flags, n=1)
    others = "A setting is given without dashes, key=value; all flags: --hydra-help"
    raise UserError(f"{message}. {f'Did you mean {near[0]}?' if near else others}")


def _flags(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[str]:
    """The flags that show something, as Hydra's own parser reads them before the overrides."""
    flags: list[str] = []
    for action in parser._actions:
        value = getattr(found, action.dest, None)
        if action.option_strings and action.dest not in ("run", "multirun", "config_dir") and value:
            flags += [action.option_strings[0]] if value is True else [f"{action.option_strings[0]}={value}"]
    return flags


def _listed(value: str) -> list[str]:
    """The elements of a list of folders, whether or not Hydra's grammar can read them."""
    read = _parsed(f"{SEARCH_PATH}={value}")
    folders = value.strip("[] ").split(",") if read is None or read.is_sweep_override() else read.value()
    return [str(folder).strip() for folder in (folders if isinstance(folders, list) else [folders])]


def _searchable(folder: str) -> str:
    """A folder of options as Hydra finds it from anywhere.

    Raises:
        UserError: it is not there, or has an option that is shipped: ours would be taken without a word.
    """
    scheme, separator, rest = folder.rpartition("://")
    if separator and scheme != "file":
        return folder
    path = Path(rest).expanduser().absolute()
    if not path.is_dir():
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*/")], n=1)
        meant = f"Did you mean {path.parent / near[0]}?" if near else "Give the folder that holds yours: --config-dir=…"
        raise UserError(f"--config-dir={path}: there is no such folder. {meant}")
    too_deep = (CONF / path.name).is_dir() and any(path.glob("*.yaml"))
    if too_deep and not any((path / group.name).is_dir() for group in CONF.iterdir()):
        raise UserError(f"--config-dir={path} holds the options of one group: give the folder above, {path.parent}")
    for option in sorted(file for group in CONF.iterdir() for file in (path / group.name).glob("*.yaml")):
        if (CONF / option.relative_to(path)).is_file():
            name = f"{option.parent.name}={option.stem}"
            raise UserError(f"{option} would be ignored: {name} is shipped; give your option another name")
    return f"file://{path}"


# ------------------------------------------------------------------------------------------------ Hydra's grammar


def readable(word: str, *, multirun: bool) -> str:
    """An override whose value is a path, quoted where Hydra's grammar would read another value or none at all.

    A value is a path if its key holds one (out, dataset.root, …), or if it begins like one. With -m a comma separates
    two paths, unless the whole is there.
    """
    key, sign, value = word.partition("=")
    named = key.lstrip("+")
    holds_a_path = known_keys().get(named, False)
    if not sign or not (holds_a_path or value.startswith(BEGINNINGS_OF_PATHS)):
        return word
    read = _parsed(word)
    several = multirun and "," in value and not Path(value).expanduser().exists()
    if read is not None and (several or read.value_type is not ValueType.SIMPLE_CHOICE_SWEEP):
        found = read.value()
        spelt = isinstance(found, str) and set(value) & set("\"'\\$")
        other = not isinstance(found, str | list | dict | int | float)  # a folder may be called true, or 1e3
        if spelt or other or str(found) == value or several:
            return word
    parts = value.split(",") if several else [value]
    return f"{key}=" + ",".join(part if several and _parsed(f"{key}={part}") else _quoted(part) for part in parts)


def _parsed(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def override_word(key: str, value: str) -> str:
    """`key=value` such that Hydra reads the very text: quoted where it would read another thing ("ö", "(", "1e3")."""
    if re.fullmatch(r"[A-Za-z0-9_/.+@%:-]+", value):
        read = _parsed(f"{key}={value}")
        if read is not None and read.value() == value:
            return f"{key}={value}"
    return f"{key}={_quoted(value)}"


def unreadable(word: str) -> str:
    """What to say of an override that Hydra's grammar cannot read: the words to type in its place."""
    key, sign, value = word.partition("=")
    if not key or not sign:
        instead = f"{key}=…" if key in known_keys() else (choices_of(key) or ["dataset=digits"])[0]
        return f"{word} cannot be read: expected key=value, e.g. {instead}; put a value with spaces in quotes"
    if _parsed(f"{key}=1") is None:
        return f"{word} cannot be read: {key} is no key; all keys: --cfg job"
    if value[:1] == "[" and value[-1:] == "]":
        parts = [part.strip() for part in value[1:-1].split(",")]
        instead = f"[{','.join(part if _parsed(f'{key}={part}') else _quoted(part) for part in parts)}]"
    else:
        instead = _quoted(value)
    if _parsed(f"{key}={instead}") is None or value[:1] == "{":
        return f"{word} cannot be read: within it, quote what has other letters than A to Z, or one of ()[]{{}}=,:"
    return f"{word} cannot be read: quote its value, {shell_word(f'{key}={instead}')}"


def sweep_word(override: Override) -> str:
    """What to say of several values without -m."""
    line = str(override.input_line)
    key, _, value = line.partition("=")
    text = f"; if it is one value: {shell_word(f'{key}={_quoted(value)}')}" if override.value_type else ""
    return f"{line} is a sweep: add -m to run every value{text}"


def check_quoted(override: Override, options: Sequence[str]) -> None:
    """Refuse the bare name of an option that Hydra's grammar reads as a number, a boolean or null.

    Raises:
        UserError: it is one, with the word to type.
    """
    key, _, value = str(override.input_line).partition("=")
    if value in options and not isinstance(override.value(), str):
        instead = shell_word(f"{key}={_quoted(value)}")
        raise UserError(
            f"{key}={value} cannot be used: quote a name that reads as a number, a boolean or null: {instead}"
        )
