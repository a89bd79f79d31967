"""Write the page and the Markdown file about everything that was run, and the page of every run."""

from pathlib import Path

from assimilate.files.whole_file import may_write, write_text_atomically
from assimilate.pages.book import Book
from assimilate.pages.found import cards_of
from assimilate.pages.metrics import headline
from assimilate.pages.render import picture_data, render
from assimilate.pages.run_page import REPORT, plots_of, write_run_page

MARKDOWN = "report.md"
SPREAD_NOTE = (
    "Ours is mean ± standard deviation (n) over n training seeds, divisor n − 1; a single run has no ±. Each seed's "
    "number is its mean over probe seeds. Generator, inversion, views and f have seeds of their own and stay fixed. "
    "Hours are those of all seeds together, everything upstream included, what they share counted once."
)


def write_reports(book: Book) -> list[Path]:
    """Write `report.html`, `report.md` and the page of every run below `out`, as far as this user may write there.

    Returns:
        The page and the Markdown file, if they are there.
    """
    index, markdown = book.out / REPORT, book.out / MARKDOWN
    if may_write(book.out):  # else it is somebody else's
        if not index.exists():  # the runs' pages link to it
            write_text_atomically(index, "")
        cards = cards_of(book.analyses)
        for run in book.runs:
            write_run_page(book.out, run, cards)
        write_text_atomically(index, render_page(book))
        write_text_atomically(markdown, render("report.md", book=book, spread_note=SPREAD_NOTE))
    return [path for path in (index, markdown) if path.is_file()]


def render_page(book: Book) -> str:
    """The one self-contained page."""
    return render(
        "index.html",
        book=book,
        spread_note=SPREAD_NOTE,
        plots_of=lambda run: plots_of(book.out, run, baseline=False),
        picture_data=lambda name: picture_data(book.out / name),
        headline=headline,
        page_of=lambda run: f"{run.place.folder}/{REPORT}",
        # Of a row, the title says all.
        words_of=lambda run: "" if run.place.row else " ".join(filter(book.is_setting, run.overrides)),
    )
