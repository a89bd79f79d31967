"""Stage: write what was run as pages: the paper's tables beside ours, figures, every run.

python -m assimilate.report                     everything below `out`: report.html, report.md, a page a run
python -m assimilate.report out=/my/outputs
python -m assimilate.report dataset=cifar10     with overrides that name a run: its pictures are drawn again too
"""

import sys
from pathlib import Path

from rich.table import Table

from assimilate.config import ROW_COMPANIONS, Job, is_neutral
from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.out_folder import may_write
from assimilate.jobs.runs import METRICS, disagreement, read_metrics
from assimilate.jobs.session import Session
from assimilate.reporting.book import coverage
from assimilate.reporting.index import write_reports
from assimilate.reporting.run_page import (
    ASSIMILATIONS,
    SIMSIAM,
    baseline_command,
    given_name,
    run_title,
    write_run_page,
)
from assimilate.settings.identity import measures_pair
from assimilate.tables.comparison import compare
from assimilate.tables.layout import COMPARABLE_BUDGET
from assimilate.tables.results import Run, parse_place, parse_result
from assimilate.words import override_word


def write_run_report(session: Session) -> Path:
    """Draw the run's pictures, write `report.html` into its folder and return its path; somebody else's stays as it is.

    Raises:
        UserError: the run has no result yet.
    """
    from assimilate.reporting.pictures import draw_pictures

    run = _run_of(session.job)
    if may_write(session.job.run_dir):
        draw_pictures(session)
    return write_run_page(session.job.out, run)


def _run_of(job: Job) -> Run:
    result = read_metrics(job.run_dir)
    if result is None:
        maker = ".analyze" if measures_pair(job.config) else ".train"
        raise UserError(
            f"{job.run_dir / METRICS} is not there yet: run {job.command.replace('.report', maker)}. "
            "The page about everything that was run: python -m assimilate.report, without overrides but out="
        )
    if (wrong := disagreement(result, job.out)) is not None:
        raise UserError(f"{job.run_dir / METRICS} {wrong}: {job.command.replace('.report', '.train')}")
    try:
        return parse_result(result, parse_place(job.run_dir.relative_to(job.out).parts))
    except ValueError as error:
        raise UserError(f"{job.run_dir / METRICS} {error}") from error


def print_table(session: Session) -> None:
    """The run's table on the terminal."""
    run = _run_of(session.job)
    result = run.raw
    lines = compare(result)
    if not lines:
        return
    has_baseline = "baseline" in result
    has_paper = bool(result["paper"]) and result["budget"] == COMPARABLE_BUDGET
    table = Table(title=run_title(run), title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for floor in lines[0].floors:
        table.add_column(floor, justify="right")
    table.add_column("random", justify="right", no_wrap=True)
    if has_baseline:
        table.add_column(_baseline_name(session), justify="right", no_wrap=True)
    table.add_column(_run_name(session), justify="right", style="bold", no_wrap=True)
    if has_baseline:
        table.add_column("diff.", justify="right", no_wrap=True)
    if has_paper:
        table.add_column("paper", justify="right")
    for line in lines:
        cells = [line.metric, *line.floors.values(), line.untrained]
        cells += [line.baseline] if has_baseline else []
        cells += [line.run]
        cells += [line.difference] if has_baseline else []
        cells += [line.paper] if has_paper else []
        table.add_row(*cells)
    session.terminal.console.print(table)
    for note in result.get("notes", []):
        session.terminal.say(f"note: {note}")
    session.terminal.say(
        f"± is the standard deviation over probe seeds of one training run; budget: {result['budget']}"
    )
    if not has_baseline and session.config["checkpoint"] is None and session.config["assim"]["name"] != "simclr":
        session.terminal.say(f"baseline to compare with: {baseline_command(run)}")


def _run_name(session: Session) -> str:
    config = session.config
    if config["checkpoint"] is not None:
        return given_name(str(config["checkpoint"]))
    name = ASSIMILATIONS.get(config["assim"]["name"], config["assim"]["name"])
    if config["loss"]["name"] == "simsiam":
        name = SIMSIAM if config["assim"]["name"] == "simclr" else f"{name}-{SIMSIAM}"
    return f"{name} (seed {config['seed']})"


def _baseline_name(session: Session) -> str:
    base = SIMSIAM if session.config["simclr_loss"] == "simsiam" else "SimCLR"
    return f"{base} (f, seed {session.config['view']['encoder']['seed']})"


def _key(word: str) -> str:
    return word.lstrip("+~").split("=")[0]


def _is_setting(word: str) -> bool:
    """Whether a word of an adhoc run's command says what its folder's name does not: no seed, budget or data set."""
    return not is_neutral(_key(word)) and word.split("=")[0] not in ROW_COMPANIONS


@stage("report", only_shows=True)
def main(job: Job) -> None:
    """Write the pages again: of everything, and with overrides that name a run, that run's pictures too."""
    session = Session(job, prepare="never")
    if not all(is_neutral(_key(word)) for word in job.overrides):
        run = _run_of(job)
        if measures_pair(job.config):  # it trained nothing, and has no pictures
            page = write_run_page(job.out, run)
        else:
            session.ensure_all(session.chain.all())
            page = write_run_report(session)
        session.terminal.say(f"run:      {page}")
    out_words = [word for word in job.overrides if word.startswith("out=")]
    index, markdown, book = write_reports(
        job.out, out_word=override_word("out", str(job.out)) if out_words else None, is_setting=_is_setting
    )
    filled, total = coverage(book.tables[COMPARABLE_BUDGET])
    session.terminal.say(f"{len(book.runs)} finished runs; {filled} of {total} cells of the paper at budget=paper")
    for problem in book.problems:
        session.terminal.say(f"left out: {problem.path}: {problem.reason}")
    if not may_write(job.out):
        what = "are as they were" if index.is_file() else "were never made"
        session.terminal.say(f"note: {job.out} cannot be written, and the pages of everything {what}")
    for title, page in (("report:  ", index), ("markdown:", markdown)):
        if page.is_file():
            session.terminal.say(f"{title} {page}")


if __name__ == "__main__":
    sys.exit(main())
