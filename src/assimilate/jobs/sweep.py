"""The jobs of a multirun: the record that each writes at its start and end, and the table of all.

Jobs may run one after the other, side by side or on machines of a cluster. The table is made from files:
their records here, their results in the folders of their runs.
"""

import json
import shutil
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from assimilate.errors import UserError
from assimilate.files.whole_file import write_whole
from assimilate.graph.counted import counted
from assimilate.graph.identity import content_hash
from assimilate.jobs.plan import Planned, plan_of_all, smaller_than
from assimilate.pages.metrics import BELOW, BELOW_PIXELS, metric
from assimilate.pages.result_file import read_metrics
from assimilate.pages.run import label_of, warning_of
from assimilate.probes.floors import Floors, below_pixels, texts_by_group
from assimilate.run.config import own_words
from assimilate.run.job import Job, shell_word
from assimilate.run.words import override_word, typed_words

# What the table shows of a result, where there is any.
SHOWN = {name: metric(name).title for name in ("acc1", "knn5")}
# Stages whose jobs end with a result.
MEASURING = ("train", "evaluate")


@dataclass(frozen=True)
class JobRecord:
    """One job of a multirun: `status` is "running" (or killed while it was), "done" or "failed"."""

    number: int
    overrides: tuple[str, ...]
    status: str
    error: str | None = None
    seconds: float = 0.0
    objective: float | None = None
    run_dir: str | None = None
    row: str | None = None
    dataset: str = ""
    seed: int = 0
    budget: str = ""
    planned: tuple[dict[str, Any], ...] = ()
    smaller: str = ""

    @property
    def setting(self) -> str:
        """The job's overrides as a user would type them."""
        return " ".join(map(shell_word, self.overrides)) or "no overrides"


class SweepFolder:
    """The folder of one multirun: `<number>.json` and `<number>.log` a job, and what Hydra keeps of the whole.

    Args:
        out: the folder `out` of the jobs.
        stage: the command.
        words: its overrides; the same multirun has the same folder.
        expected: how many jobs there should be; None where only the sweeper knows.
        is_plan: whether all jobs only plan: theirs is a temporary folder.
    """

    def __init__(
        self, out: Path, stage: str, words: Sequence[str], expected: int | None, *, is_plan: bool = False
    ) -> None:
        self.out = out
        self.stage = stage
        self.expected = expected
        self.is_plan = is_plan
        of_these_words = out / "multirun" / f"{stage}-{content_hash(sorted(words), 8)}"
        self.path = Path(tempfile.mkdtemp(prefix="assimilate-plan-")) if is_plan else of_these_words

    def clear(self) -> None:
        """Make the folder, and forget the jobs of an earlier multirun of the same words."""
        self.path.mkdir(parents=True, exist_ok=True)
        for path in (*self.path.glob("*.json"), *self.path.glob("*.log")):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing of a plan behind; of one with failed jobs their logs, which the user was told of."""
        if self.is_plan and all(record.status != "failed" for record in self.read()):
            shutil.rmtree(self.path)

    def log(self, number: int) -> Path:
        """Where a job's lines are kept, and the traceback of one that crashed."""
        return self.path / f"{number}.log"

    def write(self, record: JobRecord) -> None:
        """Keep a job's record."""
        text = json.dumps(asdict(record), indent=1, ensure_ascii=False)
        write_whole(self.path / f"{record.number}.json", text + "\n")

    def read(self) -> list[JobRecord]:
        """The records so far, by number."""
        records = [json.loads(path.read_text(encoding="utf-8")) for path in self.path.glob("*.json")]
        found = [JobRecord(**{**record, "overrides": tuple(record["overrides"])}) for record in records]
        return sorted(found, key=lambda record: record.number)


