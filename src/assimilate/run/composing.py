"""How overrides compose: our conf/ and experiments/, folders of the user's, and Hydra's errors in one line."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from os.path import expanduser, realpath  # the first leaves ~ where there is no home, to be refused with its key
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from assimilate.errors import UserError
from assimilate.run.job import shell_word
from assimilate.run.keys import known_keys, named_keys
from assimilate.run.known_keys import (
    CONF,
    EXPERIMENTS,
    MISSING,
    choices_of,
    leaves,
    nearest_key,
    nodes,
    options_with,
    settings_in,
)
from assimilate.run.once_loader import OnceLoader
from assimilate.run.words import SEARCH_PATH, check_quoted, unreadable

CONFIG_NAME = "config"
# The group of ready-made multiruns; a job of one is a run like any other, without it.
SWEEP = "sweep"
RECIPE = "recipe"
# What brings Hydra's plugins, by a word of their names.
EXTRAS = {"joblib": "joblib", "submitit": "slurm", "optuna": "sweep"}
# Folders of options of the user's own: --config-dir and hydra.searchpath.
SEARCHED: ContextVar[tuple[str, ...]] = ContextVar("searched", default=())


class ExperimentsSearchPath(SearchPathPlugin):
    """Makes every folder of experiments/ a config group, and those of the user's: +table3=<row>, and `glob(*)` over it.

    Hydra 1.3 itself looks at hydra.searchpath when it composes, but not when it expands `glob(*)`: nothing would run.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("assimilate-experiments", f"file://{EXPERIMENTS}")
        for folder in SEARCHED.get():
            search_path.append(SEARCH_PATH, folder)


def whole_path(path: object) -> str:
    """The absolute path without links. Unlike `Path.resolve`, it takes a link that leads to itself as it is."""
    return realpath(expanduser(str(path)))


Plugins.instance().register(ExperimentsSearchPath)
OmegaConf.register_new_resolver(
    "folder_of_a_run", lambda out, prepare: "." if prepare == "plan" else whole_path(out), replace=True
)
OmegaConf.register_new_resolver(
    "basename", lambda path: re.sub(r"[^\w.-]+", "_", Path(whole_path(path)).name), replace=True
)


@contextmanager
def searching(folders: tuple[str, ...]) -> Iterator[None]:
    """Within the block, options are found in these folders too."""
    token = SEARCHED.set(folders)
    try:
        yield
    finally:
        SEARCHED.reset(token)


def _searched() -> list[str]:
    if not SEARCHED.get() and not GlobalHydra.instance().is_initialized():  # a job in another process has Hydra's alone
        return []
    with hydra_ready() as loader:
        return [part.path for part in loader.get_search_path().get_path() if part.provider == SEARCH_PATH]


def own_folders() -> list[Path]:
    """Folders of options of the user's own, as far as they are folders."""
    return [Path(path) for path in (found.removeprefix("file://") for found in _searched()) if "://" not in path]


def table_groups() -> list[str]:
    """Names of the groups of rows: the folders of experiments/, and those of the user's that are no group of ours."""
    rows = {path.name for path in EXPERIMENTS.iterdir() if path.is_dir()}
    if _searched():
        with hydra_ready() as loader:
            rows |= set(loader.get_group_options("", results_filter=ObjectType.GROUP))
    return sorted(rows - {"hydra", *(path.name for path in CONF.iterdir())})


@contextmanager
def hydra_ready(job_name: str = "assimilate") -> Iterator[ConfigLoader]:
    """Hydra's config loader: that of the running application, or one of our own for the time being."""
    application = GlobalHydra.instance()
    if application.is_initialized():
        yield application.config_loader()
        return
    with hydra.initialize_config_dir(config_dir=str(CONF), job_name=job_name, version_base="1.3"):
        assert application.hydra is not None
        application.hydra.config_loader = OnceLoader(application.config_loader().get_search_path())
        yield application.config_loader()


@contextmanager
def hydra_in_one_line() -> Iterator[None]:
    """Turn Hydra's message about a wrong command into a UserError of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error


def parse(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra's grammar reads them.

    Raises:
        UserError: it cannot read one.
    """
    with hydra_ready() as loader, hydra_in_one_line():
        return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def one_line(error: Exception) -> str:
    """What a user needs of Hydra's and OmegaConf's messages, in one line."""
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and isinstance(error.__cause__, OmegaConfBaseException):
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key", "object_type", "reference_type", "Set the env"))]
    kept = [line for line in kept if "append to your config use +" not in line and "To append" not in line]
    text = " ".join(dict.fromkeys(kept)).replace("'\t", "': ").replace("\t", " ")
    text = text.split(" Config search path:")[0].removeprefix("In 'config': ") or type(error).__name__
    if unknown := re.fullmatch(r"Could not find '(\S+)/(\S+?)' Available options in '.*?': (.+)", text):
        group, name, options = unknown.groups()
        return _no_option(group, name, options.split())
    if there := re.search(r"An item is already at '([^']+)'", text):
        return f"+{there[1]} cannot be used: a key that the run has is given without +, {there[1]}=…"
    no_key = f"{_missing_key(error)} cannot be set: this run has no such key"
    no_such = r"Could not override '\S+?'\.? (Key '\S+' is not in struct|No match in the defaults list\.?)"
    return re.sub(no_such, lambda _: no_key, text)


