"""The cache of views that are searched for: how it is filled, what was measured, and what is printed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from assimilate.graph.place import Place, Progress, Write
from assimilate.graph.step import Step
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import Equation3, FoundViews, InLatents
from assimilate.views.objective import spread_bound

_MEASURED = ("distances", "steps", "converged", "spread")
Search = Callable[[list[int], Callable[[FoundViews], None], Progress], None]
# Of each view, where they are found.
STRENGTHS = "strengths"


class SearchCache:
    """Views that are searched for, of images of a job's data set.

    Args:
        at: the job.
        equation: what was asked.
        search: finds the views of some images and hands them over as they are found.
    """

    def __init__(self, at: Place, equation: Equation3, search: Search) -> None:
        self._at, self._equation, self.search = at, equation, search

    @classmethod
    def in_latents(cls, at: Place, equation: InLatents, made_from: Step) -> "SearchCache":
        """Views that a generator makes of codes.

        Args:
            at: the job.
            equation: Eq. 3 and its solver.
            made_from: has the steps `generator`, `latents` and `reference`.
        """
        steps = made_from.parents

        def search(indices: list[int], emit: Callable[[FoundViews], None], progress: Progress) -> None:
            f = FrozenEmbedding.of(at.load(steps["reference"])).to(at.device)
            engine = equation.engine(at.load(steps["generator"]), f, device=at.device)
            engine.run(at.load(steps["latents"]), at.dataset.train.images, indices, emit, progress)

        return cls(at, equation, search)

    def again(
        self, indices: list[int], count: int, progress: Progress
    ) -> tuple[Float32[np.ndarray, "images count codes dim"], UInt8[np.ndarray, "images count 3 height width"]]:
        """Codes and pixels of the first views of some images, in the order of the images."""
        found: dict[int, FoundViews] = {}
        self.search(indices, lambda views: found.update({views.index: views}), progress)
        codes = np.stack([found[index].latents[:count].cpu().numpy() for index in indices])
        return codes, np.stack([found[index].images[:count].numpy() for index in indices])

    def fill(self, write: Write, indices: list[int], progress: Progress) -> None:
        """Write the views of some images with what was measured of them."""

        def emit(found: FoundViews) -> None:
            write(
                found.index,
                found.images,
                distances=found.distances.numpy(),
                distances_original=found.distances_original.numpy(),
                spread=np.asarray(found.spread, dtype=np.float32),
                steps=np.asarray(found.steps, dtype=np.int32),
                converged=np.asarray(found.converged, dtype=np.uint8),
                **({} if found.strengths is None else {STRENGTHS: found.strengths.numpy()}),
            )

        self.search(indices, emit, progress)

    @property
    def counted(self) -> str:
        """What an image's `steps` are: "steps", "forward passes an image"."""
        return self._equation.counted

    @property
    def doubts(self) -> list[str]:
        """Why no anchor can converge, or all of them have before the first step."""
        return list(self._equation.doubts())

    def summarize(self, folder: Path) -> dict[str, Any]:
        """Statistics of a finished cache, which are printed, too."""
        equation, epsilon1 = self._equation, self._equation.epsilon1
        arrays = {name: np.load(folder / f"{name}.npy") for name in _MEASURED}
        distances, spread = (arrays[name].astype(np.float64) for name in ("distances", "spread"))
        total, boundary = equation.stored_losses(distances, spread)
        within = equation.within(distances, spread)
        rms = float(np.sqrt(boundary.mean()))
        summary = {
            "anchor": equation.anchor,
            "epsilon1": epsilon1,
            "epsilon2": equation.epsilon2 if equation.uniformity_weight > 0 else None,
            "distance_mean": float(arrays["distances"].mean()),
            "distance_std": float(arrays["distances"].std()),
            "loss_mean": None if total is None else float(total.mean()),
            "boundary_rms": rms,
            "boundary_rms_relative": rms / epsilon1 if epsilon1 > 0 else None,
            "spread_mean": float(arrays["spread"].mean()),
            "spread_bound": spread_bound(epsilon1, equation.num_views),
            "steps_mean": float(arrays["steps"].mean()),
            "capped_share": float(1 - arrays["converged"].mean()),
            "stored_share": None if within is None else float(within.mean()),
            "converged_asked": equation.asks_convergence,
        }
        if (folder / f"{STRENGTHS}.npy").exists():
            summary["strength_median"] = float(np.median(np.load(folder / f"{STRENGTHS}.npy")))
        self._report(summary)
        return summary

    def _report(self, summary: Mapping[str, Any]) -> None:
        say, share = self._at.say, summary["boundary_rms_relative"]
        of_epsilon1 = "" if share is None else f", {100 * share:.1f}% of ε1"
        say(
            f"  distance to the anchor {summary['distance_mean']:.4f} ± {summary['distance_std']:.4f} for ε1 = "
            f"{summary['epsilon1']:.4f} (rms error {summary['boundary_rms']:.4f}{of_epsilon1}), "
            f"{summary['steps_mean']:.3g} {self._equation.counted} on average"
        )
        if "strength_median" in summary:
            say(f"  median strength of the views {summary['strength_median']:.4g}")
        if self._equation.num_views > 1:
            say(
                f"  mean distance between the views of an image {summary['spread_mean']:.4f}; "
                f"its bound ε1·√(2n/(n−1)) is {summary['spread_bound']:.4f}"
            )
        if summary["converged_asked"] and summary["capped_share"] > 0:
            say(f"  {100 * summary['capped_share']:.1f}% of the anchors {self._equation.missed}")
        if summary["converged_asked"] and summary["stored_share"] is not None:
            say(
                f"  {100 * summary['stored_share']:.1f}% of the anchors are within the tolerance once their views are "
                "rounded to 8 bits and stored"
            )
