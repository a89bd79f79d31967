"""Stage: write what was run as pages: the paper's tables beside ours, figures, every run.

python -m assimilate.report                     everything below `out`: report.html, report.md, a page a run
python -m assimilate.report out=/my/outputs
python -m assimilate.report dataset=cifar10     with overrides that name a run: its pictures are drawn again too
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from assimilate.errors import UserError
from assimilate.files.whole_file import may_write
from assimilate.graph.counted import counted
from assimilate.jobs.command import stage
from assimilate.jobs.runs import finished_run
from assimilate.jobs.session import Session
from assimilate.pages.book import make_book
from assimilate.pages.found import read_out
from assimilate.pages.run import Run
from assimilate.pages.run_page import write_run_page
from assimilate.pages.write import write_reports
from assimilate.run.analysis_settings import measures_pair
from assimilate.run.composing import own_folders
from assimilate.run.job import Job
from assimilate.run.known_keys import CONF, EXPERIMENTS
from assimilate.run.neutral import is_neutral, key_of
from assimilate.run.words import SEARCH_PATH, override_word, read_command_line


def _is_shipped(word: str) -> bool:
    """Whether a word chooses an option of ours."""
    group, _, name = word.partition("=")
    return (CONF / group / f"{name}.yaml").is_file()


def _folders(runs: Iterable[Run]) -> list[Path]:
    """The user's folders of options: those given now, and those that runs were given, as far as they are there."""
    words = dict.fromkeys(word for run in runs for word in run.overrides if word.startswith(f"{SEARCH_PATH}="))
    found = own_folders()
    for word in words:
        try:
            searched = read_command_line([word]).searched
        except UserError:  # gone since: what was run is shown nevertheless
            continue
        found += [Path(folder.removeprefix("file://")) for folder in searched]
    return list(dict.fromkeys(found))


@stage("report", only_shows=True)
def main(job: Job) -> None:
    """Write the pages again: of everything, and with overrides that name a run, that run's pictures too."""
    session = Session(job, prepare="never")
    if not all(is_neutral(key_of(word)) for word in job.overrides):
        run = finished_run(job)
        if not measures_pair(job.config):  # else it trained nothing, and has no pictures
            from assimilate.jobs.pictures import draw_pictures

            session.ensure_all(session.chain.all())
            draw_pictures(session)
        session.say(f"run:      {write_run_page(job.out, run)}")
    found = read_out(job.out)
    out_words = [word for word in job.overrides if word.startswith("out=")]
    book = make_book(
        job.out,
        found,
        EXPERIMENTS,
        _folders(found.runs),
        out_word=override_word("out", str(job.out)) if out_words else None,
        is_shipped=_is_shipped,
    )
    written = write_reports(book)
    filled, total = book.chapters[0].coverage
    cells = f"; {filled} of {total} cells of the paper at budget=paper" if filled or not book.has_own else ""
    session.say(f"{counted(len(book.runs), 'finished run')}{cells}")
    for problem in book.problems:
        session.say(f"left out: {problem.path}: {problem.reason}")
    if not may_write(job.out):
        what = "are as they were" if written else "were never made"
        session.say(f"note: {job.out} cannot be written, and the pages of everything {what}")
    for title, page in zip(("report:  ", "markdown:"), written, strict=False):
        session.say(f"{title} {page}")


if __name__ == "__main__":
    sys.exit(main())