def unresolved(error: OmegaConfBaseException, config: DictConfig) -> str:
    """What to say of a value that takes another's by `${…}` and cannot have it: the key, the value, and why.

    Args:
        error: what resolving `config` raised.
        config: the configuration.
    """
    written = dict(leaves(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))))
    taking = {key: value for key, value in written.items() if isinstance(value, str) and "${" in value}
    following = [str(error.full_key)]
    if following[0] not in taking:
        return one_line(error)
    while following:  # to where the chain of values ends
        key, node = following[0], taking.pop(following[0])
        following = [other for other in re.findall(r"\$\{([\w.]+)\}", node) if other in taking]
    why = one_line(error).removeprefix("KeyError raised while resolving interpolation: ").strip('"')
    if missing := re.fullmatch(r"Interpolation key '(.+)' not found", why):
        why = f"${{…}} takes the value of another key, and there is no key {missing[1]}"
    return f"{key}={node} cannot be used: {why}"


def _missing_key(error: Exception) -> str | None:
    """The dotted path of the key that a run does not have, the one within a mapping too; None of another error."""
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown is None:
        return None
    within = str(getattr(error.__cause__, "full_key", ""))
    return within if within.startswith(f"{unknown[1]}.") else unknown[1]


def _no_option(group: str, name: str, options: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), options, n=1)
    hint = f"Did you mean {group}={near[0]}? " if near else _path_in(group, name)
    own = "" if near or own_folders() or group.startswith("hydra/") else ". Options of your own: --config-dir=FOLDER"
    return f"{group}={name}: there is no such option. {hint}Options: {', '.join(options or rows_of(group))}{own}"


