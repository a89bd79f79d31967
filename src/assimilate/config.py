"""Where conf/ and experiments/ are, and how overrides become a job."""

import difflib
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from assimilate.artifacts.given import check_given, given_content
from assimilate.errors import UserError
from assimilate.settings.analysis import check_analysis
from assimilate.settings.budget import apply_budget
from assimilate.settings.checks import check_ignored_overrides, check_stage, check_values, read_numbers
from assimilate.settings.identity import GENERATOR_RECORDS, OWN, content_hash, data_is_sampled, run_identity, uses_view

PACKAGE = Path(__file__).resolve().parent
# A wheel carries conf/ and experiments/ inside the package; an editable checkout has them at its top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
EXPERIMENTS = PACKAGE / "experiments" if (PACKAGE / "experiments").is_dir() else PACKAGE.parents[1] / "experiments"
CONFIG_NAME = "config"
# What to say when a mandatory value was not given.
MISSING_HINTS = {
    "dataset.root": "dataset=folder needs the folder of your images: dataset.root=/path/to/images",
    "view.path": "view=external needs a folder <index>/<k>.png or an array of views: view.path=/path/to/views",
    "trainer.devices": "trainer=ddp needs the number of processes: trainer.devices=2",
}
# Groups of which nothing may be chosen.
OPTIONAL_GROUPS = ("view_encoder", "sweep", "recipe_dataset", "recipe_view", "dataset_view")
# What may accompany a row without making it another run.
ROW_COMPANIONS = ("dataset", "seed", "budget", "dataset.root", "dataset.name", "dataset.download")
# A data set that a generator makes is not there without it (Table 4).
SAMPLED_COMPANIONS = ("generator.checkpoint", "dataset.evaluation.root")
NEUTRAL_OVERRIDES = (
    *("trainer", "logger", "prepare", "out", "force", "verify", "shard", "preview", "knn", "objective", "hydra"),
    *("data.placement", "data.compile_augmentation", "dataset.download"),
    *(f"generator.{key}" for key in sorted(GENERATOR_RECORDS)),
)


class ExperimentsSearchPath(SearchPathPlugin):
    """Makes every folder of experiments/ a config group: +table3=<row>, and `glob(*)` over it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("assimilate-experiments", f"file://{EXPERIMENTS}")


# What brings Hydra's plugins, by a word of their names.
EXTRAS = {"joblib": "joblib", "submitit": "slurm", "optuna": "sweep"}
# The group of ready-made multiruns; a job of one is a run like any other, without it.
SWEEP = "sweep"

Plugins.instance().register(ExperimentsSearchPath)
OmegaConf.register_new_resolver(
    "basename", lambda path: re.sub(r"[^\w.-]+", "_", Path(str(path)).expanduser().resolve().name), replace=True
)


def table_groups() -> list[str]:
    """Names of the groups of rows: the folders of experiments/."""
    return sorted(path.name for path in EXPERIMENTS.iterdir() if path.is_dir())


@dataclass(frozen=True)
class Job:
    """One fully composed run: plain values with the budget's caps applied, and where its results go."""

    stage: str
    config: dict[str, Any]
    overrides: tuple[str, ...]
    identity: dict[str, Any]
    out: Path
    run_dir: Path
    row: str | None  # the paper's row, if nothing but data set, seed and budget was changed
    notices: tuple[str, ...]
    log: Path | None = None  # a job of a multirun: where its lines are kept
    ending: ExitStack = field(default_factory=ExitStack, compare=False, repr=False)  # what is closed when it ends

    @property
    def command(self) -> str:
        """The command that composes this job."""
        return " ".join(["python -m", f"assimilate.{self.stage}", *map(shell_word, self.overrides)])


