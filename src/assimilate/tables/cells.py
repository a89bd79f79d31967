"""The paper's tables filled with what was run at one budget: a cell a row, data set and metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from assimilate.tables.comparison import DIVERGED
from assimilate.tables.layout import COMPARABLE_BUDGET, PaperTable
from assimilate.tables.numbers import (
    NOTHING,
    PaperNumber,
    Spread,
    decimals_of,
    difference,
    hours_text,
    shared_seconds,
    signed,
    spread,
    spread_text,
)
from assimilate.tables.paper_rows import PaperRow
from assimilate.tables.results import Run

NOT_RUN = "not run"
NOT_MEASURED = "not measured"
MIXED = "mixed protocols"
# (row, data set) -> the command that fills the cell
CommandFor = Callable[[str, str], str]


@dataclass(frozen=True)
class Cell:
    """One number of a table: the paper's, and ours over training seeds.

    Attributes:
        metric: what the table calls it, e.g. "knn5".
        measured_as: the metric of ours that is like it, e.g. "knn5_euclidean" in Table 8.
        paper: None where the paper has no such number.
        runs: one finished run a training seed, by seed.
        comparable: whether the budget's numbers may stand beside the paper's.
    """

    dataset: str
    metric: str
    measured_as: str
    paper: PaperNumber | None
    runs: tuple[Run, ...]
    comparable: bool

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Every protocol that the runs were measured by; more than one cannot be averaged."""
        labels = [run.protocols.get(self.measured_as, "") for run in self.measured]
        return tuple(dict.fromkeys(label for label in labels if label))

    @cached_property
    def measured(self) -> tuple[Run, ...]:
        """The runs that have this metric."""
        return tuple(run for run in self.runs if self.measured_as in run.metrics)

    @cached_property
    def ours(self) -> Spread | None:
        """Mean over training seeds, of each seed's mean over probe seeds; None where there is no such number."""
        if not self.measured or len(self.protocols) > 1:
            return None
        return spread([run.metrics[self.measured_as].mean for run in self.measured])

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return decimals_of(self.metric, self.paper)

    @property
    def paper_text(self) -> str:
        """The paper's number as it prints it."""
        return NOTHING if self.paper is None else self.paper.text

    @property
    def ours_text(self) -> str:
        """ "92.41 ± 0.12 (3)", or why there is no number."""
        if self.ours is not None:
            return spread_text(self.ours, self.decimals)
        if len(self.protocols) > 1:
            return MIXED
        if any(self.measured_as in run.raw.get("diverged", {}) for run in self.runs):
            return DIVERGED
        return NOT_MEASURED if self.runs else NOT_RUN

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, at the paper's budget only."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return difference(self.ours, self.paper)

    @property
    def difference_text(self) -> str:
        """ "+0.12"; "–" where there is nothing to subtract."""
        return NOTHING if self.difference is None else signed(self.difference, self.decimals)


@dataclass(frozen=True)
class Entry:
    """A row of a table on one data set: its cells, its runs and what they cost.

    Attributes:
        command: what fills it, or adds to it.
        in_paper: whether the paper has it.
        borrowed_from: other names of this very run under which some of `runs` were made.
    """

    row: str
    dataset: str
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    command: str
    in_paper: bool
    borrowed_from: tuple[str, ...] = ()

    @property
    def hours(self) -> str:
        """Hours for all its seeds, upstream included, what they share counted once."""
        return hours_text(shared_seconds([run.costs for run in self.runs])) if self.runs else NOTHING

    @property
    def another(self) -> str:
        """The command that adds the next seed."""
        return f"{self.command} seed={max((run.place.seed for run in self.runs), default=-1) + 1}"


