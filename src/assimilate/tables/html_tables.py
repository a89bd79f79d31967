"""A filled table of the paper as HTML: numbers in columns, details of a cell behind a click, no script."""

from collections.abc import Callable
from html import escape

from assimilate.tables import page
from assimilate.tables.cells import Cell, Entry, FilledRow, FilledTable
from assimilate.tables.layout import ACCURACIES, DATASETS, METRICS
from assimilate.tables.numbers import NOTHING, decimals_of, hours_text
from assimilate.tables.paper_tables import row_title
from assimilate.tables.results import Run

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Marks a cell whose run was made under another row's name.
BORROWED = "="
# What a note of a run, and a floor that every number has to beat, are marked with.
NOTED, FLOOR = "!", "⊥"
# What a run's artifacts are called in the breakdown of its cost.
STAGES = {
    "datasets": "images",
    "generators": "generator",
    "latents": "inversion",
    "encoders": "encoders",
    "calibrations": "ε1",
    "views": "views",
    "probes": "probes",
}
# A finished run -> the page about it, relative to this one
HrefOf = Callable[[Run], str]


def dataset_name(dataset: str) -> str:
    """As people write it."""
    return DATASETS.get(dataset, dataset)


def metric_name(metric: str) -> str:
    """As the paper writes it."""
    return METRICS.get(metric, metric)


def warning_of(budget: str) -> str:
    """What every table and figure of a budget that is not the paper's says of itself."""
    return f"budget={budget}: not comparable with the paper"