def shell_word(word: str) -> str:
    """An override as a shell needs it: quoted only where it must be."""
    return word if re.fullmatch(r"[\w@%+=:,./~-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def override_word(key: str, value: str) -> str:
    """`key=value` such that Hydra reads the very value: quoted where its grammar wants it ("ö", "(")."""
    if re.fullmatch(r"[A-Za-z0-9_/.+@%:-]+", value):
        return f"{key}={value}"
    return f'{key}="{value.replace(chr(34), chr(92) + chr(34))}"'


# Which artifact the ranks of a launch train. A cluster may set RANK and WORLD_SIZE for any process; this is ours alone.
RANK_TARGET = "ASSIMILATE_RANK_TARGET"


def rank() -> int | None:
    """This process's number among the ranks of a launch of ours; None where it is none of them."""
    return int(os.environ["RANK"]) if RANK_TARGET in os.environ else None


# ------------------------------------------------------------------------------------------------ composing


@contextmanager
def hydra_ready() -> Iterator[ConfigLoader]:
    """Hydra's config loader: that of the running application, or one of our own for the time being."""
    if GlobalHydra.instance().is_initialized():
        yield GlobalHydra.instance().config_loader()
        return
    with hydra.initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def one_line(error: Exception) -> str:
    """What a user needs of Hydra's and OmegaConf's messages, in one line."""
    if isinstance(error, OverrideParseException):
        key, sign, value = error.override.partition("=")
        if sign and value and not set(value) & set("[]{}\"'"):
            return f"{error.override} cannot be read: quote its value, {shell_word(override_word(key, value))}"
        if not error.override.isascii():
            return (
                f"{error.override} cannot be read: letters beyond ASCII need quotes inside it, e.g. '{key}=[\"/öut\"]'"
            )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and isinstance(error.__cause__, OmegaConfBaseException):
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key", "object_type", "reference_type", "Set the env"))]
    kept = [line for line in kept if "append to your config use +" not in line and "To append" not in line]
    text = " ".join(dict.fromkeys(kept)).replace("'\t", "': ").replace("\t", " ")
    return text.split(" Config search path:")[0].removeprefix("In 'config': ") or type(error).__name__


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose the primary config with these overrides.

    Raises:
        UserError: an unknown group, option or key, or a value of the wrong type; in one line, with the nearest name.
    """
    with hydra_ready() as loader:
        try:
            for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
                _check_choice(override)
            return hydra.compose(config_name=CONFIG_NAME, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_line(error) + _suggestion(error, overrides)) from error


def _check_choice(override: Override) -> None:
    """Refuse what is no option of a group: nothing at all, or several at once, of which the last would win unseen.

    Raises:
        UserError: so.
    """
    group, value = override.key_or_group, override.value()
    if override.is_delete() or override.is_sweep_override() or not (CONF / group).is_dir():
        return
    if isinstance(value, list) or (value is None and group not in OPTIONAL_GROUPS):
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        several = f" (several, one after the other: -m {group}=…,…)" if isinstance(value, list) else ""
        raise UserError(f"{override.input_line} cannot be used: allowed is one of {', '.join(names)}{several}")


def _suggestion(error: Exception, overrides: Sequence[str]) -> str:
    plugin = re.search(r"hydra/(?:launcher|sweeper)/(\w+)", str(error))
    extra = next((EXTRAS[word] for word in EXTRAS if plugin is not None and word in plugin.group(1)), None)
    if extra is not None:
        return f". It comes with the extra {extra!r}, installed from the checkout: make extras EXTRAS={extra}"
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown is None:
        return ""
    key = unknown.group(1)
    if key in table_groups():
        return f". A row is added: +{key}=…"
    if having := _options_with(key):
        return f". It is a key of {' or '.join(having)}"
    known = _known_keys(hydra.compose(config_name=CONFIG_NAME, overrides=[]))
    known += [path.name for path in CONF.iterdir() if path.is_dir()]
    near = dict.fromkeys(difflib.get_close_matches(key, sorted(set(known)), n=3, cutoff=0.6))
    return f". Did you mean {' or '.join(near)}?" if near else ". All keys: --cfg job"


def _options_with(key: str) -> list[str]:
    """The options of the key's group that have it, as one gives them; none for a key that is misspelt."""
    group, _, name = key.partition(".")
    if not name or not (CONF / group).is_dir():
        return []
    files = sorted((CONF / group).glob("*.yaml"))
    missing = object()
    return [
        f"{group}={path.stem}"
        for path in files
        if any(OmegaConf.select(OmegaConf.load(path), at, default=missing) is not missing for at in (name, key))
    ]


def _known_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key in map(str, config):
        name = f"{prefix}{key}"
        keys.append(name)
        if not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key):
            child = config._get_node(key)
            if isinstance(child, DictConfig):
                keys += _known_keys(child, f"{name}.")
    return keys


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        missing = [key for key in MISSING_HINTS if OmegaConf.is_missing(*_node_of(config, key))]
        missing = missing or sorted(OmegaConf.missing_keys(config))
        if missing:
            raise UserError(MISSING_HINTS.get(missing[0], f"{missing[0]} has no value: give {missing[0]}=…"))
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    assert isinstance(plain, dict)
    if isinstance(plain["dataset"]["name"], int | float):  # dataset.name=2024
        plain["dataset"]["name"] = str(plain["dataset"]["name"])
    for dataset in (plain["dataset"], plain["dataset"].get("evaluation") or {}):
        if dataset.get("kind") == "folder" and not str(dataset["root"] or "").strip():  # the working directory, else
            raise UserError(f"dataset.root={dataset['root']} cannot be used: {MISSING_HINTS['dataset.root']}")
        if dataset.get("kind") == "folder":  # the same folder from any working directory
            dataset["root"] = str(Path(str(dataset["root"])).expanduser().resolve())
    if plain["view"].get("path") is not None:
        plain["view"]["path"] = str(Path(str(plain["view"]["path"])).expanduser().resolve())
    settings = {str(key): value for key, value in plain.items() if key != "hydra"}
    read_numbers(settings)
    return settings


