"""Tables of rows: the paper's, shipped in experiments/, and a user's own, read without composing a configuration."""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from assimilate.pages.found import Problem, reason_of
from assimilate.pages.numbers import NOTHING, PaperNumber

# What a folder of rows says of itself, for pages; none is needed.
TABLE = "table.toml"
# Builds strings, lists and dicts, nothing else.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True)
class Row:
    """One file of a folder of rows, and what the paper prints in it.

    Attributes:
        table: the folder it lies in, e.g. "table3".
        name: the file's name.
        numbers: by data set and metric.
        stage: the command that runs it, "train" or "analyze".
        words: what the command takes beside row and data set.
        notes: what the file says of itself after its command and its numbers.
        own: whether it is the user's, and none of the paper's.
        source: the word that leads a command to the user's folder.
    """

    table: str
    name: str
    numbers: Mapping[str, Mapping[str, PaperNumber]]
    stage: str = "train"
    words: tuple[str, ...] = ()
    notes: str = ""
    own: bool = False
    source: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What results call it, e.g. "table3/expert_expert_simclr"."""
        return f"{self.table}/{self.name}"


class Layout(BaseModel):
    """What a table is about, from its `table.toml`.

    Attributes:
        number: as the paper counts, e.g. "5a".
        title: in a few words; without one, the folder's name.
        caption: what a reader needs to know, in our words.
        columns: headers of the row labels.
        datasets: how the table's header writes a data set's name.
        measured_as: metric of the table to the metric of ours that is like it, where the names differ.
        labels: name of each row's file to its labels, in the table's order.
        same_run_as: a row that is the very run of another table's, on the data sets that both have numbers for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: str | None = None
    title: str | None = None
    caption: str = ""
    columns: tuple[str, ...] = ("row",)
    datasets: Mapping[str, str] = {}
    measured_as: Mapping[str, str] = {}
    labels: Mapping[str, tuple[str, ...]] = {}
    same_run_as: Mapping[str, str] = {}


@dataclass(frozen=True)
class Table:
    """A folder of rows: `rows` in the order of its labels, those without one last."""

    group: str
    layout: Layout
    rows: tuple[Row, ...]

    @property
    def own(self) -> bool:
        """Whether it is the user's, with none of the paper's rows."""
        return all(row.own for row in self.rows)

    @property
    def name(self) -> str:
        """ "Table 3"; a table of the user's goes by the name of its folder."""
        return f"Table {self.layout.number}" if self.layout.number and not self.own else self.group

    @property
    def title(self) -> str:
        """ "Table 3. Four sources of views"."""
        return f"{self.name}. {self.layout.title}" if self.layout.title else self.name

    def labels_of(self, name: str) -> tuple[str, ...]:
        """A row's labels; its file's name for one that has none."""
        return self.layout.labels.get(name, (name.replace("_", " "), *[""] * (len(self.layout.columns) - 1)))

    def row_title(self, name: str) -> str:
        """ "Table 3: expert, expert, W-search, A2"."""
        return f"{self.name}: {', '.join(label for label in self.labels_of(name) if label not in ('', NOTHING))}"


def read_tables(shipped: Path, own: Sequence[Path], ran: Collection[str] = ()) -> tuple[list[Table], list[Problem]]:
    """Every table with its rows, the paper's first and in its order, and the files that cannot be read.

    Args:
        shipped: the folder of the paper's tables.
        own: folders of options of the user's; what says `row:` there is a row.
        ran: rows that were run: one of no shipped table is the user's, though its file is gone.
    """
    rows: dict[str, dict[str, Row]] = {}
    layouts: dict[str, Layout] = {}
    problems = []
    for place in (shipped, *own):
        for path in [*sorted(place.glob("*/*.yaml")), *sorted(place.glob(f"*/{TABLE}"))]:
            group = path.parent.name
            try:
                if path.name == TABLE:
                    layouts.setdefault(group, read_layout(path.parent))
                    continue
                text = path.read_text(encoding="utf-8")
                row = parse_row(text, table=group, name=path.stem, own=None if place == shipped else place)
            except (ValueError, OSError) as error:
                problems.append(Problem(f"{place.name}/{group}/{path.name}", reason_of(error)))
                continue
            if row is not None:
                rows.setdefault(group, {}).setdefault(row.name, row)
    papers = {group for group, found in rows.items() if not all(row.own for row in found.values())}
    for group, _, name in (key.partition("/") for key in ran):
        if group not in papers:
            rows.setdefault(group, {}).setdefault(name, Row(group, name, {}, own=True))

    def place_of(group: str) -> tuple[bool, int, str]:
        found = re.match(r"\d+", layouts.get(group, Layout()).number or "")
        return group not in papers, int(found.group()) if found else 0, group

    tables = []
    for group in sorted(rows, key=place_of):
        layout, found = layouts.get(group, Layout()), rows[group]
        names = [*layout.labels, *sorted(set(found) - set(layout.labels))]
        tables.append(Table(group, layout, tuple(found[name] for name in names if name in found)))
    return tables, problems


def read_layout(folder: Path) -> Layout:
    """What a folder of rows says of itself; nothing where it has no `table.toml`.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        text = (folder / TABLE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Layout()
    try:
        return Layout.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def parse_row(text: str, *, table: str, name: str, own: Path | None = None) -> Row | None:
    """Read a row file. Scalars stay text, so that 92.90 keeps its zero.

    Args:
        text: the file's content.
        table: the folder it lies in.
        name: the file's name without ".yaml".
        own: the user's folder of options that it lies in; None: it is shipped.

    Returns:
        The row; None for a file of the user's that is none.

    Raises:
        ValueError: no YAML, another `row`, or a number that is none.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {' '.join(str(error).split())}") from error
    if own is not None and not (isinstance(content, dict) and "row" in content):
        return None
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
    found = next((line for line in comments if line.startswith("python -m assimilate.")), "python -m assimilate.train")
    module, *words = found.split()[2:]
    kept = tuple(word for word in words if "=" in word and not word.startswith((f"+{table}=", "dataset=", "--")))
    source = () if own is None else (f"--config-dir={own}",)
    # "@package", the command and the numbers come first.
    notes = " ".join(comments[3:])
    return Row(table, name, numbers, module.removeprefix("assimilate."), kept, notes, own is not None, source)


def _number(key: str, value: Any) -> PaperNumber:
    mean, std = (value.get("mean"), value.get("std")) if isinstance(value, dict) else (value, None)
    for part in (mean, std):
        try:
            if part is not None or mean is None:
                float(str(part))
        except ValueError as error:
            raise ValueError(f"{key}: {value} is neither a number nor {{mean, std}}") from error
    return PaperNumber(str(mean), None if std is None else str(std))
