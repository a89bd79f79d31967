"""W-search on tensors: codes in, all their views out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.place import Progress, silent
from assimilate.views.calibration_step import usual_epsilon2
from assimilate.views.embedding import FrozenEmbedding, to_pixels
from assimilate.views.equation3 import FoundViews
from assimilate.views.search import SearchEngine, SearchSettings


@dataclass(frozen=True)
class SearchedViews:
    """The views of N anchors, on the CPU, in the order of the anchors.

    Attributes:
        images: uint8 [N, n, 3, height, width].
        latents: float32 [N, n, codes, dim], before truncation.
        distances: float32 [N, n], of the stored uint8 images to the anchor as f sees them, 0 to 2.
        distances_original: likewise to the images given, or to the reconstruction where none were.
        spread: float32 [N], mean distance between the views of an anchor; 0 for one view.
        steps: int64 [N], solver steps.
        converged: bool [N], whether the tolerance was reached.
    """

    images: UInt8[Tensor, "anchors views 3 height width"]
    latents: Float[Tensor, "anchors views codes dim"]
    distances: Float[Tensor, "anchors views"]
    distances_original: Float[Tensor, "anchors views"]
    spread: Float[Tensor, " anchors"]
    steps: Int64[Tensor, " anchors"]
    converged: Bool[Tensor, " anchors"]

    @classmethod
    def stacked(cls, found: Sequence[FoundViews]) -> "SearchedViews":
        """The views of anchors, one after the other."""
        return cls(
            images=torch.stack([views.images for views in found]),
            latents=torch.stack([views.latents for views in found]),
            distances=torch.stack([views.distances for views in found]),
            distances_original=torch.stack([views.distances_original for views in found]),
            spread=torch.tensor([views.spread for views in found]),
            steps=torch.tensor([views.steps for views in found]),
            converged=torch.tensor([views.converged for views in found]),
        )


def search_views(
    generator: LatentGenerator,
    f: FrozenEmbedding,
    codes: Float[Tensor, "anchors codes dim"],
    images: UInt8[Tensor, "anchors 3 height width"] | None = None,
    *,
    epsilon1: float,
    epsilon2: float | None = None,
    device: str = "cpu",
    progress: Progress = silent,
    **settings: Any,
) -> SearchedViews:
    """W-search (Section 3.1, Eq. 3): views of each anchor that f sees at distance ε1 from it and ε2 from each other.

    Args:
        generator: synthesises images in about [−1, 1] from W+ codes.
        f: see `FrozenEmbedding.of`.
        codes: of the anchors, [N, codes, dim], before truncation.
        images: the anchors' own images, uint8 [N, 3, height, width]; None takes their reconstructions.
        epsilon1: wanted distance to the anchor, 0 to 2; `measure_epsilon1` measures that of the expert views.
        epsilon2: wanted mean distance among the views, 0 to 2; None is 5/3·ε1.
        device: where to compute, e.g. "cuda"; generator and codes are moved there.
        progress: called as anchors are finished.
        settings: others of `SearchSettings`, e.g. num_views=8, iterations=1000, tolerance_relative=0.05.

    Raises:
        ValueError: an image that the generator makes is not finite, or the shapes do not fit.
        TypeError: a setting that there is not.
    """
    needed = (generator.num_codes, generator.latent_dim)
    if codes.ndim != 3 or tuple(codes.shape[1:]) != needed:
        raise ValueError(f"codes are {list(codes.shape)}; the generator's are [N, {needed[0]}, {needed[1]}]")
    if len(codes) == 0:
        raise ValueError("codes are of no anchor; give at least one")
    if isinstance(generator, torch.nn.Module):
        generator = generator.to(device)
    codes = codes.detach()
    if images is None:
        with torch.no_grad():
            images = torch.cat([to_pixels(generator.synthesize(some.to(device))).cpu() for some in codes.split(64)])
    elif len(images) != len(codes):
        raise ValueError(f"there are {len(images)} images for the codes of {len(codes)} anchors")
    epsilon2 = usual_epsilon2(epsilon1) if epsilon2 is None else epsilon2
    settings.setdefault("width", min(SearchSettings.width, len(codes)))
    engine = SearchEngine(generator, f, SearchSettings(epsilon1=epsilon1, epsilon2=epsilon2, **settings), device=device)
    found: dict[int, FoundViews] = {}
    anchors = range(len(codes))
    engine.run(
        codes.cpu().numpy(), images.cpu().numpy(), anchors, lambda views: found.update({views.index: views}), progress
    )
    return SearchedViews.stacked([found[index] for index in anchors])
