"""The page and the Markdown file about everything that was run: the paper's tables beside ours, figures, runs."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from assimilate.jobs.out_folder import may_write
from assimilate.reporting.book import Book, coverage, make_book
from assimilate.reporting.run_page import REPORT, provenance_facts, run_curves, run_title, write_run_page
from assimilate.tables import markdown, page
from assimilate.tables.cells import FilledTable
from assimilate.tables.html_runs import render_run
from assimilate.tables.html_runs import render_settings as settings_html
from assimilate.tables.html_tables import dataset_name, render_table, table_name, warning_of
from assimilate.tables.layout import COMPARABLE_BUDGET
from assimilate.tables.numbers import hours_text, shared_seconds
from assimilate.tables.paper_tables import TABLES
from assimilate.tables.results import ADHOC, Run
from assimilate.whole_file import write_text_atomically

MARKDOWN = "report.md"
SPREAD_NOTE = (
    "Ours is mean ± standard deviation (n) over n training seeds, divisor n − 1; a single run has no ±. Each seed's "
    "number is its mean over probe seeds. Generator, inversion, views and f have seeds of their own and stay fixed. "
    "Hours are those of all seeds together, everything upstream included, what they share counted once."
)


def write_reports(out: Path, *, out_word: str | None, is_setting: Callable[[str], bool]) -> tuple[Path, Path, Book]:
    """Write `report.html`, `report.md` and the page of every run below `out`, as far as this user may write there.

    Args:
        out: where runs are.
        out_word: the override `out=…` that commands on the page need, if the default does not lead there.
        is_setting: whether a word of a command belongs to an adhoc run's setting.

    Returns:
        The page, the Markdown file and what they show.
    """
    book = make_book(out, out_word=out_word, is_setting=is_setting)
    index = out / REPORT
    if not may_write(out):  # somebody else's
        return index, out / MARKDOWN, book
    if not index.exists():  # the runs' pages link to it
        write_text_atomically(index, "")
    for run in book.runs:
        write_run_page(out, run)
    write_text_atomically(index, render_page(book))
    write_text_atomically(out / MARKDOWN, render_markdown(book))
    return index, out / MARKDOWN, book


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
    parts = [page.heading(f"Budget: {budget}", name=page.anchor(budget))]
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
        parts.append(f"## Budget: {markdown.escape(budget)}")
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
