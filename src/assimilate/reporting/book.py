"""What a report shows: everything below `out`, put into the paper's tables, with the commands of what is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assimilate.known_keys import EXPERIMENTS
from assimilate.reporting.results import Analysis, Problem, read_out, read_rows
from assimilate.tables.cells import FilledTable, fill_table
from assimilate.tables.layout import COMPARABLE_BUDGET, PaperTable
from assimilate.tables.paper_rows import PaperRow
from assimilate.tables.paper_tables import TABLES, same_runs
from assimilate.tables.results import Run
from assimilate.tables.settings import SettingsTable, group_settings
from assimilate.words import shell_word

SETTING_METRICS = ("acc1", "acc1_last", "acc5", "knn5")
# Before others, in this order.
BUDGETS = (COMPARABLE_BUDGET, "short", "cpu", "smoke")


@dataclass(frozen=True)
class Book:
    """Everything that the page and the Markdown file show."""

    out: Path
    budgets: tuple[str, ...]
    tables: Mapping[str, Sequence[FilledTable]]
    settings: Mapping[str, Sequence[SettingsTable]]
    runs: tuple[Run, ...]
    analyses: tuple[Analysis, ...]
    problems: tuple[Problem, ...]
    whole_commands: Mapping[tuple[str, str], str]  # (budget, table) to the command that runs all of it
    is_setting: Callable[[str], bool]

    def comparable(self, budget: str) -> bool:
        """Whether the budget's numbers may stand beside the paper's."""
        return budget == COMPARABLE_BUDGET


def coverage(tables: Sequence[FilledTable]) -> tuple[int, int]:
    """Cells that the paper has: how many were run, and how many there are. A cell is a row on a data set."""
    cells = [entry for table in tables for entry in table.entries if entry.in_paper]
    return sum(bool(entry.runs) for entry in cells), len(cells)


def make_book(
    out: Path, *, out_word: str | None, is_setting: Callable[[str], bool], experiments: Path = EXPERIMENTS
) -> Book:
    """Read everything and put it into tables."""
    found = read_out(out)
    rows, row_problems = read_rows(experiments)
    problems = [*found.problems, *row_problems]
    known = {row.key: row for row in rows}

    def alike(key: str, dataset: str) -> list[str]:
        """Other names of a row's run, where the paper has both: ε1 = 0.3 is Table 3's search on CIFAR-10 alone."""
        names = same_runs(key) if dataset in known[key].numbers else ()
        return [name for name in names if name in known and dataset in known[name].numbers]

    problems += [
        Problem(f"{run.place.folder}/metrics.json", f"its row {run.place.row} is in no file of experiments/")
        for run in found.runs
        if run.place.row is not None and run.place.row not in known
    ]
    named = {run.place.budget for run in found.runs} | {analysis.budget for analysis in found.analyses}
    budgets = (COMPARABLE_BUDGET, *(name for name in BUDGETS[1:] if name in named), *sorted(named - set(BUDGETS)))
    tables, commands = {}, {}
    for budget in budgets:
        filled = []
        for layout in _layouts(rows):
            own = [row for row in rows if row.table == layout.group]
            table = fill_table(
                layout,
                own,
                found.runs,
                budget=budget,
                command_for=_commands(own, budget, found.runs, out_word),
                same_runs=alike,
            )
            if table.datasets:
                filled.append(table)
                commands[budget, layout.group] = _whole_command(own, table, found.runs, out_word)
        tables[budget] = filled
    settings = {
        budget: group_settings(found.runs, budget=budget, metrics=SETTING_METRICS, is_setting=is_setting)
        for budget in budgets
    }
    order = [f"{table.group}/{name}" for table in _layouts(rows) for name in table.rows]

    def place(run: Run) -> tuple[int, int, str]:
        """As the tables stand on the page; runs of no row come last."""
        row = run.place.row
        return budgets.index(run.place.budget), order.index(row) if row in order else len(order), run.place.folder

    runs = sorted(found.runs, key=place)
    return Book(out, budgets, tables, settings, tuple(runs), found.analyses, tuple(problems), commands, is_setting)


def _layouts(rows: Sequence[PaperRow]) -> list[PaperTable]:
    """The paper's tables that have rows, and after them groups of rows that the paper does not have."""
    groups = dict.fromkeys(row.table for row in rows)
    known = [table for table in TABLES if table.group in groups]
    others = [group for group in groups if group not in {table.group for table in known}]
    return known + [
        PaperTable(group, group.removeprefix("table"), "Rows of your own", "Not in the paper.", ("row",), {})
        for group in others
    ]


def _dataset_words(dataset: str, runs: Sequence[Run]) -> list[str]:
    """What chooses a data set on the command line: as the runs on it did, else its name."""
    keys = ("dataset", "dataset.root", "dataset.name")
    for run in runs:
        words = [word for word in run.overrides if word.split("=")[0] in keys]
        if run.dataset == dataset and words:
            return words
    return [f"dataset={dataset}"]


def _command(stage: str, words: Sequence[str], budget: str, out_word: str | None) -> str:
    words = [*words, *([] if budget == COMPARABLE_BUDGET else [f"budget={budget}"]), *([out_word] if out_word else [])]
    return " ".join([f"python -m assimilate.{stage}", *map(shell_word, words)])


def _commands(
    rows: Sequence[PaperRow], budget: str, runs: Sequence[Run], out_word: str | None
) -> Callable[[str, str], str]:
    by_key = {row.key: row for row in rows}

    def command_for(key: str, dataset: str) -> str:
        row = by_key[key]
        words = [f"+{row.table}={row.name}", *_dataset_words(dataset, runs)]
        # What the file's own command adds belongs to the paper's data sets.
        words += row.words if dataset in row.numbers else ()
        return _command(row.stage, words, budget, out_word)

    return command_for


def _whole_command(rows: Sequence[PaperRow], table: FilledTable, runs: Sequence[Run], out_word: str | None) -> str:
    """The commands that run all of a table: one for the data sets that a name is enough for, one for each other."""
    first = rows[0]
    by_name = [dataset for dataset in table.datasets if _dataset_words(dataset, runs) == [f"dataset={dataset}"]]
    # What the files' own commands add belongs to the paper's data sets.
    papers = {dataset for row in rows for dataset in row.numbers}
    with_words = [dataset for dataset in by_name if first.words and dataset in papers]
    without = [dataset for dataset in by_name if dataset not in with_words]
    choices = [[f"dataset={','.join(with_words)}", *first.words]] if with_words else []
    choices += [[f"dataset={','.join(without)}"]] if without else []
    for dataset in table.datasets:
        if dataset not in by_name:
            choices.append([*_dataset_words(dataset, runs), *(first.words if dataset in papers else ())])
    lines = [
        _command(f"{first.stage} -m", [f"+{first.table}=glob(*)", *words], table.budget, out_word) for words in choices
    ]
    return "\n".join(lines)
