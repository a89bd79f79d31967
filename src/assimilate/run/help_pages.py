"""What `--help` prints, a stage on one screen or the options and keys of a group, and what a shell completes."""

import importlib
import inspect
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from assimilate.errors import UserError
from assimilate.graph.refusal import nearest
from assimilate.graph.settings import Settings
from assimilate.graph.wiring import TARGET
from assimilate.run.composing import compose, own_folders, parse, rows_of, table_groups
from assimilate.run.explained import JOB, Key, groups, keys, options, shown, told_by, topic_of
from assimilate.run.keys import is_settable, named_keys
from assimilate.run.known_keys import CONF, EXPERIMENTS, MISSING, settings_in
from assimilate.run.stages import stages

WIDEST = 100
FLAGS = {
    "-m": "a multirun: every combination of values with commas",
    "--cfg job": "the composed configuration",
    "--config-dir DIR": "a folder of options of your own",
    "--hydra-help": "all other flags",
}


def help_of(stage: str, words: Sequence[str]) -> str:
    """The page that `--help` asks for.

    Args:
        stage: the command.
        words: of the command line. Those without = are groups, tables or keys to explain, and the others are overrides;
            where all are, their own options, rows and keys are explained.

    Raises:
        UserError: an override that cannot be composed, or a topic that there is not.
    """
    topics = [word.lstrip("+") for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    chosen = [word.lstrip("+").partition("=")[::2] for word in overrides if not word.startswith("hydra.")]
    if not topics and not chosen:
        return _stage_page(stage)
    if several := [str(override.input_line) for override in parse(overrides) if override.is_sweep_override()]:
        raise UserError(f"--help {several[0]}: give one value, to be explained")
    config = compose(overrides)
    pages = [_topic_page(topic, config) for topic in topics] or [_chosen_page(*pair, config) for pair in chosen]
    return "\n\n".join(pages)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)


def _wrapped(text: str, indent: int, first: str | None = None) -> str:
    """Text in lines; `first` stands in the place of the first line's indentation."""
    start = " " * indent if first is None else first
    filled = textwrap.fill(text, _width(), initial_indent=start, subsequent_indent=" " * indent, break_on_hyphens=False)
    return filled or start.rstrip()


def _introduced(stage: str) -> tuple[str, list[str]]:
    """(what a stage does, its commands by way of example), from the docstring of its module."""
    told = inspect.cleandoc(importlib.import_module(f"assimilate.{stage}").__doc__ or "")
    head, _, rest = told.partition("\n\n")
    typed = [re.split(r"\s{2,}", line)[0] for line in rest.splitlines() if line.startswith("python -m ")]
    examples = [command.replace("python -m assimilate.", "assimilate ") for command in typed]
    return head.removeprefix("Stage: ").replace("\n", " "), examples


def _stage_page(stage: str) -> str:
    does, examples = _introduced(stage)
    lines = [_wrapped(f"assimilate {stage}: {does}", 0), ""]
    lines += [_wrapped(command, 6, "  ") for command in examples[:2]]
    lines += ["", "Groups, given as group=option (--help GROUP explains options and keys):"]
    for group in groups():
        names = textwrap.shorten(" ".join(options(group, _folders())), _width() - 16, placeholder=" …")
        lines.append(f"  {group:<14}{names}")
    lines += ["", "Keys in no group, given as key=value (--help job explains them):"]
    lines.append(_wrapped(" ".join(name for name, key in keys().items() if key.topic == JOB), 2))
    others = {key.topic for key in keys().values()} - {JOB, *groups()}
    lines += ["", _wrapped(f"Also --help {', '.join(sorted(others))}. Rows of tables, given as +table=row:", 0)]
    lines += [_wrapped(" ".join(_tables()), 2), ""]
    lines += [f"  {flag:<18}{means}" for flag, means in FLAGS.items()]
    return "\n".join(lines)


def _folders() -> tuple[Any, ...]:
    return (CONF, *own_folders())


def _tables() -> list[str]:
    names = [name for name in table_groups() if options(name, (EXPERIMENTS, *own_folders()))]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _topic_page(topic: str, config: Any) -> str:
    """What is to be said of a group, a table, or a key and those below it."""
    found = {
        name: key
        for name, key in keys(_folders()).items()
        if topic in (key.topic, name) or name.startswith(f"{topic}.")
    }
    lines = []
    if topic in groups():
        lines += [f"{topic}: {groups()[topic]}", "", f"Options ({topic}=…):"]
        lines += [_wrapped(told, 18, f"  {name:<14}  ") for name, told in options(topic, _folders()).items()]
    elif topic in _tables():
        lines += [f"Rows of {topic} (+{topic}=…):"]
        rows = options(topic, (EXPERIMENTS, *own_folders()))
        return "\n".join([*lines, *(f"{_wrapped(name, 2)}\n{_wrapped(told, 6)}" for name, told in rows.items())])
    elif not found:
        if owners := [group for group in groups() if topic in options(group, _folders())]:
            told = " or ".join(f"--help {group}" for group in owners)
            raise UserError(f"--help {topic}: {topic} is an option, which its group explains: {told}")
        if topic in stages():
            raise UserError(f"--help {topic}: {topic} is a stage: assimilate {topic} --help")
        known = {*groups(), *_tables(), *(each for name in keys(_folders()) for each in (name, topic_of(name)))}
        raise UserError(f"--help {topic}: there is no such group, table or key. {nearest(topic, known)}")
    if found:
        told = "Keys, with the values of this command, or in brackets those of the options that have the key:"
        lines += ["", _wrapped(told, 0)] if lines else []
        lines += [_key_paragraph(key, config) for key in found.values()]
    return "\n".join(lines)


