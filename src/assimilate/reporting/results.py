"""What was run under `out`, read back for the report: results, figures, rows, and what could not be read."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.artifacts import store as artifacts
from assimilate.artifacts.store import artifact_root
from assimilate.jobs.runs import IDENTITY, METRICS, disagreement
from assimilate.tables.paper_rows import PaperRow, parse_row
from assimilate.tables.results import Run, parse_place, parse_result

ANALYSIS = "analysis"
ANALYSIS_FILE = "analysis.json"
ANALYSIS_SCHEMA = 1
# Folders of `out` that hold no runs.
ELSEWHERE = frozenset({"artifacts", "wandb", "multirun", "previews", ANALYSIS})


@dataclass(frozen=True)
class Problem:
    """A file that was left out of every table, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """One picture of an analysis; paths are relative to `out`, with forward slashes."""

    png: str
    pdf: str | None
    csv: str | None
    caption: str


@dataclass(frozen=True)
class Analysis:
    """What `python -m assimilate.analyze` left: pictures with the numbers beside them."""

    folder: str
    budget: str
    kind: str
    title: str
    caption: str
    figure: str | None
    dataset: str
    command: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Found:
    """Everything under one `out`."""

    runs: tuple[Run, ...]
    analyses: tuple[Analysis, ...]
    problems: tuple[Problem, ...]


def read_out(out: Path) -> Found:
    """Every result and analysis below `out`; what cannot be read is listed, never dropped in silence."""
    runs, analyses, problems = [], [], []
    for path in _files(out, METRICS, IDENTITY):
        name = path.relative_to(out).as_posix()
        if path.name == IDENTITY:
            if not (path.parent / METRICS).exists():
                problems.append(Problem(name, "has no metrics.json beside it: its run did not get to the end"))
            continue
        try:
            place = parse_place(path.relative_to(out).parts[:-1])
            run = parse_result(_read_json(path), place)
            if (wrong := disagreement(run.raw, out)) is not None:
                raise ValueError(wrong)
            runs.append(run)
        except (ValueError, OSError) as error:
            problems.append(Problem(name, _reason(error)))
    for path in sorted(out.glob(f"*/{ANALYSIS}/*/{ANALYSIS_FILE}")):
        name = path.relative_to(out).as_posix()
        try:
            analyses.append(_read_analysis(out, path))
        except (ValueError, OSError) as error:
            problems.append(Problem(name, _reason(error)))
    return Found(tuple(runs), tuple(analyses), tuple(problems))


def _files(out: Path, *names: str) -> Iterator[Path]:
    for folder, folders, files in os.walk(out):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (name not in ELSEWHERE or _holds_seeds(Path(folder) / name))
        )
        yield from (Path(folder) / name for name in sorted(files) if name in names)


def _holds_seeds(folder: Path) -> bool:
    """Whether a folder is a data set's, which may be called "artifacts" as the user's folder of images is."""
    return any(folder.glob(f"seed*/{IDENTITY}")) or any(folder.glob(f"seed*/{METRICS}"))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return "is no UTF-8 text"
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _read_analysis(out: Path, path: Path) -> Analysis:
    raw = _read_json(path)
    if not isinstance(raw, dict) or raw.get("schema") != ANALYSIS_SCHEMA:
        raise ValueError(f"is no analysis of schema {ANALYSIS_SCHEMA}")
    if not isinstance(raw.get("files"), list):
        raise ValueError("lists no files")
    folder = path.parent.relative_to(out)
    if raw.get("budget", folder.parts[0]) != folder.parts[0]:
        raise ValueError(f"says budget {raw['budget']!r}, its folder says {folder.parts[0]!r}: was it moved here?")
    pictures = []
    for entry in raw["files"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("png"), str):
            continue  # numbers without a picture
        found = {key: file_inside(path.parent, entry.get(key)) for key in ("png", "pdf", "csv")}
        places = {key: None if file is None else file.relative_to(out).as_posix() for key, file in found.items()}
        if places["png"] is None:
            raise ValueError(f"{entry['png']} is not there")
        pictures.append(
            Picture(places["png"], places["pdf"], places["csv"], str(entry.get("caption") or raw.get("caption") or ""))
        )
    figure = raw.get("figure")
    return Analysis(
        folder.as_posix(),
        folder.parts[0],
        str(raw.get("kind") or ""),
        str(raw.get("title") or folder.name),
        str(raw.get("caption") or ""),
        None if figure is None else str(figure),
        str(raw.get("dataset") or ""),
        str(raw.get("command") or ""),
        tuple(pictures),
    )


def file_inside(folder: Path, name: Any) -> Path | None:
    """The file that a record names in its own folder; None where there is none, or it lies elsewhere."""
    if not isinstance(name, str) or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def read_rows(experiments: Path) -> tuple[list[PaperRow], list[Problem]]:
    """Every row file of the paper's tables, and those that cannot be read."""
    rows, problems = [], []
    for path in sorted(experiments.glob("*/*.yaml")):
        try:
            rows.append(parse_row(path.read_text(encoding="utf-8"), table=path.parent.name, name=path.stem))
        except (ValueError, OSError) as error:
            problems.append(Problem(f"experiments/{path.parent.name}/{path.name}", _reason(error)))
    return rows, problems


def read_manifest(out: Path, label: str) -> Mapping[str, Any]:
    """The manifest of an artifact; empty where it is gone or cannot be read."""
    try:
        return artifacts.read_manifest(artifact_root(out) / label)
    except (OSError, ValueError):
        return {}


def read_curve(out: Path, label: str, file: str, column: str) -> list[tuple[float, float]]:
    """(epoch, value) from a CSV of an encoder's artifact; empty where it is gone or lacks the column."""
    try:
        with (artifact_root(out) / label / file).open(newline="", encoding="utf-8") as stream:
            return [(float(row["epoch"]), float(row[column])) for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
