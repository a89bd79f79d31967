"""Everything below `out`, put into tables, with the commands of what is missing."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from assimilate.pages.cells import Entry, FilledTable, fill_table
from assimilate.pages.found import Analysis, Found, Problem
from assimilate.pages.images import told_apart
from assimilate.pages.paired import Baselines, Paired
from assimilate.pages.run import COMPARABLE_BUDGET, Run
from assimilate.pages.settings import Setting, SettingsTable, group_settings
from assimilate.pages.tables import Row, Table, read_tables
from assimilate.run.job import shell_command

# (row, data set) -> other names of the very run that the row is there, each with its title
Lenders = Callable[[str, str], Mapping[str, str]]


@dataclass(frozen=True)
class Chosen:
    """How a command comes by a data set.

    Attributes:
        words: its overrides.
        python_path: where Python finds a class of the user's; "" where none is needed.
    """

    words: tuple[str, ...]
    python_path: str = ""


@dataclass(frozen=True)
class Chapter:
    """What was run at one budget.

    Attributes:
        tables: those with something in them; at the paper's budget all.
        settings: runs of no row.
        runs: all of them, as the tables stand on the page; runs of no row come first.
    """

    budget: str
    tables: tuple[FilledTable, ...]
    settings: tuple[SettingsTable, ...]
    runs: tuple[Run, ...]

    @property
    def own(self) -> list[FilledTable]:
        """The user's tables of which something was run."""
        return [table for table in self.tables if table.table.own and len(table.missing) < len(table.entries)]

    @property
    def papers(self) -> list[FilledTable]:
        """The paper's tables of which something was run."""
        return [table for table in self.tables if not table.table.own and len(table.missing) < len(table.entries)]

    @property
    def empty(self) -> list[FilledTable]:
        """Tables of which nothing was run."""
        return [table for table in self.tables if len(table.missing) == len(table.entries)]

    @property
    def coverage(self) -> tuple[int, int]:
        """Cells that the paper has: how many were run, and how many there are. A cell is a row on a data set."""
        cells = [entry for table in self.tables for entry in table.entries if entry.in_paper]
        return sum(bool(entry.runs) for entry in cells), len(cells)


@dataclass(frozen=True)
class Book:
    """Everything that the page and the Markdown file show; the first chapter is that of the paper's budget."""

    out: Path
    chapters: tuple[Chapter, ...]
    analyses: tuple[Analysis, ...]
    problems: tuple[Problem, ...]
    titles: Mapping[str, str]  # of groups of rows

    @property
    def runs(self) -> list[Run]:
        """All of them, chapter by chapter."""
        return [run for chapter in self.chapters for run in chapter.runs]

    @property
    def by_label(self) -> dict[str, list[Run]]:
        """Runs by what they go by: "own settings", "budget=paper", "budget=smoke", …"""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.label, []).append(run)
        return found

    @cached_property
    def paired(self) -> dict[str, Mapping[str, Paired]]:
        """By the folder of a run, how its setting differs from SimCLR over all seeds, by metric."""
        found: dict[str, Mapping[str, Paired]] = {}
        for chapter in self.chapters:
            rows: list[Entry | Setting] = [entry for table in chapter.tables for entry in table.entries]
            rows += [setting for table in chapter.settings for setting in table.settings]
            found |= {run.place.folder: row.paired for row in rows if row.paired for run in row.runs}
        return found

    @property
    def has_own(self) -> bool:
        """Whether there are runs of no row, or of the user's own tables."""
        return any(chapter.settings or chapter.own for chapter in self.chapters)


def make_book(
    out: Path,
    found: Found,
    shipped: Path,
    own: Sequence[Path],
    *,
    out_word: str | None,
    is_shipped: Callable[[str], bool],
) -> Book:
    """Put what was found into tables.

    Args:
        out: where it was found.
        found: results and figures.
        shipped: the folder of the paper's tables.
        own: folders of options of the user's, whose tables stand beside them.
        out_word: the override `out=…` that commands on the page need, if the default does not lead there.
        is_shipped: whether a word chooses an option that is shipped, rather than one of the user's folders.
    """
    tables, row_problems = read_tables(shipped, own, [run.place.row for run in found.runs if run.place.row])
    order = [row.key for table in tables for row in table.rows]
    problems = [*found.problems, *row_problems]
    problems += [
        Problem(f"{run.place.folder}/metrics.json", f"its row {run.place.row} is in no file of {shipped.name}/")
        for run in found.runs
        if run.place.row not in (None, *order)
    ]
    found = replace(found, runs=told_apart(found.runs))
    budgets = {run.place.budget for run in found.runs} | {analysis.budget for analysis in found.analyses}
    lenders, baselines, chosen = _lenders(tables), Baselines(found.runs), _chosen(found.runs, is_shipped)

    def place(run: Run) -> tuple[bool, int, str]:
        row = run.place.row
        return row is not None, order.index(row) if row in order else len(order), run.place.folder

    chapters = []
    for budget in [COMPARABLE_BUDGET, *sorted(budgets - {COMPARABLE_BUDGET})]:
        runs = tuple(sorted((run for run in found.runs if run.place.budget == budget), key=place))
        filled = [_fill(table, found.runs, budget, out_word, lenders, baselines, chosen) for table in tables]
        settings = group_settings(found.runs, budget=budget, baselines=baselines, out_word=out_word)
        chapters.append(Chapter(budget, tuple(table for table in filled if table.datasets), settings, runs))
    titles = {table.group: table.name for table in tables}
    return Book(out, tuple(chapters), found.analyses, tuple(problems), titles)


