"""Eq. 3 against a loop written from the paper."""

import math

import pytest
import torch
from torch.nn import functional as F

from assimilate.views.objective import least_loss, search_loss, spread_bound


def loop_loss(views, anchors, epsilon1, epsilon2, weight, hinge):
    """Eq. 3, one anchor, one view, one pair at a time."""
    totals = []
    for anchor, own in zip(anchors, views, strict=True):
        n = len(own)
        boundary = sum((epsilon1 - math.dist(view.tolist(), anchor.tolist())) ** 2 for view in own) / n
        if n == 1:
            uniformity = 0.0
        elif hinge == "image":
            pairs = [math.dist(own[j].tolist(), own[k].tolist()) for j in range(n) for k in range(n) if j != k]
            uniformity = max(0.0, epsilon2 - sum(pairs) / (n * (n - 1)))
        else:
            uniformity = 0.0
            for k in range(n):
                others = [math.dist(own[j].tolist(), own[k].tolist()) for j in range(n) if j != k]
                uniformity += max(0.0, epsilon2 - sum(others) / (n - 1)) / n
        totals.append(boundary + weight * uniformity)
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.parametrize("hinge", ["image", "view"])
@pytest.mark.parametrize("num_views", [1, 2, 5])
@pytest.mark.parametrize("epsilon2", [0.4, 1.3])
def test_loss_equals_the_loop(hinge, num_views, epsilon2):
    rng = torch.Generator().manual_seed(num_views)
    views = F.normalize(torch.randn(4, num_views, 6, generator=rng, dtype=torch.float64), dim=-1)
    anchors = F.normalize(torch.randn(4, 6, generator=rng, dtype=torch.float64), dim=-1)
    ours = search_loss(views, anchors, epsilon1=0.3, epsilon2=epsilon2, uniformity_weight=0.7, hinge=hinge)
    expected = loop_loss(views, anchors, 0.3, epsilon2, 0.7, hinge)
    torch.testing.assert_close(ours.total, expected, rtol=0, atol=1e-10)


def test_hinges_differ_where_only_some_views_are_crowded():
    views = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    anchors = torch.zeros(1, 2, dtype=torch.float64)
    image = search_loss(views, anchors, epsilon1=0.1, epsilon2=1.9, uniformity_weight=1.0, hinge="image")
    view = search_loss(views, anchors, epsilon1=0.1, epsilon2=1.9, uniformity_weight=1.0, hinge="view")
    assert image.uniformity.item() == 0.0  # mean pair distance 2 clears 1.9
    assert view.uniformity.item() == pytest.approx(2 * 0.4 / 3)  # two views are 1.5 from the others on average


def test_gradients_are_finite_where_views_and_anchor_coincide():
    anchor = F.normalize(torch.ones(1, 4), dim=-1)
    views = anchor[:, None].repeat(1, 3, 1).requires_grad_(True)
    loss = search_loss(views, anchor, epsilon1=0.3, epsilon2=0.5, uniformity_weight=0.1)
    (gradient,) = torch.autograd.grad(loss.total.sum(), views)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("num_views", [2, 3, 4, 8])
def test_bound_is_attained_by_a_simplex_and_never_exceeded(num_views):
    corners = torch.eye(num_views, dtype=torch.float64)
    corners = corners - corners.mean(dim=0)
    corners = 0.3 * corners / corners.norm(dim=1, keepdim=True)
    pairs = num_views * (num_views - 1)
    assert float(torch.cdist(corners, corners).sum() / pairs) == pytest.approx(spread_bound(0.3, num_views), abs=1e-9)
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        points = 0.3 * F.normalize(torch.randn(num_views, 5, generator=rng, dtype=torch.float64), dim=1)
        assert float(torch.cdist(points, points).sum() / pairs) <= spread_bound(0.3, num_views) + 1e-6


@pytest.mark.parametrize("num_views", [2, 3, 5])
@pytest.mark.parametrize(("epsilon1", "epsilon2", "weight"), [(0.3, 0.9, 0.02), (0.3, 0.55, 0.3), (0.1, 0.11, 0.1)])
def test_least_loss_is_that_of_a_simplex_and_never_undercut(num_views, epsilon1, epsilon2, weight):
    least = least_loss(epsilon1, epsilon2, weight, num_views)
    anchor = torch.zeros(1, 6, dtype=torch.float64)

    def loss(points):
        return search_loss(
            points[None], anchor, epsilon1=epsilon1, epsilon2=epsilon2, uniformity_weight=weight
        ).total.item()

    corners = torch.eye(num_views, 6, dtype=torch.float64)
    corners = corners - corners.mean(dim=0)
    corners = corners / corners.norm(dim=1, keepdim=True)
    attained = min(loss(radius * corners) for radius in torch.linspace(0.0, 1.5, 15001, dtype=torch.float64).tolist())
    assert attained == pytest.approx(least, abs=1e-7)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        points = torch.randn(num_views, 6, generator=rng, dtype=torch.float64)
        points = points / points.norm(dim=1, keepdim=True) * 2 * epsilon1 * torch.rand(num_views, 1, generator=rng)
        assert loss(points) >= least - 1e-12
    assert least_loss(epsilon1, spread_bound(epsilon1, num_views), weight, num_views) == 0
    assert least_loss(epsilon1, epsilon2, weight, 1) == 0