def _node_of(config: DictConfig, key: str) -> tuple[Any, str]:
    group, name = key.split(".")
    return config[group], name


def make_job(stage_name: str, config: DictConfig, overrides: Sequence[str], *, strict: bool = True) -> Job:
    """Resolve, cap, check and place one composed configuration.

    Args:
        stage_name: the command.
        config: what `overrides` compose to.
        overrides: the command line's.
        strict: refuse overrides that the run ignores.

    Raises:
        UserError: a value out of range, an override that the chosen `assim` or the stage ignores, a missing value.
    """
    with hydra_ready() as loader:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    given = {override.key_or_group: override for override in parsed}
    plain = _plain(config)
    if "view" in given and not uses_view(plain):  # nor is what the view would bring for its data set
        kept = [str(override.input_line) for override in parsed if override.key_or_group != "view"]
        plain = _plain(compose(kept)) | {"view": plain["view"]}
    plain["generator"] = own_generator(plain["generator"], list(given))
    row = plain.get("row")
    capped = apply_budget(plain)
    check_values(plain)
    check_stage(plain, stage_name)
    check_given(plain, list(given), stage_name, NEUTRAL_OVERRIDES)
    check_analysis(plain, list(given), stage_name)
    # f has its settings in `view.encoder`, whether or not there is a view.
    concerned = [key for key in given if stage_name != "analyze" or not key.startswith("view.encoder.")]
    notices = check_ignored_overrides(plain, concerned) if strict and plain["checkpoint"] is None else []
    asked = {line.split(" ")[0] for line in capped} & set(given)
    for line in capped:
        if line.split(" ")[0] in asked:
            notices.append(f"budget={plain['budget']['name']} caps {line}")
    identity = run_identity(plain)
    if plain["checkpoint"] is not None:  # a file is what is in it, wherever it lies
        identity["checkpoint"] = given_content(str(plain["checkpoint"]))
    whole_row = None
    if row is not None and identity == _row_identity(given, sampled=data_is_sampled(plain)):
        whole_row = row
    out = Path(str(plain["out"])).expanduser().resolve()
    setting = {
        key: value for key, value in identity.items() if key != "seed"
    }  # the seeds of one setting lie side by side
    place = whole_row or f"adhoc/{_override_slug(parsed)}-{content_hash(setting, 8)}"
    run_dir = out / plain["budget"]["name"] / place / plain["dataset"]["name"] / f"seed{plain['seed']}"
    return Job(stage_name, plain, tuple(overrides), identity, out, run_dir, whole_row, tuple(notices))


