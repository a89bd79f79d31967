"""Differences from the baseline, paired over training seeds."""

import functools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from assimilate.pages.numbers import signed
from assimilate.pages.run import Run

LEVEL, NUM_RESAMPLES, BOOTSTRAP_SEED = 0.95, 10_000, 0
ROUNDING = 1e-9
PAIRED_NOTE = (
    "Δ is the difference from the baseline, two expert views of the same images with the same recipe and seed: its "
    f"mean over the n seeds that both have, the {LEVEL:.0%} percentile interval of {NUM_RESAMPLES:,} bootstrap "
    "resamples, and * where p < .05 in a paired t-test, by Holm's method for all rows of the table. With few seeds the "
    "interval is too narrow: with two or three it runs from the smallest difference to the largest."
)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Paired:
    """Ours minus the baseline's, over the seeds that both have.

    Attributes:
        mean: of the differences.
        seeds: of training; n of them.
        low, high: the bootstrap interval of the mean; None of a single seed.
        p: of a two-sided paired t-test, by itself; None of a single seed, or of differences that are all equal.
        p_holm: the same for the whole table (Holm, 1979).
        baseline: what the runs go by that it is the difference from.
    """

    mean: float
    seeds: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    baseline: str = ""

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.seeds)

    def text(self, decimals: int) -> str:
        """ "+1.20 [+0.80, +1.61] (10)", with "*" where p < .05; "+1.20 (1)" of a single seed."""
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" [{signed(self.low, decimals)}, {signed(self.high, decimals)}]"
        star = "*" if self.p_holm is not None and self.p_holm < 0.05 else ""
        return f"{signed(self.mean, decimals)}{star}{interval} ({self.n})"


def elsewhere(rows: Iterable[tuple[bool, Mapping[str, Paired]]]) -> str:
    """Which baseline a table's differences are from, where none of its rows is one; else "".

    Args:
        rows: of each row whether it is a baseline, and its differences.
    """
    rows = list(rows)
    names = dict.fromkeys(found.baseline for _, paired in rows for found in paired.values())
    if not names or any(is_baseline for is_baseline, _ in rows):
        return ""
    return f"the difference from {'; '.join(names)}, which stands in another table"


class Baselines:
    """The runs that others are compared with, by what they were measured by.

    Args:
        runs: all that were found.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._by_probe = {run.probe: run for run in runs if run.probe is not None}

    def of(self, run: Run) -> Run | None:
        """The one that a run is compared with."""
        return self._by_probe.get(run.paired_with or "")

    def differences(self, groups: Mapping[Key, Sequence[Run]]) -> dict[tuple[Key, str], Paired]:
        """Of each group of runs that differ in their seed, the difference in each metric.

        Args:
            groups: the rows of one table, to all of which p is adjusted, for each metric by itself.
        """
        found: dict[tuple[Key, str], Paired] = {}
        for key, runs in groups.items():
            pairs = [(run, self.of(run)) for run in runs]
            known = [(run, other) for run, other in pairs if other is not None and other.probe != run.probe]
            baseline = ", ".join(dict.fromkeys(other.setting for _, other in known))
            for name in dict.fromkeys(name for run, _ in known for name in run.metrics):
                values = {
                    run.place.seed: run.metrics[name].mean - other.metrics[name].mean
                    for run, other in known
                    if name in run.metrics and name in other.metrics
                }
                if values:
                    found[key, name] = replace(paired(values), baseline=baseline)
        for name in {name for _, name in found}:
            column = {key: value for key, value in found.items() if key[1] == name and value.p is not None}
            adjusted = holm([value.p for value in column.values() if value.p is not None])
            found |= {key: replace(column[key], p_holm=p) for key, p in zip(column, adjusted, strict=True)}
        return found


def paired(differences: Mapping[int, float]) -> Paired:
    """Mean, interval and p of differences by seed."""
    seeds = tuple(sorted(differences))
    values = np.array([differences[seed] for seed in seeds])
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Paired(mean, seeds)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(_resamples(len(values)) @ values, [tail, 1 - tail])
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    # Accuracies are means of floats, of at most 100: what is smaller than their rounding is no spread.
    p = None if error < ROUNDING else t_test(mean / error, len(values) - 1)
    return Paired(mean, seeds, float(low), float(high), p)


@functools.lru_cache(maxsize=64)
def _resamples(n: int) -> NDArray[np.float64]:
    """The weights of n values in the means of resamples with replacement, [resamples, n]: the same in every table."""
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(0, n, (NUM_RESAMPLES, n))
    return np.stack([(drawn == value).sum(1) for value in range(n)], axis=1) / n


def t_test(t: float, freedom: int) -> float:
    """Two-sided p of Student's t with a whole number of degrees of freedom (Abramowitz & Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * cosine**2
    within = (2 / math.pi) * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return min(1.0, max(0.0, 1 - within))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the order of the given ones."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
