"""How fast a piece of work goes, and how long all of a job may still take."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self


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


class Pace:
    """The steps of a job: what each was expected to take, and what the finished ones took.

    Args:
        expected: seconds by step, in the order of building.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self._pending = {step: max(1.0, seconds) for step, seconds in expected.items()}
        self._count = len(self._pending)
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

        The estimates of what is to come are scaled by what the steps so far took, the running one among them.

        Args:
            of_step: seconds that the running step will still take.
        """
        if self._running not in self._pending:
            return None
        expected = self._expected + self._pending[self._running]
        scale = (self._took + time.monotonic() - self._started + of_step) / expected
        return of_step + scale * sum(seconds for step, seconds in self._pending.items() if step != self._running)