def _path_in(group: str, value: str) -> str:
    """Where a path goes that was given for an option: to the key of an option that takes one; "" for no path."""
    keys = [key for key, holds_a_path in known_keys().items() if holds_a_path and key.rpartition(".")[0] == group]
    taking = [f"{option} {shell_word(f'{key}={value}')}" for key in keys for option in options_with(key)]
    return f"A path is given as {' or '.join(taking)}. " if "/" in value and taking else ""


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose the primary config with these overrides.

    Raises:
        UserError: an unknown group, option or key, or a value of the wrong type; in one line, with the nearest name.
    """
    return compose_for_hydra(overrides)[0]


def compose_for_hydra(overrides: Sequence[str]) -> tuple[DictConfig, RunMode | None, dict[str, str]]:
    """As `compose`, with two of Hydra's own settings, which `compose` drops: hydra.mode and hydra.job.env_set.

    Raises:
        UserError: as `compose`.
    """
    with hydra_ready() as loader:
        try:
            parsed = parse(overrides)
            for override in parsed:
                _check_choice(override)
            config = hydra.compose(config_name=CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
            variables = {str(name): str(value) for name, value in config.hydra.job.env_set.items()}
            mode = config.hydra.mode
            with open_dict(config):
                del config["hydra"]
            for override in parsed:
                _prefer_named(config, override, parsed, loader)
            return config, mode, variables
        except YAMLError as error:
            raise UserError(f"a file of options is no YAML: {' '.join(str(error).split())}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_line(error) + suggestion(error, overrides)) from error


def _prefer_named(config: DictConfig, named: Override, parsed: Sequence[Override], loader: ConfigLoader) -> None:
    """Let an option's own values win over a recipe's, where it is named and the recipe was written for another one.

    A recipe says what its own loss, optimizer, … are to be set to: loss=viewmaker has a temperature of its own. What an
    option leaves open (null, ???) stays the recipe's; what a row, a pair of data set and view, or the command line says
    wins over both. Options without a name (encoder=resnet50) are the same thing in another size: a recipe's head stays.
    """
    if _sets(named):
        return
    group = named.key_or_group
    recipes = [settings_in(path) for path in (CONF / RECIPE).glob("*.yaml")]
    if not (CONF / group).is_dir() or not any(key.startswith(f"{group}.") for recipe in recipes for key in recipe):
        return
    words = [str(override.input_line) for override in parsed]
    others = [str(override.input_line) for override in parsed if override is not named]
    of_recipe = [word for word in others if not word.startswith("assim=")] + ["assim=simclr"]
    for instead in (others, of_recipe):
        choices = loader.compute_defaults_list(CONFIG_NAME, instead, RunMode.RUN).overrides.known_choices
        if choices.get(group) == named.value():
            return
    folders = [part.path.removeprefix("file://") for part in loader.get_search_path().get_path()]
    own: dict[str, Any] = {}  # of the option, and of the options that it is built on
    setters: dict[str, str] = {}  # the file that has the last word on a key
    for default in loader.compute_defaults_list(CONFIG_NAME, words, RunMode.RUN).defaults:
        files = [Path(folder) / f"{default.config_path}.yaml" for folder in folders]
        for settings in [settings_in(file) for file in files if file.is_file()][:1]:
            setters |= dict.fromkeys(settings, str(default.config_path))
            own |= settings if str(default.config_path).startswith(f"{group}/") else {}
    if f"{group}.name" not in own:
        return
    given = {key for override in parsed for key, _ in leaves({override.key_or_group: override.value()})}
    for key, value in own.items():
        if setters[key].startswith(f"{RECIPE}/") and value not in (None, MISSING) and key not in given:
            OmegaConf.update(config, key, value)


def _check_choice(override: Override) -> None:
    """Refuse no option of a group, one that is not there, and several at once.

    Of several Hydra would silently take the last, and where an option may be missing (`optional dataset_view`) it would
    silently take none.
    """
    group, value = override.key_or_group, override.value()
    if not group:
        raise UserError(unreadable(str(override.input_line)))
    ours = (CONF / group).is_dir()
    if _sets(override) or override.is_delete() or override.is_sweep_override():
        return
    check_quoted(override, rows_of(group))
    if value is None or isinstance(value, list):
        several = f" (several, one after the other: -m {group}=…,…)" if value else ""
        allowed = f"allowed is one of {', '.join(rows_of(group))}{several}"
        raise UserError(f"{override.input_line} cannot be used: {allowed}")
    folder, _, name = f"{group}/{value}".rpartition("/")  # a user's options may lie in folders of their own
    options = rows_of(folder)
    if not isinstance(value, str) or (ours and name not in options):  # of Hydra's own, an extra may bring it
        raise UserError(_no_option(group, str(override.input_line).partition("=")[2], options))


def _sets(override: Override) -> bool:
    """Whether it sets keys, as loss={alpha: 1} does too, rather than choosing an option."""
    group = override.key_or_group
    return isinstance(override.value(), dict) or not ((CONF / group).is_dir() or "/" in group)


def suggestion(error: Exception, words: Sequence[str]) -> str:
    """What helps against an error of Hydra's: the extra that a plugin comes with, or the options or names of a key.

    Args:
        error: Hydra's.
        words: the overrides that it could not compose.
    """
    plugin = re.search(r"hydra/(?:launcher|sweeper)/(\w+)", str(error))
    extra = next((EXTRAS[word] for word in EXTRAS if plugin is not None and word in plugin.group(1)), None)
    if extra is not None:
        return f". It comes with the extra {extra!r}, installed from the checkout: make extras EXTRAS={extra}"
    key = _missing_key(error)
    if key is None:
        return ""
    if key in table_groups():
        return f". A row is added: +{key}=…"
    if (CONF / key).is_dir():
        return f". It chooses one of {', '.join(rows_of(key))}"
    if having := options_with(key):
        return f". It is a key of {' or '.join(having)}"
    if choosing := choices_of(key):
        return f". Did you mean {' or '.join(choosing)}?"
    parsed = zip(words, parse(words), strict=True)
    choices = [word for word, read in parsed if (CONF / word.partition("=")[0]).is_dir() and not _sets(read)]
    composed: Any = OmegaConf.to_container(hydra.compose(config_name=CONFIG_NAME, overrides=choices))
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    return f". {nearest_key(key, {*nodes(composed), *named_keys(composed), *groups})}"


def asked_for(parsed: Sequence[Override]) -> set[str]:
    """The keys that a user's own words set, or own options among those that are chosen, in folders of the user's."""
    asked = {leaf for override in parsed for leaf, _ in leaves({override.key_or_group: override.value()})}
    return asked.union(*(settings_in(file) for file in own_files(parsed)))


def own_files(parsed: Sequence[Override]) -> list[Path]:
    """The files of the options and rows that are chosen, of those in folders of the user's; what wins is last."""
    if not (folders := own_folders()):
        return []
    words = [str(override.input_line) for override in parsed]
    with hydra_ready() as loader:
        chosen = loader.compute_defaults_list(CONFIG_NAME, words, RunMode.RUN).defaults
    files = [folder / f"{default.config_path}.yaml" for default in chosen for folder in folders]
    return [file for file in files if file.is_file()]


def targets_of(group: str) -> dict[str, str]:
    """The class that each option of a group names, shipped or the user's own."""
    found: dict[str, str] = {}
    for folder in (CONF, *own_folders()):
        for path in sorted((folder / group).glob("*.yaml")):
            target = settings_in(path).get(f"{group}._target_")
            if isinstance(target, str):
                found[path.stem] = target
    return found


def rows_of(group: str) -> list[str]:
    """Names of a table's rows, or of the options of another group."""
    with hydra_ready() as loader:
        return list(loader.get_group_options(group))
