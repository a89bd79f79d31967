"""From a command line to its jobs: the guard against what would run by mistake, and the entry point of every stage."""

import contextlib
import dataclasses
import difflib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.utils import env_override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from assimilate.artifacts.provenance import version_line
from assimilate.errors import IgnoredError, UserError
from assimilate.graph.counted import counted
from assimilate.graph.wiring import TARGET
from assimilate.jobs.crash import shown_of
from assimilate.jobs.out_folder import check_out, check_there, refusals_explained
from assimilate.jobs.split_sweep import two_commands
from assimilate.jobs.stopping import TerminatedError, termination_raised
from assimilate.jobs.streams import keep_printing
from assimilate.jobs.sweep import SweepFolder, print_summary, run_swept
from assimilate.jobs.terminal import to_stderr
from assimilate.run.composing import (
    CONFIG_NAME,
    SWEEP,
    compose,
    compose_for_hydra,
    hydra_in_one_line,
    hydra_ready,
    parse,
    rows_of,
    searching,
    table_groups,
    unresolved,
)
from assimilate.run.config import expand_sweep, make_job, own_words, plan_sweep
from assimilate.run.help_pages import help_of
from assimilate.run.job import Job
from assimilate.run.keys import is_settable
from assimilate.run.known_keys import CONF, leaves, nearest_key, plain_keys
from assimilate.run.once_loader import RUN_DIR
from assimilate.run.words import CommandLine, check_quoted, override_word, read_command_line, sweep_word

# Keys in which an option or a row states its own name: set by hand, they would mislabel the run.
SAID_BY = {
    "row": "+table3=<a row>",
    "paper": "+table3=<a row>",
    "budget.caps": "budget=<its name>, or the settings themselves, e.g. epochs=10",
    "analysis.kind": "analysis=<its name>",
}
# A class that a user may name by hand, as its further keys are its arguments.
OWN_CLASS = f"generator.{TARGET}"


def _check_key(override: Override) -> None:
    """Refuse to delete a key, and to set by hand a key that names the chosen option or row."""
    key = override.key_or_group
    if override.is_delete() and not key.startswith("hydra"):
        raise UserError(f"{override.input_line}: no key can be taken away; give it another value, {key}=…")
    if override.package is not None and not key.startswith("hydra"):
        raise UserError(f"{override.input_line}: an option stays in its place; give {key}=…, without @")
    for leaf, value in leaves({key: override.value()}):  # also of view={name: x}
        if (instead := _said_by(leaf, value)) is not None:
            raise UserError(f"{override.input_line} cannot be set by itself: give {instead}")


def _said_by(key: str, value: Any) -> str | None:
    """What to give in place of a key that names the chosen option or row; None for any other."""
    for name, instead in SAID_BY.items():
        if key == name or key.startswith(f"{name}."):
            return instead
    group, _, name = key.partition(".")
    ours = name == TARGET and key != OWN_CLASS and str(value).startswith("assimilate.")
    chosen = (name == "name" and not is_settable(key)) or ours
    return f"{group}=<its name>" if chosen and (CONF / group).is_dir() else None


def _check_hydra_key(override: Override) -> None:
    """Refuse to add a setting that Hydra does not have; mappings that take any name (env_set, params) accept all."""
    node: Any = HydraConf
    for name in override.key_or_group.split(".")[1:]:
        if not dataclasses.is_dataclass(node):
            return
        known = {field.name: field.type for field in dataclasses.fields(node)}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(known))}"
            raise UserError(f"{override.input_line} cannot be used: Hydra has no setting {name} there. {hint}")
        node = known[name]


