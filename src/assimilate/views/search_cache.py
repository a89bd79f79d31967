"""The cache of a W-search: how it is filled, what was measured of them, and what the user is told."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from assimilate.graph.place import Place
from assimilate.graph.progress import Progress
from assimilate.graph.rows import Write
from assimilate.graph.step import Step
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.objective import least_loss, spread_bound
from assimilate.views.search import FoundViews, SearchEngine, SearchSettings

_MEASURED = ("distances", "steps", "converged", "spread")


class SearchCache:
    """W-search for images of a job's data set.

    Args:
        at: the job.
        generator, reference, latents: the steps that it is made from.
        settings: those of `SearchSettings`.
    """

    def __init__(
        self, at: Place, *, generator: Step, reference: Step, latents: Step, settings: Mapping[str, Any]
    ) -> None:
        self._at = at
        self._generator, self._reference, self._latents = generator, reference, latents
        self.settings = SearchSettings(**settings)

    def search(self, indices: list[int], emit: Callable[[FoundViews], None], progress: Progress) -> None:
        """The views of some images, handed over as they are found."""
        at = self._at
        f = FrozenEmbedding.of(at.load(self._reference)).to(at.device)
        SearchEngine(at.load(self._generator), f, self.settings, device=at.device).run(
            at.load(self._latents), at.dataset.train.images, indices, emit, progress
        )

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
            )

        self.search(indices, emit, progress)

    def foretell_capping(self) -> None:
        """Say so if no anchor can converge, or all of them have before the first step."""
        settings, say = self.settings, self._at.say
        epsilon1, tolerance, num_views = settings.epsilon1, settings.tolerance, settings.num_views
        least = least_loss(epsilon1, settings.epsilon2, settings.uniformity_weight, num_views)
        if tolerance is not None and least > tolerance:
            say(
                f"  warning: no anchor can converge: at distance ε1 of it {num_views} views spread to "
                f"{spread_bound(epsilon1, num_views):.4f} at most, ε2 asks for {settings.epsilon2:.4f}, so the loss "
                f"stays above {least:.2g} and view.search.tolerance={tolerance:g} is never met: every anchor takes all "
                "view.search.iterations. A smaller view.epsilon2 or view.lambda helps"
            )
        if tolerance is not None and settings.tolerance_relative is None and 0 < epsilon1**2 <= tolerance:
            say(
                f"  warning: view.search.tolerance={tolerance:g} lets views stay at the anchor: ε1 off by a square of "
                f"{epsilon1**2:.2g}. A smaller view.search.tolerance, or view.search.tolerance_relative=0.05, helps"
            )

    def summarize(self, folder: Path) -> dict[str, Any]:
        """What the arrays of a finished cache say; the user is told."""
        settings, epsilon1 = self.settings, self.settings.epsilon1
        arrays = {name: np.load(folder / f"{name}.npy") for name in _MEASURED}
        rms = float(np.sqrt(np.mean((arrays["distances"].astype(np.float64) - epsilon1) ** 2)))
        summary = {
            "anchor": settings.anchor,
            "epsilon1": epsilon1,
            "epsilon2": settings.epsilon2,
            "distance_mean": float(arrays["distances"].mean()),
            "distance_std": float(arrays["distances"].std()),
            "boundary_rms": rms,
            "boundary_rms_relative": rms / epsilon1 if epsilon1 > 0 else None,
            "spread_mean": float(arrays["spread"].mean()),
            "spread_bound": spread_bound(epsilon1, settings.num_views),
            "steps_mean": float(arrays["steps"].mean()),
            "capped_share": float(1 - arrays["converged"].mean()),
            "stored_share": self._stored_share(arrays),
            "converged_asked": settings.tolerance is not None or settings.tolerance_relative is not None,
        }
        self._report(summary)
        return summary

    def _stored_share(self, arrays: Mapping[str, Any]) -> float | None:
        """Share of anchors whose stored views, 8 bits deep, are within the tolerance; None where that is not known."""
        settings, weight = self.settings, self.settings.uniformity_weight
        if settings.hinge == "view" and weight > 0:  # needs the mean distances of single views, which are not kept
            return None
        boundary = ((arrays["distances"].astype(np.float64) - settings.epsilon1) ** 2).mean(axis=1)
        spread = arrays["spread"].astype(np.float64)
        uniformity = np.maximum(0, settings.epsilon2 - spread) if settings.num_views > 1 else 0
        within = np.ones(len(boundary), dtype=bool)
        if settings.tolerance is not None:
            within &= boundary + weight * uniformity <= settings.tolerance
        if settings.tolerance_relative is not None:
            within &= np.sqrt(boundary) <= settings.tolerance_relative * settings.epsilon1
        return float(within.mean())

    def _report(self, summary: Mapping[str, Any]) -> None:
        say, share = self._at.say, summary["boundary_rms_relative"]
        of_epsilon1 = "" if share is None else f", {100 * share:.1f}% of ε1"
        say(
            f"  distance to the anchor {summary['distance_mean']:.4f} ± {summary['distance_std']:.4f} for ε1 = "
            f"{summary['epsilon1']:.4f} (rms error {summary['boundary_rms']:.4f}{of_epsilon1}), "
            f"{summary['steps_mean']:.0f} steps on average"
        )
        if self.settings.num_views > 1:
            say(
                f"  mean distance between the views of an image {summary['spread_mean']:.4f}; "
                f"its bound ε1·√(2n/(n−1)) is {summary['spread_bound']:.4f}"
            )
        if summary["converged_asked"] and summary["capped_share"] > 0:
            say(
                f"  {100 * summary['capped_share']:.1f}% of the anchors used up view.search.iterations without "
                "reaching the tolerance; their views are kept as they are"
            )
        if summary["converged_asked"] and summary["stored_share"] is not None:
            say(
                f"  {100 * summary['stored_share']:.1f}% of the anchors are within the tolerance as their views are "
                "stored, rounded to 8 bits; the search judges before rounding"
            )