@dataclass(frozen=True)
class FilledRow:
    """A row's labels, what its file says of itself, and its entries, in the order of the table's data sets."""

    key: str
    labels: tuple[str, ...]
    notes: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class FilledTable:
    """A table of the paper at one budget.

    Attributes:
        datasets: data sets with the metrics shown for each; the paper's first.
        comparable: whether paper's numbers and differences are shown.
    """

    table: PaperTable
    budget: str
    comparable: bool
    datasets: Mapping[str, tuple[str, ...]]
    rows: tuple[FilledRow, ...]

    @property
    def entries(self) -> list[Entry]:
        """All of them, row by row."""
        return [entry for row in self.rows for entry in row.entries]

    @property
    def missing(self) -> list[Entry]:
        """Entries that were not run."""
        return [entry for entry in self.entries if not entry.runs]

    @cached_property
    def protocols(self) -> dict[tuple[str, str], dict[str, list[str]]]:
        """For each data set and metric: the protocols, and which rows were measured by each."""
        found: dict[tuple[str, str], dict[str, list[str]]] = {
            (dataset, metric): {} for dataset, metrics in self.datasets.items() for metric in metrics
        }
        for row in self.rows:
            for entry in row.entries:
                for cell in entry.cells:
                    for label in cell.protocols:
                        rows = found[cell.dataset, cell.metric].setdefault(label, [])
                        rows.append(row.key)
        return found


def fill_table(
    table: PaperTable,
    rows: Sequence[PaperRow],
    runs: Sequence[Run],
    *,
    budget: str,
    command_for: CommandFor,
    same_runs: Callable[[str, str], Sequence[str]] = lambda row, dataset: (),
) -> FilledTable:
    """Put the runs of one budget into a table.

    A budget that is comparable with the paper shows every data set of the paper and every other that was run; another
    budget shows what was run, without the paper's numbers.

    Args:
        table: titles, labels and order.
        rows: the row files of this table, in any order; one that `table` does not list comes last.
        runs: results of any table and budget.
        budget: whose runs to take.
        command_for: (row, data set) to the command that fills the cell.
        same_runs: (row, data set) to other names of the very run that the row is there.
    """
    comparable = budget == COMPARABLE_BUDGET
    known = {row.name: row for row in rows}
    listed = [name for name in table.rows if name in known]
    order = listed + sorted(set(known) - set(listed))
    by_cell: dict[tuple[str, str], dict[int, Run]] = {}
    for run in runs:
        if run.place.budget == budget and run.place.row is not None:
            by_cell.setdefault((run.place.row, run.dataset), {})[run.place.seed] = run

    def runs_of(row: PaperRow, dataset: str) -> tuple[tuple[Run, ...], tuple[str, ...]]:
        """The cell's runs by seed, and under which other names some of them were made."""
        found = dict(by_cell.get((row.key, dataset), {}))
        lenders = []
        for other in same_runs(row.key, dataset):
            new = {seed: run for seed, run in by_cell.get((other, dataset), {}).items() if seed not in found}
            found |= new
            lenders += [other] if new else []
        return tuple(found[seed] for seed in sorted(found)), tuple(lenders)

    in_paper: dict[str, dict[str, None]] = {}
    for name in order:
        for dataset, printed in known[name].numbers.items():
            in_paper.setdefault(dataset, {}).update(dict.fromkeys(printed))
    all_metrics = tuple(dict.fromkeys(metric for metrics in in_paper.values() for metric in metrics))
    own_rows = {row.key for row in rows}
    others = sorted({dataset for row, dataset in by_cell if row in own_rows} - set(in_paper))
    shown = [dataset for dataset in in_paper if comparable or any(runs_of(known[name], dataset)[0] for name in order)]
    datasets = {dataset: tuple(in_paper.get(dataset, all_metrics)) for dataset in [*shown, *others]}
    filled = []
    for name in order:
        row = known[name]
        entries = []
        for dataset, metrics in datasets.items():
            numbers = row.numbers.get(dataset, {})
            own, lenders = runs_of(row, dataset)
            cells = tuple(
                Cell(dataset, metric, table.measured_as.get(metric, metric), numbers.get(metric), own, comparable)
                for metric in metrics
            )
            entries.append(Entry(row.key, dataset, cells, own, command_for(row.key, dataset), bool(numbers), lenders))
        filled.append(FilledRow(row.key, table.labels_of(name), row.notes, tuple(entries)))
    return FilledTable(table, budget, comparable, datasets, tuple(filled))
