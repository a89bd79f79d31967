"""What a user sees while it runs: a bar on a terminal, a line now and then in a log, and how long it may still take."""

import math
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from assimilate.graph.cost import duration
from assimilate.graph.place import Progress, silent

# Seconds between two lines where there is no terminal to draw a bar on.
LOG_EVERY_SECONDS = 60.0
# Up to so many pieces, the first one already tells how long the others will take.
SMALL = 100
# What a line holds that is there to be copied into a shell.
COMMAND = "python -m "
# Columns from which a bar has room to be long.
WIDE = 100


def wrapped(text: str, indent: int, width: int = 80) -> list[str]:
    """Text in lines of so many columns, each word whole."""
    after = " " * indent
    return textwrap.wrap(text, width, subsequent_indent=after, break_long_words=False, break_on_hyphens=False)


def fitted(line: str, width: int) -> list[str]:
    """A line in lines of a terminal, each word whole.

    What is to be copied stays in one piece: a terminal breaks it, and copies it whole.
    """
    is_copied = COMMAND in line or max(map(len, line.split()), default=0) >= width
    return [line] if is_copied or len(line) <= width else wrapped(line, len(line) - len(line.lstrip()), width)


def to_stderr(text: str) -> None:
    """Print text, of one line or more, to standard error; on a terminal no word is broken."""
    console = Console(stderr=True)
    if console.is_terminal:
        text = "\n".join(part for line in text.split("\n") for part in fitted(line, console.width))
    print(text, file=sys.stderr, flush=True)