def run_swept(
    folder: SweepFolder,
    number: int,
    words: Sequence[str],
    compose_job: Callable[[], Job],
    body: Callable[[Job], float | None],
    complain: Callable[[str], None],
) -> float | None:
    """Run one job of a multirun and keep its record.

    Args:
        folder: of the multirun.
        number: of the job.
        words: its overrides.
        compose_job: makes the job.
        body: does it; returns what a searching sweeper goes by, if asked for.
        complain: tells the user at once why the job failed.

    Returns:
        The objective; None where there is none, or the job failed.
    """
    record = JobRecord(number, tuple(typed_words(own_words(words))), "running")
    folder.write(record)
    started = time.monotonic()
    log = folder.log(number)
    try:
        job = replace(compose_job(), log=log, turn="/".join(str(n) for n in (number + 1, folder.expected) if n))
        record = replace(
            record,
            overrides=job.typed,
            run_dir=str(job.run_dir),
            row=job.row,
            dataset=job.config["dataset"]["name"],
            seed=int(job.config["seed"]),
            budget=job.config["budget"]["name"],
        )
        folder.write(record)
        with job.ending:
            objective = body(job)
    except UserError as error:
        _append(log, f"failed: {error}")
        record, objective = replace(record, status="failed", error=str(error)), None
        complain(f"{record.setting}: {error}")
    except Exception as error:  # whatever failed, the next job runs
        _append(log, traceback.format_exc())
        line = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        record, objective = replace(record, status="failed", error=line), None
        complain(f"{record.setting}: {line} (traceback in {log})")
    else:
        record = replace(record, status="done", objective=objective, planned=tuple(job.planned))
        record = replace(record, smaller=smaller_than(job.config) if job.planned else "")
    folder.write(replace(record, seconds=round(time.monotonic() - started, 3)))
    return objective


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text.rstrip("\n") + "\n")


# ------------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True)
class SettingSummary:
    """The jobs that differ in nothing but their seed."""

    name: str
    dataset: str
    budget: str
    done: tuple[JobRecord, ...]
    failed: tuple[JobRecord, ...]
    values: dict[str, list[float]]  # metric -> one mean a seed
    floors: tuple[Floors, ...]  # of each run
    printed: bool  # whether the paper prints numbers of it

    @property
    def label(self) -> str:
        """In the column of budgets."""
        return label_of(self.budget, self.printed).removeprefix("budget=")

    def text(self, metric: str) -> str:
        """ "92.90 ± 0.05" (sample standard deviation over seeds), "92.90" of one seed, "–" of none; ▽ below pixels."""
        values = self.values.get(metric, [])
        if not values:
            return "–"
        mean = statistics.fmean(values)
        mark = f" {BELOW}" if below_pixels(metric, mean, self.floors) else ""
        return (f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}") + mark


def summarize(records: Sequence[JobRecord]) -> list[SettingSummary]:
    """Group jobs by setting, with the results that their runs' folders hold."""
    varying = _varying(records)
    groups: dict[tuple[str, str, str], list[JobRecord]] = {}
    for record in records:
        name = record.row or " ".join(word for word in record.overrides if word in varying)
        groups.setdefault((name, record.dataset, record.budget), []).append(record)
    summaries = []
    for (name, dataset, budget), members in groups.items():
        values: dict[str, list[float]] = {}
        floors: list[Floors] = []
        # Jobs that differ in neutral keys alone are one run: it counts once.
        done_runs = {record.run_dir: record for record in members if record.status == "done"}
        results = [(read_metrics(Path(folder)) if folder else None) or {} for folder in done_runs]
        for result in results:
            floors.append(result.get("floors", {}))
            for shown in SHOWN:
                value: dict[str, Any] | None = result.get("metrics", {}).get(shown)
                if value is not None:
                    values.setdefault(shown, []).append(value["mean"])
        done = tuple(record for record in members if record.status == "done")
        failed = tuple(record for record in members if record.status != "done")
        printed = any(result.get("paper") for result in results)
        titles = [result["titles"]["run"] for result in results if "titles" in result]
        name = name or next(iter(titles), "adhoc")
        summaries.append(SettingSummary(name, dataset, budget, done, failed, values, tuple(floors), printed))
    return summaries


