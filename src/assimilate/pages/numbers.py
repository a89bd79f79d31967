"""Means over training seeds, hours, and how each is written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOTHING = "–"
MINUS = "−"


@dataclass(frozen=True)
class Spread:
    """Mean of `n` training runs and their sample standard deviation (divisor n − 1); None for a single run."""

    mean: float
    std: float | None
    n: int

    def text(self, decimals: int) -> str:
        """ "92.41 ± 0.12 (3)"; "92.41 (1)" for a single run."""
        std = "" if self.std is None else f" ± {self.std:.{decimals}f}"
        mean = f"{abs(self.mean):.{decimals}f}"
        sign = MINUS if self.mean < 0 and float(mean) else ""  # a bound of MINE can fall below 0
        return f"{sign}{mean}{std} ({self.n})"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation, two passes in float64.

    The divisor is n − 1: a few seeds stand for all that could have been drawn. (The spread over probe seeds in a
    metrics.json has the divisor n, as the paper's code computes it.)

    Raises:
        ValueError: no value.
    """
    if not values:
        raise ValueError("no value to average")
    n = len(values)
    mean = math.fsum(values) / n
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
    return Spread(mean, std, n)


@dataclass(frozen=True)
class PaperNumber:
    """A number as the paper prints it, digit by digit: "92.90", or "92.898" with the spread "0.045"."""

    mean: str
    std: str | None = None

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.mean)

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return len(self.mean.partition(".")[2])

    @property
    def text(self) -> str:
        """ "92.90" or "92.898 ± 0.045"."""
        return self.mean if self.std is None else f"{self.mean} ± {self.std}"


def signed(value: float, decimals: int) -> str:
    """ "+0.12", "−0.12" or, where it rounds to nothing, "0.00"."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def hours_text(seconds: float) -> str:
    """Hours with about three significant digits; two below one hour."""
    hours = seconds / 3600
    if hours >= 100:
        return f"{hours:,.0f}"
    if hours >= 1:
        return f"{hours:.{1 if hours >= 10 else 2}f}"
    if hours < 0.0005:
        return "<0.001" if hours > 0 else "0"
    return f"{hours:.{2 if hours >= 0.1 else 3}f}"


def shared_seconds(parts: Sequence[Mapping[str, float]]) -> float:
    """Seconds of several runs together, a stage that they share counted once.

    Args:
        parts: for each run, the seconds of every artifact that it is made of, by the artifact's label.
    """
    once: dict[str, float] = {}
    for part in parts:
        once.update(part)
    return math.fsum(once.values())
