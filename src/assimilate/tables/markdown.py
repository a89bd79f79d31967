"""The same tables as plain Markdown, as GitHub renders it."""

from collections.abc import Sequence

from assimilate.tables.cells import FilledTable
from assimilate.tables.html_runs import column_title, setting_text
from assimilate.tables.html_tables import dataset_name, footnotes, marks_of, metric_name, note_lines, warning_of
from assimilate.tables.layout import DATASETS
from assimilate.tables.settings import SettingsTable

# Characters that would end a cell, or be read as markup.
ESCAPED = "\\`*_[]<>|~$"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return "".join(f"\\{letter}" if letter in ESCAPED else letter for letter in " ".join(text.split()))


def code(text: str) -> str:
    """A word of code within a line or a table."""
    return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def fenced(text: str) -> str:
    """A block of commands; the fence is longer than any run of backticks in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}sh\n{text}\n{fence}"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], *, labels: int) -> str:
    """A table; the first `labels` columns lean left, the others right."""
    lines = [" | ".join(header), " | ".join([":--"] * labels + ["--:"] * (len(header) - labels))]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def render_table(table: FilledTable, whole: str) -> str:
    """A table of the paper with its caption, footnotes and the commands of what was not run."""
    letters = footnotes(table)
    header = [escape(column) for column in table.table.columns]
    for dataset, metrics in table.datasets.items():
        for metric in metrics:
            marks = ",".join(letters[label] for label in table.protocols.get((dataset, metric), {}))
            text = escape(f"{dataset_name(dataset)} {metric_name(metric)}") + (f"<sup>{marks}</sup>" if marks else "")
            header += [f"{text}: paper", "ours", "diff."] if table.comparable else [text]
        header.append("hours")
    rows = []
    for row in table.rows:
        cells = [escape(label) for label in row.labels]
        for entry in row.entries:
            for cell in entry.cells:
                marks = marks_of(table, entry, cell)
                ours = cell.ours_text + (f"<sup>{marks}</sup>" if marks else "")
                cells += [cell.paper_text, ours, cell.difference_text] if cell.comparable else [ours]
            cells.append(entry.hours.replace("<", "\\<"))
        rows.append(cells)
    parts = [f"### Table {table.table.number}. {escape(table.table.title)}"]
    if not table.comparable:
        parts.append(f"> **{escape(warning_of(table.budget))}**")
    parts += [escape(table.table.caption), grid(header, rows, labels=len(table.table.columns))]
    parts += [f"<sup>{letter}</sup> {escape(text)}" for letter, text in note_lines(table)]
    if table.missing:
        commands = "\n".join(entry.command for entry in table.missing)
        parts.append(
            f"{len(table.missing)} of {len(table.entries)} cells are not run. All of the table:\n\n{fenced(whole)}\n\n"
            f"<details><summary>One by one</summary>\n\n{fenced(commands)}\n\n</details>"
        )
    return "\n\n".join(parts)


def render_settings(table: SettingsTable, comparable: bool) -> str:
    """Runs of no row."""
    header = ["setting", *(escape(column_title(*column)) for column in table.columns), "hours", "seeds"]
    rows = []
    for setting in table.settings:
        cells = [code(" ".join(setting.words)) if setting.words else "the defaults"]
        cells += [setting_text(setting, *column) for column in table.columns]
        cells += [setting.hours.replace("<", "\\<"), ", ".join(str(run.place.seed) for run in setting.runs)]
        rows.append(cells)
    parts = [f"#### {escape(DATASETS.get(table.dataset, table.dataset))}"]
    if not comparable:
        parts.append(f"> **{escape(warning_of(table.budget))}**")
    parts.append(grid(header, rows, labels=1))
    parts += [f"{escape(', '.join(map(metric_name, metrics)))}: {escape(label)}" for metrics, label in table.notes]
    return "\n\n".join(parts)
