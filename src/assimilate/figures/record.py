"""The folder of an analysis: its pictures, its numbers, and analysis.json, which is written last."""

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.artifacts.provenance import provenance
from assimilate.files.whole_file import write_whole
from assimilate.graph.identity import content_hash
from assimilate.graph.wiring import TARGET
from assimilate.run.analysis_settings import analysis_class
from assimilate.run.job import Job

if TYPE_CHECKING:
    from assimilate.analysis.canvas import Picture

SCHEMA = 2
# The same picture, and its numbers.
FORMATS = ("png", "pdf", "svg", "csv")
RECORD = "analysis.json"
# Settings that decide nothing that is not in `content`.
NOT_CONTENT = ("of_paper", "viewmaker", "runs")


@dataclass
class Analysis:
    """One analysis on its way to its folder, `${out}/<budget>/analysis/<kind>-<dataset>-<8 hex>`.

    Attributes:
        job: what was asked for.
        title: for people.
        content: labels of what it is made from: artifacts, or the results of runs.
        budget: of the numbers in it; None: the job's.
        runs: folders of the runs that it shows.
        dataset: of the numbers in it; None: the job's.
    """

    job: Job
    title: str
    content: Sequence[str]
    budget: str | None = None
    runs: Sequence[str] = ()
    dataset: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    _files: list[dict[str, str]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str:
        """One of the kinds of conf/analysis."""
        return str(self.job.config["analysis"]["kind"])

    @property
    def budget_name(self) -> str:
        """Budget of the numbers in it."""
        return self.budget or str(self.job.config["budget"]["name"])

    @property
    def dataset_name(self) -> str:
        """Data set of the numbers in it."""
        return self.dataset or str(self.job.config["dataset"]["name"])

    @property
    def look(self) -> dict[str, str]:
        """How its pictures are drawn, for `analysis.canvas.picture`."""
        return {"budget": self.budget_name, "style": str(self.job.config["analysis"].get("style", "light"))}

    @property
    def figure(self) -> str | None:
        """Which of the paper's figures this is, if it is one with this data set."""
        return self.job.config["analysis"]["of_paper"].get(self.dataset_name)

    @property
    def settings(self) -> dict[str, Any]:
        """What conf/analysis says of this kind."""
        others = (TARGET, *analysis_class(self.job.config).of_others)
        return {key: value for key, value in self.job.config["analysis"].items() if key not in others}

    @property
    def folder(self) -> Path:
        """Where it is kept: what it is made from decides the name, so nothing is drawn twice."""
        config = self.job.config
        identity = {
            "settings": {key: value for key, value in self.settings.items() if key not in NOT_CONTENT},
            "dataset": self.dataset_name,
            "seed": config["seed"],
            "content": sorted(self.content),
            "schema": SCHEMA,
        }
        name = f"{self.kind}-{self.dataset_name}-{content_hash(identity, 8)}"
        return self.job.out / self.budget_name / "analysis" / name

    def is_finished(self) -> bool:
        """Whether it is there, whole, and not to be made again."""
        if self.job.config["force"] or not (self.folder / RECORD).is_file():
            return False
        try:
            found = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except ValueError:
            return False
        names = [name for entry in found["files"] for key, name in entry.items() if key != "caption"]
        return found.get("schema") == SCHEMA and all((self.folder / name).is_file() for name in names)

    def add(self, stem: str, picture: "Picture", rows: Iterable[Mapping[str, Any]], caption: str) -> None:
        """Write a picture in every format, and the numbers that it shows."""
        names = {kind: f"{stem}.{kind}" for kind in FORMATS}
        for kind in FORMATS[:-1]:
            write_whole(self.folder / names[kind], getattr(picture, kind))
        if picture.dark is not None:
            names["dark"] = f"{stem}.dark.png"
            write_whole(self.folder / names["dark"], picture.dark)
        write_whole(self.folder / names["csv"], _table(rows))
        self._files.append({**names, "caption": caption})

    def finish(self, caption: str) -> Path:
        """Write analysis.json: from now on the analysis counts as made."""
        config, origin = self.job.config, provenance()
        record = {
            "schema": SCHEMA,
            "kind": self.kind,
            "title": self.title,
            "caption": caption,
            "figure": self.figure,
            "dataset": self.dataset_name,
            "budget": self.budget_name,
            "seed": config["seed"],
            "command": self.job.command,
            "files": self._files,
            "summary": self.summary,
            "settings": self.settings,
            "runs": list(self.runs),
            "content": sorted(self.content),
            "seconds": round(time.monotonic() - self._started, 3),
            "versions": origin["versions"],
            "commit": origin["commit"],
        }
        text = json.dumps(record, indent=1, ensure_ascii=False)
        write_whole(self.folder / RECORD, text + "\n")
        return self.folder


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    listed = list(rows)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in listed)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return f"{float(value):.7g}" if hasattr(value, "dtype") and value.dtype.kind == "f" else value
