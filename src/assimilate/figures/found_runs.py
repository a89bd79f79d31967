"""Finished runs that a figure compares: found by row, by folder or by pattern."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import MANIFEST
from assimilate.data.transform import Transform
from assimilate.errors import UserError
from assimilate.pages.result_file import METRICS, disagreement, read_metrics
from assimilate.run.composing import rows_of, table_groups
from assimilate.run.job import Job
from assimilate.run.recipe import Recipe
from assimilate.run.words import SEARCH_PATH
from assimilate.views.learned import VIEWMAKER

# Of a result, what figures of runs read.
NEEDED = {"budget", "dataset", "seed", "config", "artifacts", "knn_curve"}


@dataclass(frozen=True)
class FoundRun:
    """A finished run: its folder `${out}/<budget>/<table>/<row>/<dataset>/seed<k>`, and its result."""

    folder: Path
    result: dict[str, Any]

    @property
    def setting(self) -> Path:
        """What its seeds have in common."""
        return self.folder.parent

    @property
    def artifacts(self) -> Path:
        """The `artifacts/` that it was made from.

        Raises:
            UserError: it lies where no run writes.
        """
        if len(self.folder.parents) < 5:
            raise UserError(
                f"{self.folder}: moved away from its out=, whose artifacts/ holds its encoder: give the folder as the "
                "run left it, <out>/<budget>/<table>/<row>/<data set>/seed<n>"
            )
        return self.folder.parents[4] / "artifacts"

    @property
    def name(self) -> str:
        """What was run, as its result says; the name of its folder where it does not."""
        return str(self.result.get("titles", {}).get("run", self.setting.parent.name))

    def encoder(self) -> Path:
        """The artifact of its trained encoder.

        Raises:
            UserError: it is gone.
        """
        # f comes before the run's own; a SimCLR run has but one.
        labels = [label for label in self.result["artifacts"] if label.startswith("encoders/")]
        folder = self.artifacts / labels[-1]
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{self.folder}: its encoder is not at {folder} any more; the run's own command makes it")
        return folder


def find_runs(job: Job, words: Sequence[str], labels: Sequence[str] | None) -> dict[str, list[FoundRun]]:
    """Finished runs by label, those that differ in nothing but the seed together.

    Args:
        job: whose `out`, budget and data set a row's folder lies below.
        words: rows, folders, or patterns of folders below `out`; none: every run of this budget and data set.
        labels: as many names as words; None: what was run.

    Raises:
        UserError: a word that finds nothing (all of them are listed), no run at all, runs of different budgets.
    """
    if not words:
        budget, dataset = job.config["budget"]["name"], job.config["dataset"]["name"]
        words = [f"{glob.escape(budget)}/*/*/{glob.escape(dataset)}"]
        if not _runs_at(job, words[0]):
            given = [word for word in job.typed if not word.lstrip("+").startswith("analysis")]
            raise UserError(
                f"no finished run of dataset={dataset} budget={budget} is below out={job.out}; this makes one: "
                f"{job.command_of('train', given)}"
            )
    settings: dict[Path, tuple[list[FoundRun], str | None]] = {}
    missing: list[str] = []
    for position, word in enumerate(words):
        found = _runs_at(job, word)
        if not found:
            missing.append(_how_to_make(job, word))
        for run in found:
            members, _ = settings.setdefault(run.setting, ([], labels[position] if labels is not None else None))
            if all(run.folder != member.folder for member in members):
                members.append(run)
    if missing:
        raise UserError(f"analysis.runs: no finished run at {'; '.join(missing)}")
    budgets = sorted({run.result["budget"] for members, _ in settings.values() for run in members})
    if len(budgets) > 1:
        raise UserError(f"analysis.runs has runs of budget {' and '.join(budgets)}: these do not compare")
    return _labelled(settings)


def _runs_at(job: Job, word: str) -> list[FoundRun]:
    if word.split("/")[0] in table_groups() and word.count("/") == 1:
        word = f"{job.config['budget']['name']}/{word}/{job.config['dataset']['name']}"
    path = Path(word).expanduser()
    root, pattern = (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (job.out, word)
    try:
        folders = sorted(root.glob(pattern)) if any(sign in pattern for sign in "*?[") else [root / pattern]
    except ValueError as error:
        raise UserError(f"analysis.runs: {word} is no pattern of folders: {error}") from error
    runs = []
    for folder in folders:
        for candidate in (folder, *sorted(folder.glob("seed*"))):
            result = read_metrics(candidate)
            if result is not None and set(result) >= NEEDED:
                if (wrong := disagreement(result, job.out)) is not None:
                    raise UserError(f"analysis.runs: {candidate / METRICS} {wrong}")
                runs.append(FoundRun(candidate.resolve(), result))
    return runs


def _how_to_make(job: Job, word: str) -> str:
    if word.split("/")[0] in table_groups() and word.count("/") == 1:
        table, row = word.split("/")
        if row not in rows_of(table):
            return f"{word} (no such row; rows of {table}: {', '.join(rows_of(table))})"
        words = [word for word in job.overrides if word.startswith("dataset=")]
        words = words or [f"dataset={job.config['dataset']['name']}"]
        beside = ("budget=", "dataset.root=", "dataset.name=", "out=", f"{SEARCH_PATH}=")
        words += [word for word in job.overrides if word.startswith(beside)]
        return f"{word} (made by: {job.command_of('train', [f'+{table}={row}', *words])})"
    return f"{word} (no {METRICS} there or in its seed* folders, below out={job.out})"


def _labelled(settings: dict[Path, tuple[list[FoundRun], str | None]]) -> dict[str, list[FoundRun]]:
    datasets = {members[0].result["dataset"] for members, _ in settings.values()}
    named: list[tuple[str, list[FoundRun]]] = []
    for members, label in settings.values():
        text = label or members[0].name
        if len(datasets) > 1:
            text += f", {members[0].result['dataset']}"
        named.append((text, members))
    texts = [text for text, _ in named]
    result: dict[str, list[FoundRun]] = {}
    for text, members in named:
        # Two settings of one name are told apart by what was changed, or by where they lie.
        if texts.count(text) > 1 or text in result:
            text = f"{text}, {members[0].setting.parent.name}"
        if text in result:
            text = f"{text}, {members[0].setting}"
        result[text] = members
    return result


def find_viewmaker(folder: Path, dataset: str) -> tuple[Path, Transform]:
    """Weights of the Viewmaker that a finished run trained, and the transformation of images before it.

    Raises:
        UserError: there is no such run, it has no Viewmaker, or other images.
    """
    key = f"analysis.viewmaker={folder}"
    candidates = [folder, *sorted(folder.glob("seed*"))] if folder.is_dir() else []
    results = [(candidate, read_metrics(candidate)) for candidate in candidates]
    finished = [FoundRun(path.resolve(), result) for path, result in results if result is not None]
    if not finished:
        raise UserError(f"{key}: no finished run is there: give the folder that holds its {METRICS}")
    run = finished[0]
    if run.result["dataset"] != dataset:
        raise UserError(f"{key} was trained on {run.result['dataset']}, and this is dataset={dataset}")
    weights = run.encoder() / VIEWMAKER
    if not weights.is_file():
        raise UserError(f"{key} ({run.name}) trained no Viewmaker: give a run with view=viewmaker")
    view = Recipe(run.result["config"]).view
    assert view is not None
    assert view.given_images is not None
    return weights, view.given_images
