"""Write the page and the Markdown file about everything that was run, and the page of every run."""

import json
from pathlib import Path

from assimilate.files.whole_file import may_write, write_whole
from assimilate.pages.book import Book
from assimilate.pages.exported import (
    DIFFERENCE_KEYS,
    DIFFERENCES_CSV,
    JSON,
    RUNS_CSV,
    as_csv,
    difference_lines,
    page_data,
    run_lines,
)
from assimilate.pages.found import cards_of
from assimilate.pages.metrics import DIVERGED, marked_text, metric, note_of, ordered
from assimilate.pages.paired import PAIRED_NOTE
from assimilate.pages.remembered import Remembered
from assimilate.pages.render import picture_data, render
from assimilate.pages.run import Run
from assimilate.pages.run_page import REPORT

MARKDOWN = "report.md"
SPREAD_NOTE = (
    "Ours is mean ± sample standard deviation (n) over n training seeds; a single run has no ±. The number of each "
    "seed is the mean over probe seeds. Generator, inversion, views and f are the same for all seeds. Hours are the "
    "total for all seeds with everything that they are made from; what they share is counted once."
)
NOTES = {"spread_note": SPREAD_NOTE, "paired_note": PAIRED_NOTE}


def write_reports(book: Book) -> list[Path]:
    """Write `report.html`, `report.md`, plain data and the page of every run below `out`, if this user may write there.

    Returns:
        The page and the Markdown file, if they are there.
    """
    index, markdown = book.out / REPORT, book.out / MARKDOWN
    if may_write(book.out):  # else it belongs to another user
        remembered = Remembered(book.out)
        if not index.exists():  # the runs' pages link to it
            write_whole(index, "")
        cards = cards_of(book.analyses)
        for run in book.runs:
            remembered.write_run_page(run, cards, book.paired.get(run.place.folder, {}))
        write_whole(index, render_page(book, remembered))
        write_whole(markdown, render("report.md", book=book, **NOTES))
        lines = {"runs": run_lines(book), "differences": difference_lines(book)}
        write_whole(book.out / JSON, json.dumps(lines, ensure_ascii=False) + "\n")
        write_whole(book.out / RUNS_CSV, as_csv(lines["runs"]))
        write_whole(book.out / DIFFERENCES_CSV, as_csv(lines["differences"], DIFFERENCE_KEYS))
        remembered.save()
    return [path for path in (index, markdown) if path.is_file()]


def render_page(book: Book, remembered: Remembered) -> str:
    """The one self-contained page."""

    def page_of(run: Run) -> str:
        return f"{run.place.folder}/{REPORT}"

    def name_of(run: Run) -> str:
        row = run.place.row
        known = run.titles.run
        return f"{known} ({book.titles.get(run.place.group, run.place.group)}: {run.place.setting})" if row else known

    def value_of(run: Run, name: str) -> str:
        if name in run.diverged:
            return DIVERGED
        return marked_text(run, name, run.metrics.get(name))

    names = ordered(name for run in book.runs for name in (*run.metrics, *run.diverged))
    return render(
        "index.html",
        book=book,
        **NOTES,
        picture_data=lambda name: picture_data(book.out / name),
        page_of=page_of,
        name_of=name_of,
        value_of=value_of,
        below=note_of(value_of(run, name) for run in book.runs for name in run.metrics),
        columns=[name for name in names if metric(name).column],
        titles_of={name: metric(name).title for name in names},
        downloads=[JSON, RUNS_CSV, DIFFERENCES_CSV],
        data=page_data(book, remembered, page_of=page_of),
    )
