"""Eq. 3: how far the views of an anchor are from where they should be."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Hinge = Literal["image", "view"]
# The uniformity term of each anchor, by the mean distances of its views to the others, ε2 and the hinge.
HINGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "image": lambda to_others, epsilon2: (epsilon2 - to_others.mean(dim=1)).clamp_min(0),
    "view": lambda to_others, epsilon2: (epsilon2 - to_others).clamp_min(0).mean(dim=1),
}
# Those that the mean distance between the views of an anchor decides.
OF_THE_MEAN = frozenset({"image"})


@dataclass(frozen=True)
class SearchLoss:
    """Eq. 3 for each anchor, with its parts: `total` = `boundary` + λ·`uniformity`."""

    total: Float[Tensor, " anchors"]
    boundary: Float[Tensor, " anchors"]
    uniformity: Float[Tensor, " anchors"]
    distances: Float[Tensor, "anchors views"]


def pairwise_distances(views: Float[Tensor, "anchors views dim"]) -> Float[Tensor, "anchors views views"]:
    """‖h_j − h_k‖ between the views of each anchor; gradients are finite, and 0 where two views coincide."""
    return torch.linalg.vector_norm(views[:, :, None] - views[:, None], dim=-1)


def search_loss(
    views: Float[Tensor, "anchors views dim"],
    anchors: Float[Tensor, "anchors dim"],
    *,
    epsilon1: float,
    epsilon2: float,
    uniformity_weight: float,
    hinge: Hinge = "image",
    at_anchor: Bool[Tensor, "anchors views"] | None = None,
) -> SearchLoss:
    """Eq. 3 for every anchor on its own.

    Args:
        views: f(g(w_k)), norm 1.
        anchors: f of the reconstruction or of the original, norm 1.
        epsilon1: wanted distance to the anchor.
        epsilon2: wanted mean distance among the views.
        uniformity_weight: λ.
        hinge: "image": (ε2 − d̄)⁺ with d̄ over all pairs (Eq. 3); "view": mean over views of (ε2 − m_k)⁺, m_k the mean
            distance of view k to the others (the reference code).
        at_anchor: views that are their anchor. What is measured between them, or to the anchor, is rounding, and the
            norm has no derivative at 0: its gradient is taken as 0, so that the other terms alone move such a view.

    With one view there are no pairs, and the uniformity term is 0.
    """
    distances = torch.linalg.vector_norm(views - anchors[:, None], dim=-1)
    if at_anchor is not None:
        distances = torch.where(at_anchor, distances.detach(), distances)
    boundary = (distances - epsilon1).square().mean(dim=1)
    num_views = views.shape[1]
    if num_views == 1:
        uniformity = torch.zeros_like(boundary)
    else:
        pairs = pairwise_distances(views)
        if at_anchor is not None:
            pairs = torch.where(at_anchor[:, :, None] & at_anchor[:, None], pairs.detach(), pairs)
        uniformity = HINGES[hinge](pairs.sum(dim=2) / (num_views - 1), epsilon2)
    return SearchLoss(boundary + uniformity_weight * uniformity, boundary, uniformity, distances)


def spread_bound(epsilon1: float, num_views: int) -> float:
    """Largest mean distance among n points at distance ε1 of an anchor: ε1·√(2n/(n−1)), attained by a simplex.

    Σ‖h_j − h_k‖² = n·Σ‖h_j − h̄‖²·2 ≤ 2n²·ε1² over ordered pairs, then Jensen. An ε2 above it never clears its hinge.
    """
    if num_views < 2:
        return 0.0
    return epsilon1 * math.sqrt(2 * num_views / (num_views - 1))


def least_loss(epsilon1: float, epsilon2: float, uniformity_weight: float, num_views: int) -> float:
    """A value that Eq. 3 is never below: 0, unless ε2 exceeds `spread_bound`.

    Views at root mean square distance r lose at least (r − ε1)² and spread to at most r·√(2n/(n−1)); the least of
    (r − ε1)² + λ·(ε2 − r·√(2n/(n−1)))⁺ over r is that of a simplex. A tolerance below it is never met.
    """
    if num_views < 2:
        return 0.0
    stretch = math.sqrt(2 * num_views / (num_views - 1))
    if epsilon2 <= stretch * epsilon1:
        return 0.0
    radius = min(epsilon1 + uniformity_weight * stretch / 2, epsilon2 / stretch)
    return (radius - epsilon1) ** 2 + uniformity_weight * (epsilon2 - stretch * radius)
