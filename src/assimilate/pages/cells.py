"""A table filled with what was run at one budget: a cell a row, data set and metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from string import ascii_lowercase

from assimilate.pages.metrics import BELOW, BELOW_PIXELS, DIVERGED, metric, ordered, probe_text
from assimilate.pages.numbers import NOTHING, PaperNumber, Spread, hours_text, signed, spread
from assimilate.pages.paired import Baselines, Paired, elsewhere
from assimilate.pages.run import COMPARABLE_BUDGET, Run, hours_of, warning_of
from assimilate.pages.tables import Row, Table
from assimilate.probes.floors import texts_by_group

NOT_RUN = "not run"
NOT_MEASURED = "not measured"
MIXED = "mixed protocols"
# What a borrowed run, a note of a run, and a floor that every number has to beat, are marked with.
BORROWED, NOTED, FLOOR = "=", "!", "⊥"
# (row, data set) -> the command that fills the cell
CommandFor = Callable[[Row, str], str]


@dataclass(frozen=True)
class Cell:
    """One number of a table: the paper's, and ours over training seeds.

    Attributes:
        metric: what the table calls it, e.g. "knn5".
        measured_as: the metric of ours that is like it, e.g. "knn5_euclidean" in Table 8.
        paper: None where the paper has no such number.
        runs: one finished run a training seed, by seed.
        comparable: whether the budget's numbers may stand beside the paper's.
        paired: ours minus SimCLR's.
    """

    dataset: str
    metric: str
    measured_as: str
    paper: PaperNumber | None
    runs: tuple[Run, ...]
    comparable: bool
    paired: Paired | None = None

    @property
    def title(self) -> str:
        """The metric as the paper writes it."""
        return metric(self.metric).title

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
    def below_pixels(self) -> bool:
        """Whether ours does not reach what classifiers of raw pixels do."""
        ours = self.ours
        return ours is not None and any(run.is_below_pixels(self.measured_as, ours.mean) for run in self.measured)

    @property
    def decimals(self) -> int:
        """Digits after the point: the paper's, where it prints a number."""
        return metric(self.metric).decimals if self.paper is None else self.paper.decimals

    @property
    def paper_text(self) -> str:
        """The paper's number as it prints it."""
        return NOTHING if self.paper is None else self.paper.text

    @property
    def ours_text(self) -> str:
        """ "92.41 ± 0.12 (3)", or why there is no number."""
        if self.ours is not None:
            return self.ours.text(self.decimals)
        if len(self.protocols) > 1:
            return MIXED
        if any(self.measured_as in run.diverged for run in self.runs):
            return DIVERGED
        return NOT_MEASURED if self.runs else NOT_RUN

    @property
    def paired_text(self) -> str:
        """ "+1.20 [+0.80, +1.61] (10)"; "" where there is nothing to compare with."""
        return "" if self.paired is None or self.ours is None else self.paired.text(self.decimals)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, at the paper's budget only."""
        if self.ours is None or self.paper is None or not self.comparable:
            return None
        return self.ours.mean - self.paper.value

    @property
    def difference_text(self) -> str:
        """ "+0.12"; "–" where there is nothing to subtract."""
        return NOTHING if self.difference is None else signed(self.difference, self.decimals)

    @property
    def direction(self) -> str:
        """ "up" or "down" where ours is visibly better or worse than the paper's; else ""."""
        if not self.difference or not metric(self.metric).accuracy or not self.difference_text.strip("0."):
            return ""
        return "up" if self.difference > 0 else "down"


@dataclass(frozen=True)
class Entry:
    """A row of a table on one data set: its cells, its runs and what they cost.

    Attributes:
        command: what fills it, or adds to it.
        in_paper: whether the paper has it.
        borrowed_from: titles of other rows that are this very run, under which some of `runs` were made.
        paired: differences from SimCLR, of each metric that its runs have.
    """

    row: Row
    dataset: str
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    command: str
    in_paper: bool
    borrowed_from: tuple[str, ...] = ()
    paired: Mapping[str, Paired] = field(default_factory=dict)

    @property
    def hours(self) -> str:
        """Hours for all its seeds."""
        return hours_of(self.runs) if self.runs else NOTHING

    @property
    def is_baseline(self) -> bool:
        """Whether others are compared with it."""
        return bool(self.runs) and all(run.is_baseline for run in self.runs)

    @property
    def another(self) -> str:
        """The command that adds the next seed."""
        return f"{self.command} seed={max((run.place.seed for run in self.runs), default=-1) + 1}"

    @property
    def seeds(self) -> list[tuple[Run, dict[str, str]]]:
        """Each run with its metrics over probe seeds, by title: the table's, and those of the last epoch."""
        last = [f"{cell.measured_as}_last" for cell in self.cells]
        names = dict.fromkeys([*(cell.measured_as for cell in self.cells), *last])
        shown = [name for name in names if any(name in run.metrics for run in self.runs)]
        return [
            (run, {metric(name).title: probe_text(run.metrics.get(name), metric(name).decimals) for name in shown})
            for run in self.runs
        ]

    @property
    def cost_text(self) -> str:
        """ "encoders 11.5, views 1.20, …": hours by kind of artifact, each artifact once."""
        kinds: dict[str, float] = {}
        for label, seconds in {label: cost for run in self.runs for label, cost in run.costs.items()}.items():
            kind = label.rpartition(": ")[2].split("/")[0]
            kinds[kind] = kinds.get(kind, 0.0) + seconds
        return ", ".join(f"{kind} {hours_text(seconds)}" for kind, seconds in kinds.items())

    @property
    def made(self) -> str:
        """Where its runs were made: seeds of several commits are one column, but not one experiment."""
        devices = dict.fromkeys(run.device or "unknown" for run in self.runs)
        commits = dict.fromkeys((run.commit or "none")[:12] for run in self.runs)
        return f"Made on {', '.join(devices)}; commit{'s' * (len(commits) > 1)} {', '.join(commits)}."