def _chosen_page(name: str, value: str, config: Any) -> str:
    """What is to be said of an option with its own keys, of a row, or of a key and those below it."""
    is_row = name in _tables()
    files = [folder / name / f"{value}.yaml" for folder in (EXPERIMENTS, *_folders())]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return _topic_page(name, config)
    lines = [_wrapped(f"{'+' if is_row else ''}{name}={value}: {told_by(file)}", 0)]
    found = _keys_of(name, value, config)
    if found:
        lines += ["", "Keys, with the values of this command:", *(_key_paragraph(key, config) for key in found)]
    known = {key.name for key in keys(_folders()).values() if key.topic == name}
    others = {key: each for key, each in settings_in(file).items() if key not in known and not _is_label(key)}
    if others:
        told = " ".join(f"{key}={shown(each)}" for key, each in others.items())
        lines += ["", f"It {'also ' if found else ''}sets:", _wrapped(told, 2)]
    return "\n".join([*lines, "", f"All options: --help {name}"])


def _keys_of(group: str, option: str, config: Any) -> list[Key]:
    """The keys of a group that an option has, each with what it means to that option."""
    found = []
    for key in keys(_folders()).values():
        senses = [replace(sense, options=()) for sense in key.senses if not sense.options or option in sense.options]
        if key.topic == group and senses:
            own = replace(key, senses=tuple(senses))
            if not key.values or option in key.values or _value(own, config) is not None:
                found.append(own)
    return found


def _is_label(key: str) -> bool:
    """Whether a key says which option or row was chosen."""
    of_row = key.partition(".")[0] in ("row", "paper")
    return of_row or (key.rpartition(".")[2] in ("name", "kind", TARGET) and not is_settable(key))


def _key_paragraph(key: Key, config: Any) -> str:
    value = _value(key, config)
    lines = [f"  {key.name}{'' if value is None else f'={value}'}"]
    defaults = {option: sense.default for sense in key.senses for option in sense.options if sense.default is not None}
    if value is None and (values := key.values or defaults):
        by_value: dict[str, list[str]] = {}
        for option, other in values.items():
            by_value.setdefault(shown(other), []).append(option)
        told = [f"{', '.join(some)}: {other or 'to be given'}" for other, some in by_value.items()]
        lines = [_wrapped(f"{key.name}  ({'; '.join(told)})", 6, "  ")]
    for sense in key.senses:
        by = f"{', '.join(sense.options)}: " if sense.options else ""
        meaning = f"{sense.meaning.rstrip('.')}. " if sense.meaning else ""
        lines.append(_wrapped(f"{by}{meaning}Allowed: {sense.allowed}.", 6))
    return "\n".join(lines)


def _value(key: Key, config: Any) -> str | None:
    """What a composed configuration gives a key, as one types it; None where it has no such key."""
    node: Any = OmegaConf.to_container(config)
    read = named_keys(node)
    for part in key.name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return _default(key) if key.name in read or not all(sense.options for sense in key.senses) else None
        node = node[part]
    try:
        found = OmegaConf.select(config, key.name)
    except OmegaConfBaseException:
        found = node
    plain = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    return "…" if node == MISSING else shown(plain)


def _default(key: Key) -> str | None:
    default = key.senses[0].default
    return None if default is None or isinstance(default, Settings) else shown(default)


# -------------------------------------------------------------------------------------------- completion in a shell

# Every stage, option, key and row is in the script, so no Python starts. bash breaks words at "=" and ":"; the script
# reads the whole line instead and gives back what stands behind the last of them.
BASH = """_assimilate() {
    local line=${COMP_LINE:0:COMP_POINT} word stage before
    word=${line##*[[:space:]]}
    COMPREPLY=()
    local words=(@WORDS@)
    local stages=(@STAGES@)
    before=${line%"$word"}
    if [[ $before =~ ^[^[:space:]]*assimilate[[:space:]]+$ ]]; then
        words=("${stages[@]}" --help --version --completion)
    fi
    local candidate lead=""
    if [[ $word == *[=:]* && $COMP_WORDBREAKS == *=* ]]; then lead=${word%"${word##*[=:]}"}; fi
    for candidate in "${words[@]}"; do
        [[ $candidate == "$word"* ]] && COMPREPLY+=("${candidate#"$lead"}")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _assimilate assimilate
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def completed_words() -> list[str]:
    """What may be completed behind a stage: options, keys, rows and flags."""
    found = [f"{group}={option}" for group in groups() for option in options(group)]
    found += [f"{key}=" for key in keys()]
    found += [f"+{table}={row}" for table in table_groups() for row in rows_of(table)]
    return [*found, *(flag.split()[0] for flag in FLAGS), "--help"]


def completion_script(shell: str, stages: Sequence[str]) -> str:
    """The script for a shell, to be read by `eval`.

    Args:
        shell: "bash" or "zsh".
        stages: what may stand behind the command.
    """
    made = BASH.replace("@WORDS@", " ".join(completed_words())).replace("@STAGES@", " ".join(stages))
    return ZSH + made if shell == "zsh" else made