def own_generator(generator: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The group `generator` of a job with `generator._target_`: the target and its arguments, nothing else.

    Arguments are the keys that the command line gives and those that no shipped generator has; a recipe's settings of
    StyleGAN2's training are none. Without a target the group stays as it is.
    """
    if generator.get("_target_") is None:
        return generator
    shipped: set[str] = set()
    for path in (CONF / "generator").glob("*.yaml"):
        shipped |= set(map(str, OmegaConf.load(path)))
    given = {key.split(".")[1] for key in keys if key.startswith("generator.")}
    names = [name for name in generator if name != "_target_" and (name in given or name not in shipped)]
    return {"name": OWN, "_target_": str(generator["_target_"]), "arguments": {name: generator[name] for name in names}}


def _row_identity(given: Mapping[str, Override], *, sampled: bool) -> dict[str, Any]:
    companions = (*ROW_COMPANIONS, *(SAMPLED_COMPANIONS if sampled else ()), *table_groups())
    kept = [override.input_line for key, override in given.items() if key in companions]
    plain = _plain(compose([line for line in kept if line is not None]))
    apply_budget(plain)
    return run_identity(plain)


def _override_slug(overrides: Sequence[Override]) -> str:
    words = []
    for override in overrides:
        key = override.key_or_group
        if key in ("dataset", "seed", "budget", "dataset.root", "dataset.name") or _is_neutral(key):
            continue
        value = override.get_value_element_as_str()
        if key == "checkpoint":
            value = Path(value.strip("'\"")).name
        words.append(f"{key}={value}")
    return re.sub(r"[^\w=.,+-]+", "_", ",".join(words))[:80] or "default"


def _is_neutral(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in NEUTRAL_OVERRIDES)


def own_words(overrides: Sequence[str]) -> list[str]:
    """The overrides that a job is made of: neither Hydra's own nor the preset that it was listed in."""
    return [word for word in overrides if not word.startswith(("hydra.", "hydra/", "+hydra.", f"{SWEEP}="))]


@dataclass(frozen=True)
class SweepPlan:
    """What a multirun's command line and its preset say together.

    Attributes:
        overrides: the preset's, then the command line's, which win.
        searches: whether a sweeper chooses the jobs by their results, as Optuna does.
    """

    overrides: tuple[str, ...]
    searches: bool


def plan_sweep(overrides: Sequence[str]) -> SweepPlan:
    """Join a command line and `hydra.sweeper.params` of the preset that it names (conf/sweep).

    Raises:
        UserError: an unknown preset, a sweeper or launcher that is not installed, a search for the worst.
    """
    with hydra_ready() as loader:
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
            sweeper = hydra.compose(CONFIG_NAME, overrides=fixed, return_hydra_config=True).hydra.sweeper
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_line(error) + _suggestion(error, overrides)) from error
        params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    searches = not str(sweeper._target_).endswith("BasicSweeper")
    direction = str(sweeper.get("direction", "maximize")).removeprefix("Direction.")
    if searches and direction != "maximize":
        raise UserError(
            f"hydra.sweeper.direction={direction} would look for the worst objective: hydra.sweeper.direction=maximize"
        )
    return SweepPlan((*params, *overrides), searches)


def expand_sweep(overrides: Sequence[str], *, searches: bool = False) -> list[list[str]]:
    """Every combination of a multirun's comma lists, ranges and globs, as the basic sweeper launches them.

    Args:
        overrides: the last of several for one key counts.
        searches: take `interval(a, b)` too; its jobs are not known beforehand, so its ends stand for it.
    """
    with hydra_ready() as loader:
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            choices: dict[str, list[str]] = {}
            for override in parsed:
                key, value = override.get_key_element(), override.value()
                if override.is_discrete_sweep():
                    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
                    if not values:
                        known = ", ".join(rows_of(override.key_or_group))
                        raise UserError(f"{override.input_line} matches nothing{'; rows: ' if known else ''}{known}")
                elif isinstance(value, IntervalSweep):
                    if not searches:
                        raise UserError(
                            f"{override.input_line} is for a sweeper that samples: hydra/sweeper=optuna "
                            "(see conf/sweep/optuna_wsearch.yaml), or list values with commas"
                        )
                    values = [f"{key}={value.start}", f"{key}={value.end}"]
                else:
                    values = [str(override.input_line)]
                choices[key] = values
        except HydraException as error:
            raise UserError(one_line(error)) from error
    return [list(combination) for combination in itertools.product(*choices.values())]


def rows_of(group: str) -> list[str]:
    """Names of a table's rows."""
    folder = EXPERIMENTS / group
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder.is_dir() else []
