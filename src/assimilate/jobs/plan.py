"""What a job would build and at what cost: shown by prepare=plan, and said before anything long starts."""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assimilate.artifacts.artifact import Artifact
from assimilate.data.dataset import Dataset
from assimilate.data.parts import Shard
from assimilate.encoder.step import Encoder
from assimilate.errors import UserError
from assimilate.files.cpus import usable_cpus, whole_cpus
from assimilate.files.whole_file import write_whole
from assimilate.graph.cost import USUAL, Cost, Speed, duration
from assimilate.graph.counted import counted
from assimilate.jobs.session import Session
from assimilate.jobs.terminal import Pace, wrapped
from assimilate.run.budget import BUDGETS, lowering
from assimilate.run.job import MEASURING_STAGE, PROBING_STAGES

BESIDE_THEM = "starting Python, pictures and pages"
# Beside the artifacts: importing what computes, and a run's pictures and page.
STARTING_SECONDS, DRAWING_SECONDS = 8.0, 6.0
# Work from which on a machine's speed is worth measuring, and from which on a CPU's user is asked.
LONG_SECONDS, ASKED_SECONDS = 15 * 60, 24 * 3600
# An artifact, and the session that finds or builds it.
Need = tuple[Session, Artifact]


@dataclass(frozen=True)
class Planned:
    """One artifact of a plan; one that is there costs nothing and has no command.

    Attributes:
        label: for people. Before the images are prepared it lacks the key: their fingerprint is not known yet.
        key: what two jobs share has the same.
        command: that builds it.
        machine: on which it is estimated, and how.
        seconds, megabytes: of building it.
        brought_by: the keys that bring one of the user's own in its place, "generator.checkpoint= …".
    """

    label: str
    key: str
    command: str = ""
    machine: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    brought_by: str = ""

    @property
    def cost(self) -> Cost:
        """Of building it."""
        return Cost(self.seconds, self.megabytes)


def unfold(needs: Sequence[Need]) -> list[Need]:
    """Everything that the artifacts are made of, parents first, each once."""
    found: dict[str, Need] = {}

    def visit(session: Session, artifact: Artifact) -> None:
        for parent in artifact.parents.values():
            visit(session, parent)
        found.setdefault(artifact.label, (session, artifact))

    for session, artifact in needs:
        visit(session, session.data)
        visit(session, artifact)
    return list(found.values())


def needs_of_run(session: Session) -> list[Need]:
    """Every artifact of a run; under prepare=only, those that come before its own training."""
    chain = session.chain
    session.require_images(chain.encoder)  # under prepare=only as well, which spends hours for a training to come
    return [(session, artifact) for artifact in (chain.upstream() if session.prepare == "only" else chain.all())]


def print_plan(
    session: Session, needs: Sequence[Need] | None = None, target: Path | None = None, more: Sequence[Planned] = ()
) -> None:
    """What exists and what would be built, with estimated time and disk.

    In a multirun it is only noted: what jobs share is then shown once, for all of them.

    Args:
        session: of the job.
        needs: what the result is made from; None: everything of a run.
        target: where the result would be; None: the run's folder.
        more: further work, done for this result alone.
    """
    needs = needs_of_run(session) if needs is None else unfold(needs)
    speed, machine = likely_speed(session), "a GPU" if session.gpu_is_likely() else "this CPU"
    machine = f"{machine} ({_how_rough(speed)})"
    planned = [*_planned(needs, speed, machine), *(replace(part, machine=machine) for part in more)]
    if session.job.turn:
        session.job.planned.extend(asdict(part) for part in planned)
        return
    say = session.say
    say(f"plan for {session.job.command}")
    say(f"  out     {session.job.out}")
    say(f"  result  {target or session.job.run_dir}")
    for line in (*parts_of(planned), *totals(planned, smaller_than(session.config), seconds_beside(session.job.stage))):
        say(line)


def seconds_beside(stage: str, jobs: int = 1) -> float:
    """Seconds of a command that go into no artifact: its start, and the pictures and pages of its jobs."""
    return STARTING_SECONDS + DRAWING_SECONDS * jobs * (stage in PROBING_STAGES)