def footnotes(table: FilledTable) -> dict[str, str]:
    """A letter for every protocol that numbers of the table were measured by."""
    labels = dict.fromkeys(label for found in table.protocols.values() for label in found)
    return {label: LETTERS[index % 26] * (index // 26 + 1) for index, label in enumerate(labels)}


def note_lines(table: FilledTable) -> list[tuple[str, str]]:
    """(letter, what it says) for each protocol: how, and for which data sets and metrics."""
    columns: dict[str, list[str]] = {}
    for (dataset, metric), found in table.protocols.items():
        for label in found:
            columns.setdefault(label, []).append(f"{dataset_name(dataset)} {metric_name(metric)}")
    letters = footnotes(table)
    lines = [(letters[label], f"{'; '.join(where)}: {label}") for label, where in columns.items()]
    noted = {
        f"{row_title(entry.row)}: {note}": None for entry in table.entries for run in entry.runs for note in run.notes
    }
    lines += [(NOTED, note) for note in noted]
    floors = {
        f"{dataset_name(entry.dataset)}, {floor}: {text}": None
        for entry in table.entries
        for run in entry.runs
        for floor, text in run.floor_texts(table.datasets[entry.dataset]).items()
    }
    lines += [(FLOOR, text) for text in floors]
    lenders = dict.fromkeys(row_title(lender) for entry in table.entries for lender in entry.borrowed_from)
    if lenders:
        lines.append((BORROWED, f"the same run stands in another row, and was made there: {'; '.join(lenders)}"))
    return lines


def marks_of(table: FilledTable, entry: Entry, cell: Cell) -> str:
    """What stands beside our number: its protocol's letter where the column has several, and "=" for a borrowed run."""
    marks = []
    if len(table.protocols.get((cell.dataset, cell.metric), {})) > 1:
        letters = footnotes(table)
        marks += [letters[label] for label in cell.protocols]
    if entry.borrowed_from and cell.measured:
        marks.append(BORROWED)
    return ",".join(marks)


def table_name(table: FilledTable) -> str:
    """The id to link to."""
    return page.anchor(f"{table.budget} {table.table.group}")


def render_table(table: FilledTable, href_of: HrefOf, whole: str) -> str:
    """The table with its caption, footnotes and the commands of what was not run; folded where nothing was.

    Args:
        table: what to show.
        href_of: where the page of a run is.
        whole: the command that runs all of it.
    """
    name = table_name(table)
    warning = "" if table.comparable else f'<span class="badge warn">{escape(warning_of(table.budget))}</span> '
    caption = (
        f"<figcaption>{warning}<strong>Table {table.table.number}. {escape(table.table.title)}.</strong> "
        f"{escape(table.table.caption)}</figcaption>"
    )
    letters = footnotes(table)
    popovers: list[str] = []
    lines = []
    for position, row in enumerate(table.rows):
        cells = [f'<th scope="row" class="together">{escape(_unbroken(row.labels))}</th>']
        cells += [f'<th scope="row" class="apart">{escape(label)}</th>' for label in row.labels]
        for number, entry in enumerate(row.entries):
            target = f"{name}-{position}-{number}"
            popovers.append(page.popover(target, _entry_details(table, row, entry, href_of)))
            for cell in entry.cells:
                cells += _cell(cell, target, marks_of(table, entry, cell))
            cells.append(f'<td class="hours">{escape(entry.hours)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = "paper-table" if table.comparable else "paper-table other-budget"
    notes = "".join(f"<li><sup>{letter}</sup> {escape(text)}</li>" for letter, text in note_lines(table))
    empty = not any(entry.runs for entry in table.entries)
    identity = "" if empty else f' id="{name}"'
    figure = (
        f'<figure class="{kind}"{identity}>{caption}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="Table {table.table.number}"><table class="numbers">{_head(table, letters)}'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + _missing(table, whole)
        + "".join(popovers)
        + "</figure>"
    )
    if not empty:
        return figure
    summary = f"<strong>Table {table.table.number}. {escape(table.table.title)}.</strong> Nothing run yet: "
    summary += f"{len(table.entries)} cells."
    return f'<details class="empty" id="{name}"><summary>{summary}</summary>{figure}</details>'


def _together(labels: tuple[str, ...]) -> str:
    """A row's labels in one cell, for screens on which their columns would leave no room for numbers."""
    return ", ".join(label for label in labels if label and label != NOTHING)


def _unbroken(labels: tuple[str, ...]) -> str:
    """Likewise, such that no line ends after "W-"."""
    return _together(labels).replace("W-", "W\N{NON-BREAKING HYPHEN}")


def _head(table: FilledTable, letters: dict[str, str]) -> str:
    two_lines = table.comparable
    span = ' rowspan="2"' if two_lines else ""
    first = f'<th scope="col"{span} class="together">{escape(", ".join(table.table.columns))}</th>'
    first += "".join(f'<th scope="col"{span} class="apart">{escape(column)}</th>' for column in table.table.columns)
    second = ""
    for dataset, metrics in table.datasets.items():
        for metric in metrics:
            marks = ",".join(letters[label] for label in table.protocols.get((dataset, metric), {}))
            text = f"{escape(dataset_name(dataset))}<br>{escape(metric_name(metric))}"
            text += f"<sup>{marks}</sup>" if marks else ""
            if two_lines:
                first += f'<th scope="colgroup" colspan="3" class="group">{text}</th>'
                second += '<th scope="col">paper</th><th scope="col">ours</th><th scope="col">diff.</th>'
            else:
                first += f'<th scope="col" class="group">{text}</th>'
        first += f'<th scope="col"{span} class="hours">hours</th>'
    return f"<thead><tr>{first}</tr>{f'<tr>{second}</tr>' if two_lines else ''}</thead>"


def _cell(cell: Cell, target: str, marks: str) -> list[str]:
    text = escape(cell.ours_text) + (f"<sup>{marks}</sup>" if marks else "")
    css = "cell" if cell.ours is not None else "cell none"
    parts = [f'<td class="ours">{page.opener(target, text, css=css)}</td>']
    if cell.comparable:
        way = ""
        if cell.difference and cell.metric in ACCURACIES and cell.difference_text.strip("0.") not in ("", NOTHING):
            way = " up" if cell.difference > 0 else " down"
        parts.insert(0, f'<td class="paper">{escape(cell.paper_text)}</td>')
        parts.append(f'<td class="diff{way}">{escape(cell.difference_text)}</td>')
    return parts


def _entry_details(table: FilledTable, row: FilledRow, entry: Entry, href_of: HrefOf) -> str:
    parts = [
        f"<h4>Table {table.table.number}: {escape(_together(row.labels))}, {escape(dataset_name(entry.dataset))}</h4>"
    ]
    if not table.comparable:
        parts.append(f'<p><span class="badge warn">{escape(warning_of(table.budget))}</span></p>')
    if row.notes:
        parts.append(f'<p class="soft">{escape(row.notes)}</p>')
    if not entry.runs:
        return "".join([*parts, "<p>Not run. This command does:</p>", page.command(entry.command)])
    extra = [name for name in ("acc1_last", "acc5_last", "l2") if any(name in run.metrics for run in entry.runs)]
    shown = list(dict.fromkeys([*(cell.measured_as for cell in entry.cells), *extra]))
    rows = []
    for run in entry.runs:
        cells = [page.link(href_of(run), f"seed {run.place.seed}")]
        cells += [escape(_with_probe_spread(run, metric)) for metric in shown]
        cells.append(hours_text(sum(run.seconds.values())))
        rows.append("<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>")
    head = "".join(f'<th class="number">{escape(text)}</th>' for text in ["", *map(metric_name, shown), "hours"])
    parts.append(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    parts.append(
        '<p class="soft">± here is over probe seeds of one training run; in the table it is over training seeds.</p>'
    )
    for cell in entry.cells:
        parts += [
            f'<p class="soft">{escape(metric_name(cell.metric))}: {escape(label)}</p>' for label in cell.protocols
        ]
    parts.append(f'<p class="soft">Hours, what seeds share counted once: {escape(cost_text(entry.runs))}.</p>')
    parts.append(f'<p class="soft">{escape(_made(entry.runs))}</p>')
    parts.append(f"<p>Another seed:</p>{page.command(entry.another)}")
    return "".join(parts)


def _made(runs: tuple[Run, ...]) -> str:
    """Where the runs of a cell were made: seeds of several commits are one column, but not one experiment."""
    devices = dict.fromkeys(str(run.raw.get("device") or "unknown") for run in runs)
    commits = dict.fromkeys(str(run.raw.get("commit") or "none")[:12] for run in runs)
    return f"Made on {', '.join(devices)}; commit{'s' * (len(commits) > 1)} {', '.join(commits)}."


def _with_probe_spread(run: Run, metric: str) -> str:
    measured = run.metrics.get(metric)
    if measured is None:
        return NOTHING
    decimals = decimals_of(metric, None)
    std = f" ± {measured.std:.{decimals}f}" if measured.n > 1 else ""
    return f"{measured.mean:.{decimals}f}{std}"


def cost_text(runs: tuple[Run, ...]) -> str:
    """ "encoders 11.5, views 1.20, …": hours by kind of artifact, each artifact once."""
    once: dict[str, float] = {}
    for run in runs:
        once.update(run.costs)
    kinds: dict[str, float] = {}
    for label, seconds in once.items():
        kind = STAGES.get(label.split("/")[0], label.rpartition(": ")[2])
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    return ", ".join(f"{kind} {hours_text(seconds)}" for kind, seconds in kinds.items())


def _missing(table: FilledTable, whole: str) -> str:
    if not table.missing:
        return ""
    count, total = len(table.missing), len(table.entries)
    commands = "\n".join(entry.command for entry in table.missing)
    summary = f"{count} of {total} cells are not run: their commands"
    return page.disclosure(
        escape(summary), f"<p>All of the table:</p>{page.command(whole)}<p>One by one:</p>{page.command(commands)}"
    )
