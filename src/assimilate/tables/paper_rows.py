"""The paper's numbers, read from the row files without composing a configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from assimilate.tables.numbers import PaperNumber


@dataclass(frozen=True)
class PaperRow:
    """One file of experiments/: a row of a table and what the paper prints in it.

    Attributes:
        table: the folder it lies in, e.g. "table3".
        name: the file's name.
        numbers: by data set and metric.
        stage: the command that runs it, "train" or "analyze".
        words: what the command takes beside row and data set.
        notes: what the file says of itself after its command and its numbers.
    """

    table: str
    name: str
    numbers: Mapping[str, Mapping[str, PaperNumber]]
    stage: str = "train"
    words: tuple[str, ...] = ()
    notes: str = ""

    @property
    def key(self) -> str:
        """What results call it, e.g. "table3/expert_expert_simclr"."""
        return f"{self.table}/{self.name}"


def parse_row(text: str, *, table: str, name: str) -> PaperRow:
    """Read a row file. Scalars stay text, so that 92.90 keeps its zero.

    Args:
        text: the file's content.
        table: the folder it lies in.
        name: the file's name without ".yaml".

    Raises:
        ValueError: no YAML, another `row`, or a number that is none.
    """
    try:
        # BaseLoader builds strings, lists and dicts, nothing else.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError("is no mapping")
    if content.get("row") != f"{table}/{name}":
        raise ValueError(f"says row: {content.get('row')}, its place says {table}/{name}")
    paper = content.get("paper") or {}
    if not isinstance(paper, dict):
        raise ValueError(f"paper: {paper} is no mapping of data sets")
    numbers: dict[str, dict[str, PaperNumber]] = {}
    for dataset, metrics in paper.items():
        if not isinstance(metrics, dict):
            raise ValueError(f"paper.{dataset}: {metrics} is no mapping of metrics")
        numbers[dataset] = {metric: _number(f"paper.{dataset}.{metric}", value) for metric, value in metrics.items()}
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    stage, words = _command(comments)
    # "@package", the command and the numbers come first (DESIGN §4).
    return PaperRow(table, name, numbers, stage, words, " ".join(comments[3:]))


def _command(comments: list[str]) -> tuple[str, tuple[str, ...]]:
    found = next((line for line in comments if line.startswith("python -m assimilate.")), "python -m assimilate.train")
    module, *words = found.split()[2:]
    return module.removeprefix("assimilate."), tuple(w for w in words if not w.startswith(("+table", "dataset=")))


def _number(key: str, value: object) -> PaperNumber:
    mean, std = (value.get("mean"), value.get("std")) if isinstance(value, dict) else (value, None)
    for part in (mean, std):
        try:
            if part is not None or mean is None:
                float(str(part))
        except ValueError as error:
            raise ValueError(f"{key}: {value} is neither a number nor {{mean, std}}") from error
    return PaperNumber(str(mean), None if std is None else str(std))