class Meter:
    """The rate of one piece of work over its last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=30)
        self.started = time.monotonic()

    def rate(self, done: int) -> float | None:
        """Units a second; None until it can be estimated."""
        now = time.monotonic()
        if not self._seen or now - self._seen[-1][0] >= 1:
            self._seen.append((now, done))
        then, before = self._seen[0]
        return (done - before) / (now - then) if now - then >= 0.5 and done > before else None


# Share of the expected whole that what was seen has to outweigh.
TRUST = 0.1


class Pace:
    """The steps of a job: what each was expected to take, and what the finished ones took.

    Args:
        expected: seconds by step, in the order of building.
        afterwards: seconds of what follows them, which is no step.
    """

    def __init__(self, expected: Mapping[str, float], *, afterwards: float = 0.0) -> None:
        self._pending = {step: max(1.0, seconds) for step, seconds in expected.items()}
        self._count, self._afterwards = len(self._pending), afterwards
        self._trust = TRUST * (sum(self._pending.values()) + afterwards)
        self._running, self._started = "", 0.0
        self._expected = self._took = 0.0

    def begin(self, step: str) -> None:
        """A step is being built."""
        self._running, self._started = step, time.monotonic()

    def end(self, step: str) -> None:
        """A step is finished, built here or by another process."""
        expected = self._pending.pop(step, None)
        if expected is not None and step == self._running:
            self._expected, self._took = self._expected + expected, self._took + time.monotonic() - self._started

    def handed_over(self) -> dict[str, Any]:
        """For a child of this process, on this machine, whose clock is the same; `taken_over` reads it."""
        return vars(self)

    @classmethod
    def taken_over(cls, values: Mapping[str, Any]) -> Self:
        """What the parent handed over."""
        pace = cls({})
        vars(pace).update(values)
        return pace

    @property
    def position(self) -> str:
        """ "3/7", of the step that is being built; empty where there is but one."""
        return f"{self._count - len(self._pending) + 1}/{self._count}" if self._count > 1 and self._pending else ""

    def left(self, of_step: float) -> float | None:
        """Seconds that the whole job may still take.

        The estimates of what is to come are scaled by what was done so far, and how long it took. Little that was done
        says little of the rest: a tenth of the whole counts as if it had taken what was expected.

        Args:
            of_step: seconds that the running step will still take.
        """
        if self._running not in self._pending:
            return None
        spent = time.monotonic() - self._started
        share = spent / (spent + of_step) if spent else 0.0
        expected = self._trust + self._expected + share * self._pending[self._running]
        scale = (self._trust + self._took + spent) / expected
        others = sum(seconds for step, seconds in self._pending.items() if step != self._running)
        return of_step + scale * (others + self._afterwards)


class Terminal:
    """Prints for one job. A rank other than 0 stays silent.

    Args:
        quiet: print nothing but errors.
        log: a file that every line is added to as well.
        turn: which job of a multirun this is, "3/27".
    """

    def __init__(self, *, quiet: bool = False, log: Path | None = None, turn: str = "") -> None:
        self.quiet = quiet
        self.turn = turn
        self.pace = Pace({})
        self._log = log
        self._next_line = time.monotonic() + LOG_EVERY_SECONDS
        self.console = Console(quiet=quiet, soft_wrap=True, highlight=False)

    def say(self, line: str) -> None:
        """Print one line; on a terminal, prose that is too long for it ends between words."""
        if not self.quiet:
            for part in self._parts(line):
                self.console.print(part, markup=False)
            sys.stdout.flush()
            if self._log is not None:
                with self._log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
                    stream.write(f"{line}\n")

    def _parts(self, line: str) -> list[str]:
        return fitted(line, self.console.width) if self.console.is_terminal else [line]

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """A progress bar for the block; call what it yields with (done, total, values)."""
        bar = _Bar(title, self)
        if self.quiet:
            yield silent
        elif self.console.is_terminal:
            with Live(bar, console=self.console, refresh_per_second=4):
                yield bar.update
                bar.ended = True
        else:
            yield bar.told

    def line_is_due(self) -> bool:
        """Whether a minute has passed since the last line about progress; the next minute begins now if so."""
        now = time.monotonic()
        if now < self._next_line:
            return False
        self._next_line = now + LOG_EVERY_SECONDS
        return True


class _Bar:
    """The state of one piece of work, as one line of any width, with a line about the whole job below it."""

    def __init__(self, title: str, terminal: Terminal) -> None:
        self._title, self._terminal, self._meter = title, terminal, Meter()
        self._done = self._total = 0
        self._rate: float | None = None
        self._values: Mapping[str, float] = {}
        self.ended = False

    def update(self, done: int, total: int, values: Mapping[str, float]) -> None:
        self._done, self._total, self._values = done, total, values or self._values
        # One of very many, which may have waited for the start of all, tells nothing of the rest.
        self._rate = None if done == 1 and total > SMALL else self._meter.rate(done)

    def told(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """`update`, and a line a minute."""
        self.update(done, total, values)
        if self._terminal.line_is_due():
            parts = [self._counts, self._speed, self._time, self._whole_job, self._shown]
            self._terminal.say(f"  {self._title}: {', '.join(part for part in parts if part)}")

    @property
    def _counts(self) -> str:
        return f"{self._done:,}/{self._total:,}"

    @property
    def _speed(self) -> str:
        if self._rate is None:
            return ""
        return (
            f"{self._rate:,.{0 if self._rate >= 10 else 1}f}/s" if self._rate >= 1 else f"{1 / self._rate:.1f} s each"
        )

    @property
    def _left(self) -> float | None:
        return None if self._rate is None else (self._total - self._done) / self._rate

    @property
    def _time(self) -> str:
        if self._done >= self._total:
            return f"in {duration(time.monotonic() - self._meter.started)}"
        return "" if self._left is None else f"{duration(self._left)} left"

    @property
    def _whole_job(self) -> str:
        pace, turn = self._terminal.pace, self._terminal.turn
        left = None if self._left is None else pace.left(self._left)
        parts = [turn and f"job {turn}", pace.position and f"step {pace.position}"]
        parts.append("" if left is None or not pace.position else f"about {duration(left)} left in all")
        return " · ".join(part for part in parts if part)

    @property
    def _shown(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._values.items())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        line = self._line(width, *("=-" if options.ascii_only else "━─")) if self._total else Text(self._title)
        yield _cut(line, width)
        if self._whole_job and not self.ended:
            yield _cut(Text(f"  {self._whole_job}", style="dim"), width)

    def _line(self, width: int, full: str, empty: str) -> Text:
        length = 24 if width >= WIDE else 10
        filled = math.floor(length * min(1.0, self._done / self._total))
        numbers = "  ".join(part for part in (self._counts, self._speed, self._time) if part)
        title = Text(self._title)
        title.truncate(max(12, min(width // 3, width - length - len(numbers) - 5)), overflow="ellipsis")
        return Text.assemble(
            title,
            " ",
            (full * filled, "green" if self._done >= self._total else "magenta"),
            (empty * (length - filled), "dim"),
            f"  {numbers}  ",
            (self._shown, "cyan"),
        )


def _cut(text: Text, width: int) -> Text:
    text.no_wrap = True
    text.truncate(width, overflow="ellipsis")
    return text
