"""CLSP's loss in our terms (PROTOCOLS 15): NT-Xent plus λ·mean(2 − 2cos) is A2 with one anchor and α = 2λτ."""

import math

import pytest
import torch

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.loss import NTXent
from assimilate.run.composing import compose
from assimilate.run.config import make_job

COUNT, DIM = 7, 5


def embeddings(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(COUNT, DIM, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(count)]


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def clsp_loss(z1, z2, synthetic, *, temperature, weight):
    """One anchor at a time: NT-Xent among 2B − 1, and weight·(2 − 2cos) of z1 to each synthetic view."""
    together, total = [*z1, *z2], 0
    for i, anchor in enumerate(together):
        logits = [cosine(anchor, other) / temperature for j, other in enumerate(together) if j != i]
        positive = cosine(anchor, together[(i + COUNT) % (2 * COUNT)]) / temperature
        total = total + (torch.logsumexp(torch.stack(logits), 0) - positive) / (2 * COUNT)
    for views in synthetic:
        for anchor, view in zip(z1, views, strict=True):
            total = total + weight * (2 - 2 * cosine(anchor, view)) / (COUNT * len(synthetic))
    return total


@pytest.mark.parametrize("num_synthetic", [1, 3])
@pytest.mark.parametrize(("temperature", "weight"), [(0.2, 1.0), (0.5, 0.3)])
def test_alpha_is_twice_the_weight_times_the_temperature(temperature, weight, num_synthetic):
    ours, theirs = embeddings(2 + num_synthetic), embeddings(2 + num_synthetic)
    alignment = Alignment(alpha=2 * weight * temperature, align_anchors=[0])
    total = NTXent(temperature=temperature).terms(ours, alignment).total
    expected = clsp_loss(theirs[0], theirs[1], theirs[2:], temperature=temperature, weight=weight)
    # The constant 2λ has no gradient.
    assert total.item() == pytest.approx(expected.item() - 2 * weight, abs=1e-10)
    for own, other in zip(torch.autograd.grad(total, ours), torch.autograd.grad(expected, theirs), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


def test_the_recipe_has_the_alpha_of_weight_one():
    words = ["dataset=cifar10", "recipe=clsp", "assim=clsp", "view=wperturb"]
    loss = make_job("train", compose(words), words).config["loss"]
    assert loss["name"] == "ntxent"
    assert loss["align_anchors"] == [0]
    assert math.isclose(loss["alpha"], 2 * 1.0 * loss["temperature"])