def _fill(
    table: Table,
    runs: Sequence[Run],
    budget: str,
    out_word: str | None,
    lenders: Lenders,
    baselines: Baselines,
    chosen: Mapping[str, Chosen],
) -> FilledTable:
    names = {run.dataset: run.place.dataset for run in runs}  # without what tells two of one name apart

    def choice(dataset: str) -> Chosen:
        return chosen.get(dataset, Chosen((f"dataset={names.get(dataset, dataset)}",)))

    def command(row: Row, stage: str, words: Sequence[str], *paths: str) -> str:
        after = [] if budget == COMPARABLE_BUDGET else [f"budget={budget}"]
        python_path = os.pathsep.join(dict.fromkeys(path for path in (_python_path(row, runs), *paths) if path))
        return shell_command(stage, [*words, *after, *([out_word] if out_word else [])], python_path)

    def command_for(row: Row, dataset: str) -> str:
        # What the file's own command adds belongs to the paper's data sets.
        added, found = row.words if dataset in row.numbers else (), choice(dataset)
        words = [f"+{row.table}={row.name}", *row.source, *found.words, *added]
        return command(row, row.stage, words, found.python_path)

    def whole(datasets: Sequence[str]) -> str:
        """One command for the data sets that a name is enough for, one for each other."""
        first, named, others = table.rows[0], dict[tuple[str, ...], list[str]](), list[Chosen]()
        printed = {dataset for row in table.rows for dataset in row.numbers}
        for dataset in datasets:
            added, found = first.words if dataset in printed else (), choice(dataset)
            if found == Chosen((f"dataset={dataset}",)):
                named.setdefault(added, []).append(dataset)
            else:
                others.append(Chosen((*found.words, *added), found.python_path))
        together = [Chosen((f"dataset={','.join(names)}", *added)) for added, names in named.items()]
        row = [f"+{first.table}=glob(*)", *first.source]
        return "\n".join(
            command(first, f"{first.stage} -m", [*row, *found.words], found.python_path)
            for found in (*together, *others)
        )

    made_by = {"command_for": command_for, "whole": whole, "lenders": lenders}
    return fill_table(table, runs, budget=budget, baselines=baselines, **made_by)  # type: ignore[arg-type]


def _lenders(tables: Sequence[Table]) -> Lenders:
    rows = {row.key: (table, row) for table in tables for row in table.rows}
    first = {f"{table.group}/{name}": key for table in tables for name, key in table.layout.same_run_as.items()}

    def lenders(key: str, dataset: str) -> dict[str, str]:
        """Other names of a row's run, where both have numbers: ε1 = 0.3 is Table 3's search on CIFAR-10 alone."""
        same = [other for other in rows if first.get(other, other) == first.get(key, key)]
        if len(same) < 2 or dataset not in rows[key][1].numbers:
            return {}
        found = {other: rows[other] for other in same if other != key and dataset in rows[other][1].numbers}
        return {other: table.row_title(row.name) for other, (table, row) in found.items()}

    return lenders


def _chosen(runs: Sequence[Run], is_shipped: Callable[[str], bool]) -> dict[str, Chosen]:
    """How a command comes by each data set, as the first run on it did that says so."""
    keys = ("dataset", "dataset.root", "dataset.name")
    found: dict[str, Chosen] = {}
    for run in runs:
        words = [word for word in run.overrides if word.split("=")[0] in keys]
        if run.dataset in found or not words:
            continue
        own = any(word.startswith("dataset=") and not is_shipped(word) for word in words)
        source = _folders_of_options(run) if own else []
        found[run.dataset] = Chosen((*source, *words), run.python_path if own else "")
    return found


def _folders_of_options(run: Run) -> list[str]:
    return [word for word in run.overrides if word.startswith("hydra.searchpath=")]


def _python_path(row: Row, runs: Sequence[Run]) -> str:
    """PYTHONPATH of the first run that was given the folder of a user's row; "" of a shipped one."""
    folders = [f"file://{word.removeprefix('--config-dir=')}" for word in row.source]
    given = (run for run in runs if run.python_path and any(map("".join(_folders_of_options(run)).count, folders)))
    return next((run.python_path for run in given), "")
