"""What a user sees while it runs: bars on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from assimilate.graph.progress import Progress as Report
from assimilate.graph.progress import silent

# Seconds between two lines where there is no terminal to draw a bar on.
LOG_EVERY_SECONDS = 15.0


class Terminal:
    """Prints for one job. A rank other than 0 stays silent.

    Args:
        quiet: print nothing but errors.
        log: a file that every line is added to as well.
    """

    def __init__(self, *, quiet: bool = False, log: Path | None = None) -> None:
        self.quiet = quiet
        self._log = log
        self.console = Console(quiet=quiet, soft_wrap=True, highlight=False)

    def say(self, line: str) -> None:
        """Print one line."""
        if not self.quiet:
            self.console.print(line, markup=False)
            sys.stdout.flush()
            if self._log is not None:
                with self._log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
                    stream.write(f"{line}\n")

    @contextmanager
    def bar(self, title: str) -> Iterator[Report]:
        """A progress bar for the block; call what it yields with (done, total, values)."""
        with self.bars(title) as (report,):
            yield report

    @contextmanager
    def bars(self, *titles: str) -> Iterator[tuple[Report, ...]]:
        """One progress bar a title, each shown from its first call on."""
        if self.quiet:
            yield tuple(silent for _ in titles)
        elif self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
            )
            with Progress(*columns, console=self.console) as progress:
                yield tuple(_Bar(progress, title) for title in titles)
        else:
            yield tuple(_LogLines(self, title) for title in titles)


class _Bar:
    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, values: Mapping[str, float]) -> None:
        if self._task is None:
            self._task = self._progress.add_task(self._title, total=total, values="")
        self._progress.update(self._task, completed=done, total=total, values=_shown(values))


class _LogLines:
    def __init__(self, terminal: Terminal, title: str) -> None:
        self._terminal, self._title = terminal, title
        self._started = self._last = 0.0

    def __call__(self, done: int, total: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if not self._started:
            self._started = self._last = now
        if now - self._last < LOG_EVERY_SECONDS and done < total:
            return
        if done >= total and now - self._started < 1:
            return
        self._last = now
        seconds = now - self._started
        self._terminal.say(f"  {self._title}: {done}/{total}, {seconds:.0f} s  {_shown(values)}".rstrip())


def _shown(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