def check_additions(overrides: Sequence[str]) -> None:
    """Refuse `+key` that is neither a table of rows nor a setting, and what is no row: the default would run silently.

    Whether the run reads a setting that is added is known when the job is composed (make_job).

    Raises:
        UserError: such a key, an unknown row, two rows at once, a key that only an option may set.
    """
    parsed, tables = parse(overrides), table_groups()
    rows = [override for override in parsed if override.key_or_group in tables]
    if len(rows) > 1:
        raise UserError(f"one row at a time: {' and '.join(str(row.input_line) for row in rows)} were given")
    for override in parsed:
        key = override.key_or_group
        _check_key(override)
        if key in tables:
            known = rows_of(key)
            check_quoted(override, known)
            value = override.value()
            if not override.is_sweep_override() and value not in known:
                near = difflib.get_close_matches(str(value), known, n=1)
                hint = f" Did you mean +{key}={near[0]}?" if near else ""
                raise UserError(f"{key} has no row {value!r}.{hint} Rows: {', '.join(known)}")
        elif key == SWEEP and (override.is_add() or override.is_sweep_override()):
            raise UserError(f"{override.input_line}: one ready-made sweep at a time, without +, e.g. {SWEEP}=table13")
        elif (override.is_add() or override.is_force_add()) and (CONF / key).is_dir():
            raise UserError(f"{override.input_line}: an option of a group is given without +, {key}=…")
        elif key.startswith("hydra.") and (override.is_add() or override.is_force_add()):
            _check_hydra_key(override)
        elif override.is_add() and "." not in key and key != "hydra":
            raise _no_addition(override, tables)


def _no_addition(override: Override, tables: Sequence[str]) -> UserError:
    """What to say of `+name`, which is no table: a key that is given without +, or the nearest names."""
    key, keys = override.key_or_group, plain_keys()
    if key in keys:
        return UserError(f"{override.input_line} cannot be used: a key is given without +, {key}=…")
    near = difflib.get_close_matches(key, [*tables, *keys], n=2)
    hint = " or ".join(f"+{name}=…" if name in tables else f"{name}=…" for name in near)
    told = f"Did you mean {hint}?" if near else nearest_key(key, ())
    if not told.startswith("Did"):
        told = f"Tables of rows: {', '.join(tables)}. {told}"
    return UserError(f"+{key} is no table of rows, and no key. {told}")


# ------------------------------------------------------------------------------------------------ stages

SHOW_JOB = "--cfg=job"
HELP = "--help"
VERSION = "--version"

Body = Callable[[Job], float | None]


def stage(name: str, *, only_shows: bool = False) -> Callable[[Body], Callable[..., int]]:
    """Make `main(argv) -> exit code` of a stage's body. One that `only_shows` may read another user's folder.

    The composed jobs are checked before anything starts: before torch is imported, and before Hydra makes a folder.
    Exit codes: 0 done, 1 an exception, or a job of a multirun failed, 2 the command was wrong or the one job failed
    for a reason that one line tells, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), 138 (SIGUSR1).
    """

    def decorate(body: Body) -> Callable[..., int]:
        @functools.wraps(body)
        def main(argv: Sequence[str] | None = None) -> int:
            keep_printing()
            # Before torch is imported. OpenMP threads spin while they wait, which on a busy machine makes small steps
            # ten times slower. Asleep after 10,000 turns they are as fast when the machine is ours alone.
            os.environ.setdefault("GOMP_SPINCOUNT", "10000")
            words = sys.argv[1:] if argv is None else argv
            if VERSION in words:  # Hydra would print its own alone
                print(version_line())
                return 0
            try:
                line = read_command_line(words)
                with termination_raised(), searching(line.searched):
                    if HELP in line.shows:
                        print(help_of(name, line.words))
                    elif SHOW_JOB in line.shows:
                        _show_job(line)
                    elif line.shows:
                        _show(name, [*line.shows, *line.words])
                    elif line.multirun:
                        _leave_launch()
                        with hydra_ready(name):
                            return _run_all(name, body, line.words, only_shows=only_shows)
                    else:
                        _leave_launch()
                        _run_one(name, body, line.words, only_shows=only_shows)
            except UserError as error:
                to_stderr(f"assimilate.{name}: {error}")
                return 2
            except TerminatedError as ended:
                to_stderr(f"assimilate.{name}: terminated; the same command resumes")
                return 128 + ended.signal
            except KeyboardInterrupt:
                to_stderr(f"\nassimilate.{name}: interrupted; the same command resumes")
                return 130
            except Exception as error:  # most likely of a class of the user's own
                to_stderr(shown_of(error, name))
                return 1
            return 0

        return main

    return decorate


