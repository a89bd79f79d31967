"""Where on a line a distance is the wanted one: secant steps that stay inside a bracket, for many lines at once."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# The farthest that one step goes beyond the points known so far, as a multiple of the last t.
LARGEST_STRIDE = 4.0


class Secants:
    """For each line, a t in (0, reach] at which its distance d(t) is `wanted`, found by evaluating d alone.

    d is continuous and starts at d(0); nothing else is asked of it. Until two points lie on both sides of the wanted
    distance, the secant through the last two points extrapolates, by a factor of at most `LARGEST_STRIDE`. From then
    on every t lies strictly between the two ends of a bracket that only shrinks: false position, with the value of an
    end that stays twice in a row halved (the Illinois rule, Dowell & Jarratt 1971), which a linear d satisfies in one
    step. Arithmetic is float64 and that of a line does not depend on the others.

    Args:
        count: lines in flight.
        wanted: distance, > 0.
        tolerance: |d − wanted| ≤ tolerance·wanted counts as found.
        passes: most evaluations of a line, ≥ 1.

    Attributes:
        t: where each line is to be evaluated next, [count].
        passes: evaluations of each line so far, [count].
        found: lines whose last evaluation was within the tolerance, [count].
        over: lines that are done, found or not, [count]; a line is not before it is started.
    """

    def __init__(self, count: int, *, wanted: float, tolerance: float, passes: int) -> None:
        self._wanted, self._allowed, self._most = wanted, tolerance * wanted, passes
        self.t = np.zeros(count)
        self.passes = np.zeros(count, dtype=np.int64)
        self.found = np.zeros(count, dtype=bool)
        self.over = np.ones(count, dtype=bool)
        self._reach = np.ones(count)
        # The bracket: two points and how far d is from the wanted distance there; the second is NaN until it is known.
        self._near, self._near_gap = np.zeros(count), np.zeros(count)
        self._far, self._far_gap = np.full(count, np.nan), np.full(count, np.nan)
        self._stayed = np.zeros(count, dtype=np.int64)  # −1: the near end moved last, 1: the far one, 0: neither

    def start(self, line: int | slice, guess: float, *, at_zero: float, reach: float) -> None:
        """Begin a line.

        Args:
            line: which; a slice begins several.
            guess: the first t, above 0.
            at_zero: d(0).
            reach: the largest t.
        """
        self.t[line] = min(guess, reach)
        self.passes[line] = 0
        self.found[line] = self.over[line] = False
        self._reach[line] = reach
        self._near[line], self._near_gap[line] = 0.0, at_zero - self._wanted
        self._far[line] = self._far_gap[line] = np.nan
        self._stayed[line] = 0

    def tell(self, distances: NDArray[np.float64]) -> None:
        """Take d(t) of every line, [count]; those that are over are not looked at. What is not finite is too far."""
        active = ~self.over
        gap = np.where(np.isfinite(distances), distances - self._wanted, np.inf)
        self.passes += active
        self.found = np.where(active, np.abs(gap) <= self._allowed, self.found)
        open_ended = np.isnan(self._far)
        crossed = np.sign(gap) != np.sign(self._near_gap)
        # Nothing lies beyond the reach; what starts too far and stays so has no crossing to be bracketed.
        lost = open_ended & ~crossed & (gap < 0) & (self.t >= self._reach)
        beyond = self._extrapolated(gap)  # from the last two points, so before they are narrowed
        inside = self._interpolated(gap, open_ended, crossed, active)
        following = np.where(open_ended & ~crossed, beyond, inside)
        self.over |= active & (self.found | lost | (self.passes >= self._most))
        self.t = np.where(active & ~self.over, following, self.t)

    def run(self, evaluate: Callable[[Tensor], tuple[Tensor, ...]], *, to_the_end: bool = False) -> tuple[Tensor, ...]:
        """Evaluate all lines at once, again and again, until all are over.

        Args:
            evaluate: takes t, float64 [count], and gives d(t), float64 [count] on the CPU, and what else is kept of it.
            to_the_end: go on for as many passes as a line may take, as ranks do that keep in step.

        Returns:
            Of the best point of each line: how far d is from the wanted distance (∞ where no d was finite), t, d, and
            what else `evaluate` gave.
        """
        best: tuple[Tensor, ...] = ()
        for _ in range(self._most):
            if self.over.all() and not to_the_end:
                break
            t, running = torch.from_numpy(self.t.copy()), torch.from_numpy(~self.over)
            distances, *others = evaluate(t)
            error = (distances - self._wanted).abs().nan_to_num(torch.inf, posinf=torch.inf)
            better = running & (error < best[0]) if best else running
            now = (error, t, distances, *others)
            best = tuple(_where(better.to(new.device), new, old) for new, old in zip(now, best or now, strict=True))
            self.tell(distances.numpy())
        return best

    def _extrapolated(self, gap: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the secant through the last two points, both on one side, reaches the wanted distance."""
        behind, behind_gap = self._near, self._near_gap
        with np.errstate(divide="ignore", invalid="ignore"):
            secant = self.t - gap * (self.t - behind) / (gap - behind_gap)
        farthest = LARGEST_STRIDE * self.t
        onward = np.where(np.isfinite(secant) & (secant > self.t), np.minimum(secant, farthest), farthest)
        # Too far from the start: back towards it.
        return np.where(gap > 0, self.t / 2, np.minimum(onward, self._reach))

    def _interpolated(
        self,
        gap: NDArray[np.float64],
        open_ended: NDArray[np.bool_],
        crossed: NDArray[np.bool_],
        active: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Inside the bracket, which the last point has narrowed."""
        far_moves = active & crossed  # the point lies across from the near end: it is the new far one
        near_moves = active & ~crossed & ~(open_ended & (gap > 0))
        near_gap = np.where(far_moves & (self._stayed == 1), self._near_gap / 2, self._near_gap)
        far_gap = np.where(near_moves & (self._stayed == -1), self._far_gap / 2, self._far_gap)
        self._near = np.where(near_moves, self.t, self._near)
        self._near_gap = np.where(near_moves, gap, near_gap)
        self._far = np.where(far_moves, self.t, self._far)
        self._far_gap = np.where(far_moves, gap, far_gap)
        self._stayed = np.where(far_moves, 1, np.where(near_moves & ~open_ended, -1, self._stayed))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self._near_gap / (self._near_gap - self._far_gap)
        # An end that is not finite says nothing of how far it is; rounding must not put the point onto an end.
        share = np.where(np.isfinite(share) & (share > 0) & (share < 1) & np.isfinite(self._far_gap), share, 0.5)
        return self._near + np.clip(share, 0.01, 0.99) * (self._far - self._near)


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)
