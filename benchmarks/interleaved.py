"""Two ways to do one thing, timed in turns: the ratio of neighbours in time, with its bootstrap interval.

Block medians on a shared machine spread several times as much as the ratios of interleaved pairs do.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """How many times as fast ours is: median of the pairs and a 90% interval."""

    name: str
    ratio: float
    low: float
    high: float
    ours_seconds: float
    theirs_seconds: float
    pairs: int

    def report(self, target: float, **facts: object) -> str:
        """One JSON line; the verdict is "unresolved" where the interval straddles the target."""
        verdict = "met" if self.low >= target else "missed" if self.high < target else "unresolved"
        line = {
            "comparison": self.name,
            "ratio": round(self.ratio, 2),
            "interval90": [round(self.low, 2), round(self.high, 2)],
            "target": target,
            "verdict": verdict,
            "pairs": self.pairs,
            "ours_seconds": round(self.ours_seconds, 5),
            "theirs_seconds": round(self.theirs_seconds, 5),
        }
        return json.dumps(line | facts)


def compare(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], *, pairs: int, warmup: int = 2
) -> Comparison:
    """Time ``ours`` and ``theirs`` in turns, after ``warmup`` untimed calls of each; who goes first alternates."""
    for _ in range(warmup):
        ours()
        theirs()
    seconds = np.empty((pairs, 2))
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            started = time.perf_counter()
            (ours, theirs)[side]()
            seconds[pair, side] = time.perf_counter() - started
    ratios = seconds[:, 1] / seconds[:, 0]
    chosen = np.random.default_rng(0).integers(0, pairs, (NUM_RESAMPLES, pairs))
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.05, 0.95])
    ours_median, theirs_median = np.median(seconds, axis=0)
    return Comparison(name, float(np.median(ratios)), float(low), float(high), ours_median, theirs_median, pairs)