@dataclass(frozen=True)
class FilledRow:
    """A row's labels, what its file says of itself, and its entries, in the order of the table's data sets."""

    row: Row
    labels: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def label(self) -> str:
        """Its labels in one, such that no line ends after "W-"."""
        together = ", ".join(label for label in self.labels if label and label != NOTHING)
        return together.replace("W-", "W\N{NON-BREAKING HYPHEN}")

    @property
    def ran(self) -> list[str]:
        """The data sets that it was run on."""
        return [entry.dataset for entry in self.entries if entry.runs]


@dataclass(frozen=True)
class FilledTable:
    """A table at one budget.

    Attributes:
        datasets: data sets with the metrics shown for each; the paper's first.
        compares: whether printed numbers and differences to them are shown.
        whole: the commands that run all of it.
    """

    table: Table
    budget: str
    compares: bool
    datasets: Mapping[str, tuple[str, ...]]
    rows: tuple[FilledRow, ...]
    whole: str

    @property
    def warning(self) -> str:
        """That its numbers are not comparable with the paper's; "" where some stand beside such."""
        return warning_of(self.budget, self.compares or not self.table.own)

    def title_of(self, dataset: str) -> str:
        """A data set as the table's header writes it."""
        return self.table.layout.datasets.get(dataset, dataset)

    @property
    def entries(self) -> list[Entry]:
        """All of them, row by row."""
        return [entry for row in self.rows for entry in row.entries]

    @property
    def missing(self) -> list[Entry]:
        """Entries that were not run."""
        return [entry for entry in self.entries if not entry.runs]

    @property
    def ran(self) -> "FilledTable":
        """The same with no other rows and data sets than those of which something was run."""
        shown = {dataset for row in self.rows for dataset in row.ran}
        datasets = {dataset: metrics for dataset, metrics in self.datasets.items() if dataset in shown}
        rows = [
            replace(row, entries=tuple(entry for entry in row.entries if entry.dataset in shown))
            for row in self.rows
            if row.ran
        ]
        return replace(self, datasets=datasets, rows=tuple(rows))

    @property
    def printed(self) -> int:
        """Of how many data sets a row has numbers of the paper, at most."""
        return max(sum(entry.in_paper for entry in row.entries) for row in self.rows)

    @cached_property
    def protocols(self) -> dict[tuple[str, str], list[str]]:
        """For each data set and metric: the protocols that its numbers were measured by."""
        found: dict[tuple[str, str], dict[str, None]] = {
            (dataset, metric): {} for dataset, metrics in self.datasets.items() for metric in metrics
        }
        for cell in (cell for entry in self.entries for cell in entry.cells):
            found[cell.dataset, cell.metric] |= dict.fromkeys(cell.protocols)
        return {column: list(labels) for column, labels in found.items()}

    @cached_property
    def letters(self) -> dict[str, str]:
        """A letter for every protocol."""
        labels = dict.fromkeys(label for found in self.protocols.values() for label in found)
        return {label: ascii_lowercase[index % 26] * (index // 26 + 1) for index, label in enumerate(labels)}

    @property
    def columns(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """For each data set its title, and of each metric the title and the letters of its protocols."""
        return [
            (
                self.title_of(dataset),
                [
                    (metric(name).title, ",".join(self.letters[label] for label in self.protocols[dataset, name]))
                    for name in metrics
                ],
            )
            for dataset, metrics in self.datasets.items()
        ]

    def marks_of(self, entry: Entry, cell: Cell) -> str:
        """What stands beside our number: "▽", its protocol's letter where the column has several, "=" if borrowed."""
        several = len(self.protocols[cell.dataset, cell.metric]) > 1
        marks = [BELOW] if cell.below_pixels else []
        marks += [self.letters[label] for label in cell.protocols] if several else []
        return ",".join([*marks, *([BORROWED] if entry.borrowed_from and cell.measured else [])])

    @property
    def notes(self) -> list[tuple[str, str]]:
        """(mark, what it says): how numbers were measured, notes of runs, floors, and where borrowed runs were made."""
        where: dict[str, list[str]] = {}
        for (dataset, name), labels in self.protocols.items():
            for label in labels:
                where.setdefault(label, []).append(f"{self.title_of(dataset)} {metric(name).title}")
        lines = [(self.letters[label], f"{'; '.join(columns)}: {label}") for label, columns in where.items()]
        for entry in self.entries:
            for run in entry.runs:
                lines += [(NOTED, f"{self.table.row_title(entry.row.name)}: {note}") for note in run.notes]
        found = ((entry.dataset, run.floors) for entry in self.entries for run in entry.runs)
        for dataset, floors in texts_by_group(found).items():
            for floor, texts in floors.items():
                shown = [name for name in self.datasets[dataset] if name in texts]
                text = ", ".join(f"{metric(name).title} {texts[name]}" for name in shown)
                lines += [(FLOOR, f"{self.title_of(dataset)}, {floor}: {text}")] if text else []
        for dataset in self.datasets:
            rows = [entry for entry in self.entries if entry.dataset == dataset]
            if outside := elsewhere((entry.is_baseline, entry.paired) for entry in rows):
                lines.append(("Δ", f"{self.title_of(dataset)}: {outside}"))
        if any(cell.below_pixels for entry in self.entries for cell in entry.cells):
            lines.append((BELOW, BELOW_PIXELS.removeprefix(f"{BELOW} ")))
        lenders = dict.fromkeys(lender for entry in self.entries for lender in entry.borrowed_from)
        if lenders:
            text = f"the same run stands in another row, and was made there: {'; '.join(lenders)}"
            lines.append((BORROWED, text))
        return list(dict.fromkeys(lines))


def fill_table(
    table: Table,
    runs: Sequence[Run],
    *,
    budget: str,
    command_for: CommandFor = lambda row, dataset: "",
    whole: Callable[[Sequence[str]], str] = lambda datasets: "",
    lenders: Callable[[str, str], Mapping[str, str]] = lambda row, dataset: {},
    baselines: Baselines | None = None,
) -> FilledTable:
    """Put the runs of one budget into a table.

    A budget that is comparable with the paper shows every data set that rows have numbers for and every other that was
    run; another budget shows what was run, without the paper's numbers.

    Args:
        table: rows, titles and order.
        runs: results of any table and budget.
        budget: whose runs to take.
        command_for: (row, data set) to the command that fills the cell.
        whole: data sets to the commands that run all of the table.
        lenders: (row, data set) to other names of the very run that the row is there, each with its title.
        baselines: the runs to take differences from; None: those among `runs`.
    """
    comparable = budget == COMPARABLE_BUDGET
    by_cell: dict[tuple[str, str], dict[int, Run]] = {}
    for run in runs:
        if run.place.budget == budget and run.place.row is not None:
            by_cell.setdefault((run.place.row, run.dataset), {})[run.place.seed] = run

    def runs_of(row: Row, dataset: str) -> tuple[tuple[Run, ...], tuple[str, ...]]:
        """The cell's runs by seed, and the titles under which some of them were made."""
        found = dict(by_cell.get((row.key, dataset), {}))
        borrowed = []
        for other, title in lenders(row.key, dataset).items():
            new = {seed: run for seed, run in by_cell.get((other, dataset), {}).items() if seed not in found}
            found |= new
            borrowed += [title] if new else []
        return tuple(found[seed] for seed in sorted(found)), tuple(borrowed)

    printed: dict[str, dict[str, None]] = {}
    for row in table.rows:
        for dataset, numbers in row.numbers.items():
            printed.setdefault(dataset, {}).update(dict.fromkeys(numbers))
    own_runs = [run for run in runs if run.place.budget == budget and run.place.group == table.group]
    own_runs = [run for run in own_runs if run.place.row in {row.key for row in table.rows}]
    metrics = tuple(dict.fromkeys(name for names in printed.values() for name in names))
    metrics = metrics or tuple(ordered(name for run in own_runs for name in run.metrics if metric(name).column))
    shown = [dataset for dataset in printed if comparable or any(runs_of(row, dataset)[0] for row in table.rows)]
    others = sorted({run.dataset for run in own_runs} - set(printed))
    datasets = {dataset: tuple(printed.get(dataset, metrics)) for dataset in [*shown, *others]}
    shares = {(row.key, dataset): runs_of(row, dataset)[0] for row in table.rows for dataset in datasets}
    differences = (baselines or Baselines(runs)).differences(shares)
    filled = []
    for row in table.rows:
        entries = []
        for dataset, names in datasets.items():
            numbers, (own, borrowed) = row.numbers.get(dataset, {}), runs_of(row, dataset)
            measured_as = table.layout.measured_as
            ours = {name: measured_as.get(name, name) for name in names}
            cells = tuple(
                Cell(dataset, name, as_, numbers.get(name), own, comparable, differences.get(((row.key, dataset), as_)))
                for name, as_ in ours.items()
            )
            in_paper = bool(numbers) and not row.own
            paired = {name: value for (key, name), value in differences.items() if key == (row.key, dataset)}
            entries.append(Entry(row, dataset, cells, own, command_for(row, dataset), in_paper, borrowed, paired))
        filled.append(FilledRow(row, table.labels_of(row.name), tuple(entries)))
    compares = comparable and bool(printed)
    return FilledTable(table, budget, compares, datasets, tuple(filled), whole(list(datasets)))