def _show_job(line: CommandLine) -> None:
    """Print the configuration of a job, as Hydra would, but as it is run: options that are named keep their values."""
    package = next((flag.partition("=")[2] for flag in line.shows if flag.startswith("--package=")), None)
    config = compose(line.words)
    shown = config if package is None else OmegaConf.select(config, package)
    head = "" if package is None else f"# @package {package}\n"
    try:
        print(head + OmegaConf.to_yaml(shown, resolve="--resolve" in line.shows), end="")
    except OmegaConfBaseException as error:
        raise UserError(unresolved(error, config)) from error


def _run_one(name: str, body: Body, words: Sequence[str], *, only_shows: bool) -> None:
    with hydra_ready(name):
        check_additions(words)
        for override in parse(words):
            if override.is_sweep_override() or override.key_or_group == SWEEP:
                raise UserError(sweep_word(override))
        config, mode, variables = compose_for_hydra(words)
        if mode is RunMode.MULTIRUN:
            raise UserError("hydra.mode=MULTIRUN cannot be used: add -m")
        with env_override(variables):
            job = make_job(name, config, own_words(words))
        if only_shows:
            check_there(job)
        check_out(job, only_shows=only_shows)
        failures: list[Exception] = []

        def task(config: DictConfig) -> None:
            try:
                with _where_it_was_typed(), refusals_explained(), job.ending:
                    body(job)
            except Exception as error:  # kept from Hydra, which would print it its own way
                failures.append(error)

        with _place_of(job) as place, hydra_in_one_line():
            _hydra().run(CONFIG_NAME, task, [*words, *place])
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _place_of(job: Job) -> Iterator[list[str]]:
    """The words that give Hydra its folder: a temporary one for a plan, which leaves nothing; else none."""
    if job.config["prepare"] != "plan":
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="assimilate-plan-") as folder:
        yield [override_word(RUN_DIR, folder)]


def _run_all(name: str, body: Body, words: Sequence[str], *, only_shows: bool) -> int:
    """Check every job of a multirun, run all of them even if some fail, and print their table."""
    check_additions(words)
    plan = plan_sweep(words)
    check_additions(plan.overrides)
    expanded = expand_sweep(plan.overrides, searches=plan.searches)
    jobs = [_swept_job(name, words, job) for job in expanded]
    if plan.searches and any(job.config["objective"] is None for job in jobs):
        raise UserError("a sweeper that searches needs objective=: knn5_train looks at no test image, knn5 and acc1 do")
    for prepare in {job.config["prepare"] for job in jobs if plan.searches} & {"plan", "only"}:
        raise UserError(
            f"prepare={prepare}: a sweeper that searches chooses each job by the results of those before it, and these "
            "would have none; give one job without the sweeper"
        )
    for job in {(job.out, job.config["prepare"]): job for job in jobs}.values():
        if only_shows:
            check_there(job)
        check_out(job, only_shows=False)
    is_plan = all(job.config["prepare"] == "plan" for job in jobs)
    with refusals_explained():
        folder = SweepFolder(jobs[0].out, name, words, None if plan.searches else len(jobs), is_plan=is_plan)
        folder.clear()
    task = _task_of(name, body, folder)
    with contextlib.closing(folder):
        try:
            with hydra_in_one_line():
                if is_plan:  # here and at once, whatever the launcher: another machine has another temporary folder
                    place = override_word(RUN_DIR, str(folder.path))
                    for number, typed in enumerate(expanded):
                        _hydra().run(CONFIG_NAME, task, [*typed, f"hydra.job.num={number}", "hydra.mode=RUN", place])
                else:
                    place = override_word("hydra.sweep.dir", str(folder.path))
                    _hydra().multirun(CONFIG_NAME, task, [place, *words, "hydra.mode=MULTIRUN"])
        except UserError:
            raise
        except Exception as error:  # from a launcher or a sweeper: the table of the jobs is printed first
            to_stderr(f"assimilate.{name}: the multirun stopped: {type(error).__name__}: {error}")
            print_summary(folder, to_stderr)
            return 1
        not_done = print_summary(folder, to_stderr)
    if not_done:
        to_stderr(f"assimilate.{name}: {counted(not_done, 'job')} of the sweep failed")
    return 1 if not_done else 0


