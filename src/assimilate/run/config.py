"""Where conf/ and experiments/ are, and how overrides become a job."""

import contextlib
import itertools
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from assimilate.data.dataset import Dataset
from assimilate.errors import IgnoredError, NoValueError, UserError
from assimilate.generator.step import Generator
from assimilate.graph.identity import content_hash
from assimilate.graph.wiring import TARGET, find_class
from assimilate.run.additions import canonical
from assimilate.run.analysis_checks import check_analysis
from assimilate.run.budget import apply_budget
from assimilate.run.checks import accumulation_notice, check_given, check_homes, check_objective, check_stage
from assimilate.run.composing import (
    CONFIG_NAME,
    SWEEP,
    asked_for,
    compose,
    hydra_in_one_line,
    hydra_ready,
    one_line,
    parse,
    rows_of,
    suggestion,
    table_groups,
    targets_of,
    unresolved,
    whole_path,
)
from assimilate.run.job import MEASURING_STAGE, PROBING_STAGES, Job
from assimilate.run.known_keys import CONF, check_composed, leaves, settings_in
from assimilate.run.missing import MISSING_HINTS, check_always_read, check_marked, where_to_give
from assimilate.run.naming import name_of_setting
from assimilate.run.neutral import NEUTRAL_OVERRIDES, ROW_COMPANIONS, is_neutral
from assimilate.run.python_path import needed_python_path
from assimilate.run.recipe import Recipe
from assimilate.run.words import SEARCH_PATH, typed_words

# A data set that a generator makes is not there without it (Table 4).
SAMPLED_COMPANIONS = ("generator.checkpoint", "dataset.evaluation.root")


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        check_marked(config)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(unresolved(error, config)) from error
    assert isinstance(plain, dict)
    check_always_read(plain)
    check_homes(plain)
    if isinstance(plain["dataset"]["name"], int | float):  # dataset.name=2024
        plain["dataset"]["name"] = str(plain["dataset"]["name"])
    for key, dataset in (("dataset", plain["dataset"]), ("dataset.evaluation", plain["dataset"].get("evaluation"))):
        if dataset and find_class(f"{key}.{TARGET}", dataset.get(TARGET), Dataset).from_files and "root" in dataset:
            if not str(dataset["root"] or "").strip():  # an empty path would be the working directory
                raise UserError(f"{key}.root={dataset['root']} cannot be used: {MISSING_HINTS['dataset.root']}")
            dataset["root"] = whole_path(dataset["root"])  # the same folder from any working directory
    if plain["view"].get("path") is not None:
        plain["view"]["path"] = whole_path(plain["view"]["path"])
    return {str(key): value for key, value in plain.items() if key != "hydra"}


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
    parsed = parse(overrides)
    try:
        return _job(stage_name, config, overrides, parsed, strict=strict)
    except NoValueError as error:
        raise where_to_give(error, config, parsed) from error


def _job(
    stage_name: str, config: DictConfig, overrides: Sequence[str], parsed: Sequence[Override], *, strict: bool
) -> Job:
    given = {override.key_or_group: override for override in parsed}
    measured, probed = stage_name == MEASURING_STAGE, stage_name in PROBING_STAGES
    plain = _plain(config)
    words = canonical(parsed, plain)
    plain, capped = _lowered(parsed, plain, measured=measured)
    asked = asked_for(parsed)
    capped = [line for line in capped if line.split(" ")[0] in asked]
    words = _each_setting(words, plain, measured=measured)
    lowered = {line.split(" ")[0] for line in capped}
    while (as_run := _as_run(words, plain, lowered, measured=measured)) != words:
        words = as_run
    row = plain.get("row")
    recipe = Recipe(plain, probed=probed)
    check_stage(recipe.job, stage_name, samples=recipe.samples)
    check_given(plain, list(given), stage_name, NEUTRAL_OVERRIDES, samples=recipe.samples)
    check_analysis(plain, list(given), stage_name, targets_of("view") if measured else {})
    recipe.check(measured=measured)
    check_composed(plain)
    if recipe.job.objective is not None:
        check_objective(recipe.job.objective, recipe.probe.metrics)
    notices = _check_used(recipe, plain, given) if strict and plain["checkpoint"] is None else []
    notices += [f"budget={plain['budget']['name']} caps {line}" for line in capped]
    identity = recipe.identity

    def is_this_run(others: Sequence[str]) -> bool:
        return _compose_to(others, lambda other: Recipe(other, probed=probed).identity == identity, measured=measured)

    whole_row = row if row is not None and is_this_run(_words_of_row(words, sampled=recipe.samples)) else None
    out = Path(whole_path(plain["out"]))
    setting = {
        key: value for key, value in identity.items() if key != "seed"
    }  # the seeds of one setting lie side by side
    place = whole_row
    if place is None:
        doubtful = () if recipe.uses_view else ("view",)
        name = name_of_setting(
            parse(words), doubtful, lambda others: is_this_run([str(each.input_line) for each in others])
        )
        place = f"adhoc/{name}-{content_hash(setting, 8)}"
    run_dir = out / plain["budget"]["name"] / place / plain["dataset"]["name"] / f"seed{plain['seed']}"
    typed, found_by = tuple(typed_words(words)), needed_python_path(plain)
    return Job(
        *(stage_name, plain, tuple(words), identity, out, run_dir, whole_row, tuple(notices), typed),
        python_path=found_by,
    )