def parts_of(planned: Sequence[Planned], jobs: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """A line an artifact, and below those that one command builds this command, to be copied.

    Args:
        planned: the artifacts.
        jobs: by key, which jobs of a multirun use it.
    """
    width = max((len(part.label) for part in planned if part.command), default=0)
    following = [*(part.command for part in planned), ""][1:]
    for part, command in zip(planned, following, strict=True):
        if not part.command:
            yield f"  exists  {part.label}"
            continue
        yield f"  build   {part.label:<{width}}  {part.cost.text}{jobs.get(part.key, '')}"
        if part.command != command:
            yield f"          {part.command}"


def totals(planned: Sequence[Planned], smaller: str, beside: float, jobs: str = "") -> Iterator[str]:
    """The last lines of a plan; `smaller` are the budgets that take less, `beside` seconds that go into no artifact."""
    if any(part.command for part in planned):
        total = sum((part.cost for part in planned), Cost(beside))
        yield f"  also    {BESIDE_THEM}: {duration(beside)}"
        yield f"  in all about {total.text}{jobs} on {next(part.machine for part in planned if part.machine)}"
        if smaller:
            yield f"  smaller: {smaller} (labelled so everywhere)"
        yield from bring_your_own(planned)
    else:
        yield "  nothing to build"


def smaller_than(config: Mapping[str, Any]) -> str:
    """The budgets that lower something in a configuration, as one gives them; "" for none."""
    return " or ".join(f"budget={name}" for name in lowering(config, BUDGETS))


def bring_your_own(planned: Sequence[Planned]) -> list[str]:
    """The keys with which parts of one's own take the place of what would be built; no line where there are none."""
    keys = dict.fromkeys(key for part in planned if part.command for key in part.brought_by.split())
    return wrapped(f"  bring your own: {' '.join(keys)}", 4) if keys else []


def _brought_by(session: Session, artifact: Artifact) -> str:
    """The keys that bring what a step builds: not what is brought, nor the encoder that the run is about."""
    step, measured = artifact.step, session.job.stage == MEASURING_STAGE
    if step.is_brought or (
        isinstance(step, Encoder) and not measured and artifact.label == session.chain.encoder.label
    ):
        return ""
    return " ".join(f"{key}=" for key in step.brought_by)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, those in sequence as one: "1-3, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def plan_of_all(plans: Mapping[int, Sequence[Planned]], smaller: str, stage: str) -> list[str]:
    """The lines of what the jobs of a multirun would build: what they share once, and the total.

    Args:
        plans: by number of the job, from 1.
        smaller: the budgets that take less.
        stage: the command.
    """
    parts: dict[str, Planned] = {}
    users: dict[str, list[int]] = {}
    for number, planned in plans.items():
        for part in planned:
            parts.setdefault(part.key, part)
            users.setdefault(part.key, []).append(number)

    def jobs(numbers: Sequence[int]) -> str:
        if len(numbers) == len(plans):
            return "  for every job"
        return f"  for job{'s' * (len(numbers) > 1)} {ranges(numbers)}"

    planned = list(parts.values())
    lines = parts_of(planned, {key: jobs(numbers) for key, numbers in users.items()})
    return [*lines, *totals(planned, smaller, seconds_beside(stage, len(plans)), f" for {counted(len(plans), 'job')}")]


def _planned(
    needs: Sequence[Need],
    speed: Speed,
    machine: str = "",
    anew: Container[str] = (),
    shards: Mapping[str, Shard] = MappingProxyType({}),
) -> Iterator[Planned]:
    for session, artifact in needs:
        if artifact.label not in anew and session.store.has(artifact):
            yield Planned(artifact.label, artifact.label)
            continue
        session.require_images(artifact)
        cost = session.cost_of(artifact, speed)
        known = isinstance(artifact.step, Dataset) or session.store.has(session.data)
        label = artifact.label if known else f"{artifact.step.kind}/{artifact.name}"
        if (shard := shards.get(artifact.label)) is not None:
            label, cost = f"shard {shard} of {label}", Cost(cost.seconds / shard.count, cost.megabytes / shard.count)
        yield Planned(
            label,
            artifact.label,
            session.command_for(artifact),
            machine,
            cost.seconds,
            cost.megabytes,
            _brought_by(session, artifact),
        )


def announce(
    session: Session,
    needs: Sequence[Need],
    *,
    anew: Sequence[Artifact | None] = (),
    shards: Mapping[str, Shard] = MappingProxyType({}),
) -> None:
    """Before anything long: what is missing, what it may cost, and how to avoid it.

    Args:
        session: of the job.
        needs: everything that is to be there, parents first.
        anew: what force=true builds again although it is there; to be discarded after this.
        shards: which part of an artifact is made, by its label, where not all of it is.

    Raises:
        UserError: it would take this CPU more than a day, and the user did not agree.
    """
    if session.prepare == "never":
        return
    again = {artifact.label for artifact in anew if artifact is not None and session.config["force"]}
    missing = [need for need in needs if need[1].label in again or not need[0].store.has(need[1])]
    for owner, artifact in missing:
        owner.look_ahead([artifact])
    if not missing:
        return
    speed = _speed(session, session.device)
    planned = list(_planned(missing, speed, anew=again, shards=shards))
    if sum(part.seconds for part in planned) > LONG_SECONDS and not speed.is_measured:
        session.say("measuring this machine, a few seconds, once")
        speed = session.machine.measure_speed(session.device)
        remember_speed(session.device, session.settings.trainer.num_threads, speed)
        planned = list(_planned(missing, speed, anew=again, shards=shards))
    drawing = DRAWING_SECONDS if session.job.stage in PROBING_STAGES and session.prepare != "only" else 0.0
    total = sum((part.cost for part in planned), Cost(drawing))
    session.say(f"to build on {session.device_name}, {_how_rough(speed)}:")
    width = max(len(part.label) for part in planned)
    for part in planned:
        session.say(f"  {part.label:<{width}}  {part.cost.text}")
    if len(planned) > 1:
        if drawing:
            session.say(f"  {'pictures and page':<{width}}  {duration(drawing)}")
        session.say(f"  {'in all':<{width}}  about {total.text}")
    if total.seconds > LONG_SECONDS:
        if smaller := smaller_than(session.config):
            session.say(f"  smaller: {smaller}")
        session.say("  prepare=plan shows this and stops")
        for line in bring_your_own(planned):
            session.say(line)
    _ask(session, total)
    seconds = {artifact.label: part.seconds for (_, artifact), part in zip(missing, planned, strict=True)}
    pace = Pace(seconds, afterwards=drawing)
    for owner, _ in needs:
        owner.terminal.pace = pace


def _ask(session: Session, total: Cost) -> None:
    if session.device != "cpu" or total.seconds <= ASKED_SECONDS or session.config["yes"]:
        return
    takes = f"about {duration(total.seconds)} on {session.device_name}"
    smaller = smaller_than(session.config).partition(" or ")[0]
    less = f"{smaller} takes less, " if smaller else ""
    if not session.job.turn and session.terminal.console.is_terminal and sys.stdin and sys.stdin.isatty():
        if input(f"This takes {takes}. Go on? [y/N] ").strip().lower() in ("y", "yes"):
            return
        raise UserError(f"not started; {less}prepare=plan shows what takes how long")
    raise UserError(f"this takes {takes}: {less}prepare=plan shows what takes how long, yes=true goes on")


def likely_speed(session: Session) -> Speed:
    """Of the device that the job would take, judged without importing torch."""
    return _speed(session, "cuda" if session.gpu_is_likely() else "cpu")


def _speed(session: Session, device: str) -> Speed:
    return known_speed(device, session.settings.trainer.num_threads)


def _how_rough(speed: Speed) -> str:
    return "estimates from this machine's speed" if speed.is_measured else "rough estimates"


# ------------------------------------------------------------------------------------------ the speed of this machine
# Measured once, remembered from job to job, and no part of any run's identity.


def known_speed(device: str, threads: int | None) -> Speed:
    """What was measured here, else what such machines usually sustain.

    Args:
        device: "cpu" or "cuda".
        threads: of the CPU; None: all cores.
    """
    try:
        return Speed(**_read()[_machine(device, threads)])
    except (KeyError, TypeError):
        return USUAL[device]


def remember_speed(device: str, threads: int | None, speed: Speed) -> None:
    """Keep what was measured; where there is no home folder, the next job measures again."""
    if (memory := _memory()) is not None:
        text = json.dumps({**_read(), _machine(device, threads): asdict(speed)}, indent=1)
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memory, text + "\n")


def _memory() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return cache / "assimilate" / "speed.json" if cache.is_absolute() else None


def _read() -> dict[str, Any]:
    memory = _memory()
    try:
        found = {} if memory is None else json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine(device: str, threads: int | None) -> str:
    """Many machines may share a home folder, and a job may get only some of the cores."""
    return f"{platform.node()}, {device}, {threads or whole_cpus()} threads, {usable_cpus():g} CPUs"