def _varying(records: Sequence[JobRecord]) -> set[str]:
    """Overrides that not all jobs have, but for what has a column of its own."""
    everywhere = set.intersection(*(set(record.overrides) for record in records)) if records else set()
    own_column = ("seed=", "dataset=", "budget=")
    words = {word for record in records for word in record.overrides}
    return {word for word in words - everywhere if not word.startswith(own_column)}


def print_summary(folder: SweepFolder, say: Callable[[str], None]) -> int:
    """Print the table of a multirun, or the plan of all its jobs.

    Args:
        folder: of the multirun.
        say: prints a line about what failed.

    Returns:
        How many jobs are not done.
    """
    records, stage = folder.read(), folder.stage
    failed = [record for record in records if record.status != "done"]
    missing = max(0, (folder.expected or 0) - len(records))
    console = Console(soft_wrap=True, highlight=False)
    word = "planned" if folder.is_plan else "done"
    console.print(
        f"\nmultirun: {counted(len(records) + missing, 'job')}, {len(records) - len(failed)} {word}, "
        f"{len(failed)} failed" + (f", {missing} never started" if missing else ""),
        markup=False,
    )
    summaries = summarize(records)
    metrics = [metric for metric in SHOWN if any(summary.values.get(metric) for summary in summaries)]
    if stage in MEASURING and metrics:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        places = ["data set", "budget"] if len({summary.label for summary in summaries}) > 1 else ["data set"]
        for header in ("", *places, "n", *(SHOWN[metric] for metric in metrics), *(["failed"] if failed else [])):
            # A name that does not fit goes on below: cut short, table3/expert_expert_… would be four rows.
            table.add_column(header, justify="left" if header in ("", *places) else "right", overflow="fold")
        for summary in summaries:
            n = len(next(iter(summary.values.values()), []))
            place = [summary.dataset, summary.label][: len(places)]
            cells = [summary.name, *place, str(n), *(summary.text(metric) for metric in metrics)]
            table.add_row(*map(_plain, cells), *([str(len(summary.failed) or "")] if failed else []))
        table.add_section()
        found = [((summary.dataset, summary.label), each) for summary in summaries for each in summary.floors]
        for where, floors in texts_by_group(found).items():
            for floor, texts in floors.items():
                numbers = (texts.get(metric, "–") for metric in metrics)
                table.add_row(*map(_plain, [f"floor: {floor}", *where[: len(places)], "", *numbers]), style="dim")
        console.print(table)
        for warning in filter(None, sorted({warning_of(summary.budget, summary.printed) for summary in summaries})):
            console.print(warning, markup=False)
        if any(BELOW in summary.text(metric) for summary in summaries for metric in metrics):
            console.print(BELOW_PIXELS, markup=False)
        if any("±" in summary.text(metric) for summary in summaries for metric in metrics):
            console.print("± is the sample standard deviation over n training seeds", markup=False)
    plans = {record.number + 1: [Planned(**part) for part in record.planned] for record in records if record.planned}
    smaller = next((record.smaller for record in records if record.smaller), "")
    for line in plan_of_all(plans, smaller, stage) if plans else ():
        console.print(line, markup=False)
    searched = [record for record in records if record.objective is not None]
    if searched:
        best = max(searched, key=lambda record: record.objective or 0.0)
        chosen = " ".join(word for word in best.overrides if word in _varying(records)) or best.setting
        console.print(f"best objective: {best.objective:.4f} of job #{best.number}, {chosen}", markup=False)
    for record in failed:
        why = record.error if record.status == "failed" else "killed, or still running"
        say(f"  #{record.number} {record.setting}: {why}\n     log: {folder.log(record.number)}")
    if failed or not folder.is_plan:
        console.print(f"logs:    {folder.path}", markup=False)
    if any(record.status == "done" and not record.planned for record in records) and stage in MEASURING:
        out = shell_word(override_word("out", str(folder.out)))
        console.print(f"tables and differences:  python -m assimilate.report {out}", markup=False)
    return len(failed) + missing


def _plain(text: str) -> str:
    """Text that rich does not read as markup."""
    return text.replace("[", r"\[")
