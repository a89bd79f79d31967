"""The page and the Markdown file about everything that was run: the paper's tables beside ours, figures, runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from assimilate.artifacts import write_text_atomically
from assimilate.config import EXPERIMENTS, shell_word
from assimilate.report_results import Analysis, Problem, read_out, read_rows
from assimilate.report_run import REPORT, provenance_facts, run_curves, run_title, write_run_page
from assimilate.tables import markdown, page
from assimilate.tables.cells import FilledTable, SettingsTable, fill_table, group_settings
from assimilate.tables.html_runs import render_run
from assimilate.tables.html_runs import render_settings as settings_html
from assimilate.tables.html_tables import dataset_name, render_table, table_name, warning_of
from assimilate.tables.layout import COMPARABLE_BUDGET, PaperTable
from assimilate.tables.numbers import hours_text, shared_seconds
from assimilate.tables.paper_rows import PaperRow
from assimilate.tables.paper_tables import TABLES, same_runs
from assimilate.tables.results import ADHOC, Run

MARKDOWN = "report.md"
SETTING_METRICS = ("acc1", "acc1_last", "acc5", "knn5")
# Before others, in this order.
BUDGETS = (COMPARABLE_BUDGET, "short", "cpu", "smoke")
SPREAD_NOTE = (
    "Ours is mean ± standard deviation (n) over n training seeds, divisor n − 1; a single run has no ±. Each seed's "
    "number is its mean over probe seeds. Generator, inversion, views and f have seeds of their own and stay fixed. "
    "Hours are those of all seeds together, everything upstream included, what they share counted once."
)


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


def write_reports(out: Path, *, out_word: str | None, is_setting: Callable[[str], bool]) -> tuple[Path, Path, Book]:
    """Write `report.html`, `report.md` and the page of every run below `out`.

    Args:
        out: where runs are.
        out_word: the override `out=…` that commands on the page need, if the default does not lead there.
        is_setting: whether a word of a command belongs to an adhoc run's setting.

    Returns:
        The page, the Markdown file and what they show.
    """
    book = make_book(out, out_word=out_word, is_setting=is_setting)
    index = out / REPORT
    if not index.exists():  # the runs' pages link to it
        write_text_atomically(index, "")
    for run in book.runs:
        write_run_page(out, run)
    write_text_atomically(index, render_page(book))
    write_text_atomically(out / MARKDOWN, render_markdown(book))
    return index, out / MARKDOWN, book


def make_book(
    out: Path, *, out_word: str | None, is_setting: Callable[[str], bool], experiments: Path = EXPERIMENTS
) -> Book:
    """Read everything and put it into tables."""
    found = read_out(out)
    rows, row_problems = read_rows(experiments)
    problems = [*found.problems, *row_problems]
    known = {row.key for row in rows}
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
                same_runs=same_runs,
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
    choices = [[f"dataset={','.join(by_name)}"]] if by_name else []
    choices += [_dataset_words(dataset, runs) for dataset in table.datasets if dataset not in by_name]
    lines = [
        _command(f"{first.stage} -m", [f"+{first.table}=glob(*)", *words, *first.words], table.budget, out_word)
        for words in choices
    ]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ the page


def render_page(book: Book) -> str:
    """The one self-contained page."""
    parts = [*_overview(book)]
    for budget in book.budgets:
        parts += _budget_section(book, budget)
    parts += [*_figure_section(book), *_run_section(book), *_problem_section(book)]
    return page.page("What was run", parts, navigation=_navigation(book))


def _href(run: Run) -> str:
    return page.file_href(f"{run.place.folder}/{REPORT}")


def _navigation(book: Book) -> list[str]:
    links = [page.link("#overview", "Overview", css="home")]
    for budget in book.budgets:
        links.append(page.link(f"#{page.anchor(budget)}", f"{budget} budget"))
        links += [page.link(f"#{table_name(table)}", table.table.number, css="number") for table in book.tables[budget]]
    if book.analyses:
        links.append(page.link("#figures", "Figures"))
    if book.runs:
        links.append(page.link("#runs", "Runs"))
    if book.problems:
        links.append(page.link("#problems", f"Problems ({len(book.problems)})", css="warn"))
    return links


def coverage(tables: Sequence[FilledTable]) -> tuple[int, int]:
    """Cells that the paper has: how many were run, and how many there are. A cell is a row on a data set."""
    cells = [entry for table in tables for entry in table.entries if entry.in_paper]
    return sum(bool(entry.runs) for entry in cells), len(cells)


def _overview(book: Book) -> list[str]:
    filled, total = coverage(book.tables[COMPARABLE_BUDGET])
    parts = [
        page.heading("What was run", level=1, name="overview"),
        f'<p class="lead"><strong>{filled} of {total}</strong> cells of the paper’s tables are filled at the paper’s '
        f"budget. Everything below is in <code>{escape(str(book.out))}</code>.</p>",
    ]
    rows = []
    for budget in book.budgets:
        runs = [run for run in book.runs if run.place.budget == budget]
        hours = hours_text(shared_seconds([run.costs for run in runs]))
        rows.append([f"budget={budget}", str(len(runs)), hours, _devices(runs)])
    parts.append(page.table(["", "finished runs", "hours of compute", "on"], rows))
    parts.append(_coverage_map(book.tables[COMPARABLE_BUDGET]))
    parts.append(page.paragraph(SPREAD_NOTE, soft=True))
    return parts


def _devices(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({str(run.raw.get("device")) for run in runs if run.raw.get("device")}))


def _coverage_map(tables: Sequence[FilledTable]) -> str:
    """A square for each cell of the paper: full where it was run."""
    items = []
    for table in tables:
        entries = [entry for entry in table.entries if entry.in_paper]
        done = sum(bool(entry.runs) for entry in entries)
        squares = "".join('<i class="on"></i>' if entry.runs else "<i></i>" for entry in entries)
        columns = max(len([entry for entry in row.entries if entry.in_paper]) for row in table.rows)
        label = escape(f"Table {table.table.number}: {done} of {len(entries)} cells", quote=True)
        items.append(
            f'<a href="#{table_name(table)}" aria-label="{label}" title="{label}"><span>{table.table.number}</span>'
            f'<span class="squares" style="--columns:{max(columns, 1)}">{squares}</span></a>'
        )
    note = '<p class="soft">Each square is a cell of the paper, full where it was run.</p>'
    return f'<div class="map">{"".join(items)}</div>{note}'


def _budget_section(book: Book, budget: str) -> list[str]:
    comparable = book.comparable(budget)
    parts = [page.heading(f"{budget.capitalize()} budget", name=page.anchor(budget))]
    if not comparable:
        parts.append(
            f'<p class="loud">{escape(warning_of(budget))}</p>'
            + page.paragraph("So the paper's numbers are not shown here, nor any difference to them.", soft=True)
        )
    parts += [
        render_table(table, _href, book.whole_commands[budget, table.table.group]) for table in book.tables[budget]
    ]
    if book.settings[budget]:
        parts.append(page.heading("Runs of no row", level=3, name=page.anchor(f"{budget} adhoc")))
        parts += [settings_html(table, comparable, _href) for table in book.settings[budget]]
    return parts


def _figure_section(book: Book) -> list[str]:
    if not book.analyses:
        return []
    parts = [page.heading("Figures", name="figures")]
    for analysis in book.analyses:
        title = f"{analysis.figure}. {analysis.title}" if analysis.figure else analysis.title
        words = [word for word in (dataset_name(analysis.dataset), f"budget={analysis.budget}") if word]
        loud = [] if book.comparable(analysis.budget) else [warning_of(analysis.budget)]
        parts += [page.heading(title, level=3), page.badges(words, warnings=loud)]
        if analysis.caption not in ("", *(picture.caption for picture in analysis.pictures)):
            parts.append(page.paragraph(analysis.caption))
        shown = []
        for picture in analysis.pictures:
            beside = {"PDF": picture.pdf, "CSV": picture.csv}
            links = " ".join(page.link(page.file_href(path), name) for name, path in beside.items() if path)
            content = (book.out / picture.png).read_bytes()
            shown.append(page.picture_figure(content, picture.caption, css="plate", after=links))
        parts.append(page.side_by_side(shown))
        if analysis.command:
            parts.append(page.disclosure("its command", page.command(analysis.command)))
    return parts


def _run_section(book: Book) -> list[str]:
    if not book.runs:
        return []
    parts = [
        page.heading("Runs", name="runs"),
        page.paragraph(
            "Each opens to its command, curves and provenance. Its page beside it adds views, reconstructions, the "
            "artifacts with their parents, and the whole configuration.",
            soft=True,
        ),
    ]
    titles = {table.group: f"Table {table.number}" for table in TABLES}
    budget = group = None
    for run in book.runs:
        if run.place.budget != budget:
            budget, group = run.place.budget, None
            label = f"budget={budget}" if book.comparable(budget) else warning_of(budget)
            parts.append(page.heading(label, level=3))
        if run.place.group != group:
            group = run.place.group
            parts.append(page.heading("No row" if group == ADHOC else titles.get(group, group), level=4))
        plots = run_curves(book.out, run, baseline=False)
        # Of a row, the title says all.
        words = " ".join(filter(book.is_setting, run.overrides)) if run.place.row is None else ""
        parts.append(render_run(run, run_title(run), words, _href(run), plots, page.facts(provenance_facts(run))))
    return parts


def _problem_section(book: Book) -> list[str]:
    if not book.problems:
        return []
    return [
        page.heading("Problems", name="problems"),
        page.paragraph("These files are in no table above."),
        page.table(["file", "why"], [[problem.path, problem.reason] for problem in book.problems]),
    ]


# ------------------------------------------------------------------------------------------------ the Markdown file


def render_markdown(book: Book) -> str:
    """The same tables for GitHub."""
    filled, total = coverage(book.tables[COMPARABLE_BUDGET])
    parts = [
        "# What was run",
        f"{filled} of {total} cells of the paper's tables are filled at the paper's budget.",
        markdown.escape(SPREAD_NOTE),
    ]
    for budget in book.budgets:
        comparable = book.comparable(budget)
        parts.append(f"## {markdown.escape(budget.capitalize())} budget")
        if not comparable:
            parts.append(f"> **{markdown.escape(warning_of(budget))}**")
        parts += [
            markdown.render_table(table, book.whole_commands[budget, table.table.group])
            for table in book.tables[budget]
        ]
        if book.settings[budget]:
            parts.append("### Runs of no row")
            parts += [markdown.render_settings(table, comparable) for table in book.settings[budget]]
    if book.analyses:
        parts.append("## Figures")
    for analysis in book.analyses:
        title = f"{analysis.figure}. {analysis.title}" if analysis.figure else analysis.title
        parts.append(f"### {markdown.escape(title)} ({markdown.escape(f'budget={analysis.budget}')})")
        if not book.comparable(analysis.budget):
            parts.append(f"> **{markdown.escape(warning_of(analysis.budget))}**")
        for picture in analysis.pictures:
            parts.append(f"![{markdown.escape(picture.caption)}]({page.file_href(picture.png)})")
            parts.append(markdown.escape(picture.caption))
    if book.problems:
        parts.append("## Problems\n\nThese files are in no table above.")
        parts.append(
            markdown.grid(
                ["file", "why"],
                [[markdown.code(problem.path), markdown.escape(problem.reason)] for problem in book.problems],
                labels=2,
            )
        )
    return "\n\n".join(parts) + "\n"