def _swept_job(name: str, words: Sequence[str], job: Sequence[str]) -> Job:
    """One job of a multirun. Where it ignores what others read, the refusal says which two commands there are."""

    def made(words: Sequence[str]) -> Job:
        return make_job(name, compose(words), own_words(words))

    try:
        return made(job)
    except IgnoredError as error:
        told = two_commands(name, words, job, error.keys, made)
        raise UserError(f"{error}. {told}" if told else str(error)) from error


def _task_of(name: str, body: Body, folder: SweepFolder) -> Callable[[DictConfig], float | None]:
    """What Hydra calls for every job; launchers pickle it and may call it in another process."""

    def complain(line: str) -> None:
        to_stderr(f"assimilate.{name} ({line})")

    def explained(job: Job) -> float | None:
        with refusals_explained():
            return body(job)

    def task(config: DictConfig) -> float | None:
        keep_printing()
        words, number = _task_words(), HydraConfig.get().job.num
        with _where_it_was_typed():
            return run_swept(folder, number, words, lambda: make_job(name, compose(words), words), explained, complain)

    return task


def _task_words() -> list[str]:
    """The overrides of the job that Hydra is running, in this process or another."""
    overrides = HydraConfig.get().overrides
    return own_words([*overrides.hydra, *overrides.task])


def _leave_launch() -> None:
    """Warn that srun or torchrun may have started this command several times, judged by their variables.

    The numbers of a rank are gone afterwards: Lightning and torchmetrics read them when they are imported, and what a
    cluster sets may be empty or of another launch.
    """
    for variable in ("SLURM_NTASKS", "WORLD_SIZE"):
        if (os.environ.get(variable) or "1") != "1":
            to_stderr(
                f"note: {variable}={os.environ[variable]}: copies of one command do not train together, they wait for "
                "each other. For N ranks on this machine start one copy, with trainer=ddp trainer.devices=N"
            )
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(variable, None)


def _where_it_was_typed() -> contextlib.AbstractContextManager[None]:
    """Relative paths are relative to where the command was typed, also with hydra.job.chdir=true."""
    return contextlib.chdir(HydraConfig.get().runtime.cwd)


def _hydra() -> Hydra:
    """The application that `hydra_ready` made: what `hydra.main` calls, without its own look for hydra.mode."""
    application = GlobalHydra.instance().hydra
    assert application is not None
    return application


def _show(name: str, arguments: Sequence[str]) -> None:
    """Let hydra.main print what the flags ask for."""

    def task(config: DictConfig) -> None: ...

    task.__module__ = "__main__"
    saved, sys.argv = sys.argv, [f"assimilate.{name}", *arguments]
    try:
        # Exceptions reach us instead of being printed and swallowed.
        with hydra_in_one_line(), env_override({"HYDRA_FULL_ERROR": "1"}):
            hydra.main(config_path=str(CONF), config_name=CONFIG_NAME, version_base="1.3")(task)()
    finally:
        sys.argv = saved
