"""What was run under `out`, read back: results, figures, curves, and what could not be read."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assimilate.artifacts import store as artifacts
from assimilate.artifacts.artifact import artifact_root
from assimilate.pages.card import Card, parse_cards
from assimilate.pages.result_file import IDENTITY, METRICS, disagreement, read_newest
from assimilate.pages.run import Run, parse_place, parse_run

ANALYSIS = "analysis"
ANALYSIS_FILE = "analysis.json"
# Folders of `out` that hold no runs.
ELSEWHERE = frozenset({"artifacts", "wandb", "multirun", "previews", ANALYSIS})


@dataclass(frozen=True)
class Problem:
    """A file that was left out of every table, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """One picture of an analysis; paths are relative to `out`, with forward slashes.

    Attributes:
        beside: what the file is to the file: "PDF" and "CSV", as far as they are there.
        dark: the same picture for dark pages, if there is one.
    """

    png: str
    beside: Mapping[str, str]
    caption: str
    dark: str | None = None


class Analysis(BaseModel):
    """What `python -m assimilate.analyze` left: pictures with the numbers beside them."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    version: Literal[1, 2] = Field(alias="schema")
    budget: str
    title: str
    caption: str = ""
    figure: str | None = None
    dataset: str = ""
    command: str = ""
    files: list[dict[str, Any]]
    summary: dict[str, Any] = {}
    pictures: tuple[Picture, ...] = ()
    cards: tuple[Card, ...] = ()

    @property
    def heading(self) -> str:
        """ "Figure 4. Curves"."""
        return f"{self.figure}. {self.title}" if self.figure else self.title

    @property
    def text(self) -> str:
        """What it says beyond the captions of its pictures."""
        return "" if self.caption in {picture.caption for picture in self.pictures} else self.caption


@dataclass(frozen=True)
class Found:
    """Everything under one `out`."""

    runs: tuple[Run, ...]
    analyses: tuple[Analysis, ...]
    problems: tuple[Problem, ...]


def read_out(out: Path) -> Found:
    """Every result and analysis below `out`; what cannot be read is listed, never dropped silently."""
    problems = []
    files = dict.fromkeys(_files(out, METRICS, IDENTITY))
    for path in (path for path in files if path.name == IDENTITY and path.with_name(METRICS) not in files):
        name = path.relative_to(out).as_posix()
        problems.append(Problem(name, "has no metrics.json beside it: its run did not get to the end"))

    def read(path: Path) -> Run:
        place, raw = parse_place(path.relative_to(out).parts[:-1]), _read_json(path)
        run = parse_run(raw, place)
        if (wrong := disagreement(raw, out)) is not None:
            raise ValueError(wrong)
        return run

    runs, refused = read_newest((path for path in files if path.name == METRICS), out, read)
    problems += [Problem(path.relative_to(out).as_posix(), reason_of(error)) for path, error in refused.items()]
    analyses, others = read_analyses(out)
    return Found(tuple(runs.values()), tuple(analyses), (*problems, *others))


def read_analyses(out: Path) -> tuple[list[Analysis], list[Problem]]:
    """Every analysis below `out`, and those that cannot be read."""
    analyses, problems = [], []
    for path in sorted(out.glob(f"*/{ANALYSIS}/*/{ANALYSIS_FILE}")):
        try:
            analyses.append(_read_analysis(out, path))
        except (ValueError, OSError) as error:
            problems.append(Problem(path.relative_to(out).as_posix(), reason_of(error)))
    return analyses, problems


def cards_of(analyses: Iterable[Analysis]) -> list[Card]:
    """All view cards."""
    return [card for analysis in analyses for card in analysis.cards]


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


def reason_of(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return "is no UTF-8 text"
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _read_analysis(out: Path, path: Path) -> Analysis:
    raw, folder = _read_json(path), path.parent.relative_to(out)
    given = {key: value for key, value in raw.items() if value is not None} if isinstance(raw, dict) else {}
    try:
        analysis = Analysis.model_validate({"title": folder.name, "budget": folder.parts[0], **given})
        cards = parse_cards(analysis.summary)
    except ValidationError as error:
        raise ValueError(f"is no analysis that this version reads: {error.errors()[0]['msg']}") from error
    if analysis.budget != folder.parts[0]:
        raise ValueError(f"says budget {analysis.budget!r}, its folder says {folder.parts[0]!r}: was it moved here?")
    pictures = []
    for entry in analysis.files:
        if entry.get("png") is None:
            continue  # numbers without a picture
        files = {key: file_inside(path.parent, entry.get(key)) for key in ("png", "dark", "pdf", "svg", "csv")}
        places = {key: file.relative_to(out).as_posix() for key, file in files.items() if file is not None}
        if not places.get("png", "").endswith(".png"):
            raise ValueError(f"{entry['png']} is not there")
        png, dark = places.pop("png"), places.pop("dark", None)
        beside = {key.upper(): place for key, place in places.items()}
        pictures.append(Picture(png, beside, str(entry.get("caption") or analysis.caption), dark))
    return analysis.model_copy(update={"pictures": tuple(pictures), "cards": cards})


def file_inside(folder: Path, name: Any) -> Path | None:
    """The file that a record names in its own folder; None where there is none, or it lies elsewhere."""
    if not isinstance(name, str) or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


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