def _lowered(
    parsed: Sequence[Override], plain: dict[str, Any], *, measured: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """What overrides compose to, as it is run, and a sentence for each value that the budget lowered."""
    keys = [override.key_or_group for override in parsed]
    if "view" in keys and not Recipe(plain).uses_view:  # nor are the settings of dataset_view for it
        kept = [str(override.input_line) for override in parsed if override.key_or_group != "view"]
        plain = _plain(compose(kept)) | {"view": plain["view"]}
    plain["generator"] = own_generator(plain["generator"], keys)
    with contextlib.suppress(UserError):  # converts numbers that are written as text; make_job raises the errors
        Recipe(plain).check(measured=measured)
    return plain, apply_budget(plain)


def _each_setting(words: Sequence[str], plain: Mapping[str, Any], *, measured: bool) -> list[str]:
    """The words, `encoder={width: 8,output_dim: 16}` as `encoder.width=8 encoder.output_dim=16`.

    So some of its settings may be left out, and others kept. A mapping that is added, or stands where none was, stays
    one word.

    Args:
        words: overrides.
        plain: what is run.
        measured: whether the stage looks at views through f.
    """
    found = [[word] for word in words]
    for place, override in enumerate(parse(words)):
        if not isinstance(override._value, dict) or words[place].startswith("+"):
            continue
        settings = leaves({override.key_or_group: override._value})
        apart = [f"{key}={_value_as_typed(override, value)}" for key, value in settings]
        others = [*found[:place], apart, *found[place + 1 :]]
        if _compose_to(list(itertools.chain.from_iterable(others)), plain.__eq__, measured=measured):
            found = others
    return list(itertools.chain.from_iterable(found))


def _value_as_typed(override: Override, value: Any) -> str:
    """A value of a key within a mapping: quoted as it was, `${key}` as it stands."""
    if type(value) is str and "${" in value:
        return value
    return str(replace(override, _value=value).get_value_element_as_str())


def _as_run(words: Sequence[str], plain: Mapping[str, Any], capped: set[str], *, measured: bool) -> list[str]:
    """The words of what is run: one that the budget capped is left out, or says the capped value.

    The first of the two that composes to the very configuration is taken. Where none does, the word stays as it was
    typed: another word takes its value, `${epochs}`, from before the budget.

    Args:
        words: overrides.
        plain: what is run.
        capped: the keys whose values the budget lowered.
        measured: whether the stage looks at views through f.
    """
    run, found = dict(leaves(plain)), [[word] for word in words]
    for place, override in enumerate(parse(words)):
        if not capped & {leaf for leaf, _ in leaves({override.key_or_group: override.value()})}:
            continue
        lowered = replace(override, _value=_with(override._value, override.key_or_group, capped, run))
        word = f"{words[place].split('=')[0]}={lowered.get_value_element_as_str()}"
        for instead in ([], [word]):
            others = [*found[:place], instead, *found[place + 1 :]]
            if _compose_to(list(itertools.chain.from_iterable(others)), plain.__eq__, measured=measured):
                found = others
                break
    return list(itertools.chain.from_iterable(found))


def _with(value: Any, key: str, capped: Collection[str], run: Mapping[str, Any]) -> Any:
    """A value of a key as Hydra parsed it, whose leaves that were capped are what is run."""
    if isinstance(value, dict):
        return {name: _with(each, f"{key}.{name}", capped, run) for name, each in value.items()}
    return run[key] if key in capped else value


def _check_used(recipe: Recipe, plain: Mapping[str, Any], given: Mapping[str, Override]) -> list[str]:
    """Refuse overrides that nothing in the run reads; `view=` itself only gets a notice, one of those returned."""
    assim, notices = plain["assim"]["name"], []
    if "view" in given and not recipe.uses_view:
        notices.append(f"assim={assim} contrasts two expert views: view={plain['view']['name']} is not used")
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    keys = [leaf for key, override in given.items() for leaf, _ in leaves({key: override.value()})]
    concerned = [key for key in keys if key not in groups and key not in table_groups() and not is_neutral(key)]
    ignored = recipe.ignored(concerned) + _overruled(recipe, concerned)
    for group in {*given} & (groups - {*plain}):  # a group without a node of its own: its option sets keys of others
        brought = brought_by(group, str(given[group].value()))
        unread = recipe.ignored(brought)
        if unread and len(unread) == len(brought):
            ignored.append((group, unread[0][1]))
    if ignored:
        reasons = list(dict.fromkeys(reason for _, reason in ignored))
        keys = [key for key, _ in ignored]
        raise IgnoredError(f"{', '.join(keys)} would be ignored: {'; '.join(reasons)}", keys)
    return notices + accumulation_notice(recipe.encoder)


def _overruled(recipe: Recipe, keys: Sequence[str]) -> list[tuple[str, str]]:
    """(key, reason) of those of the given keys that the files of a data set leave without any effect."""
    images = {"dataset": recipe.dataset, "dataset.evaluation": recipe.own_evaluation}
    of_images = [(key, images.get(key.rpartition(".")[0])) for key in keys]
    found = [(key, dataset and dataset.overruled(key.rpartition(".")[2])) for key, dataset in of_images]
    return [(key, reason) for key, reason in found if reason]


def brought_by(group: str, name: str) -> list[str]:
    """The keys that an option sets by itself."""
    option = CONF / group / f"{name}.yaml"
    return list(settings_in(option)) if option.is_file() else []


def own_generator(generator: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The group `generator` of a job with `generator._target_`: the target and its arguments, nothing else.

    Arguments are the keys that the command line gives and those that no shipped generator has; a recipe's settings of
    StyleGAN2's training are none. Without a target the group stays as it is.
    """
    if not _is_own(str(generator["_target_"])):
        return generator
    shipped: set[str] = set()
    for path in (CONF / "generator").glob("*.yaml"):
        shipped |= {key.split(".")[1] for key in settings_in(path)}
    given = {key.split(".")[1] for key in keys if key.startswith("generator.")}
    names = [name for name in generator if name != "_target_" and (name in given or name not in shipped)]
    arguments = {name: generator[name] for name in names}
    return {"name": "own", "_target_": str(generator["_target_"]), "arguments": arguments}


def _is_own(target: str) -> bool:
    """Whether a generator's target is the user's code and no step; one that is not there is refused when it is made."""
    try:
        found = pkgutil.resolve_name(target)
    except Exception:  # it is the user's code: it may raise anything
        return True
    return not (isinstance(found, type) and issubclass(found, Generator))


def _words_of_row(words: Sequence[str], *, sampled: bool) -> list[str]:
    """Of what was typed, the row and what may accompany it."""
    companions = (*ROW_COMPANIONS, *(SAMPLED_COMPANIONS if sampled else ()), *table_groups(), SEARCH_PATH)
    parsed = parse(words)
    return [
        word
        for word, override in zip(words, parsed, strict=True)
        if override.key_or_group in companions and not isinstance(override.value(), dict)
    ]


def _compose_to(words: Sequence[str], same: Callable[[dict[str, Any]], bool], *, measured: bool) -> bool:
    """Whether what words compose to, as it is run, is the same as something."""
    try:
        return same(_lowered(parse(words), _plain(compose(words)), measured=measured)[0])
    except UserError:
        return False


def own_words(overrides: Sequence[str]) -> list[str]:
    """The overrides that a job is made of: where its options are, but else nothing of Hydra's own, nor its preset."""
    others = ("hydra.", "hydra/", "+hydra.", f"{SWEEP}=")
    return [word for word in overrides if word.startswith(f"{SEARCH_PATH}=") or not word.startswith(others)]


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
    fixed: list[str] = []
    with hydra_ready():
        try:
            fixed = [str(override.input_line) for override in parse(overrides) if not override.is_sweep_override()]
            sweeper = hydra.compose(CONFIG_NAME, overrides=fixed, return_hydra_config=True).hydra.sweeper
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_line(error) + suggestion(error, fixed)) from error
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
    choices: dict[str, list[str]] = {}
    with hydra_ready(), hydra_in_one_line():
        for override in parse(overrides):
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
    return [list(combination) for combination in itertools.product(*choices.values())]
