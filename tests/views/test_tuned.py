"""Strengths of moves on worlds with a known answer: where a view is at ε1."""

import numpy as np
import pytest
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.views.embedding import to_pixels
from assimilate.views.moves import Mixing, Perturbation
from assimilate.views.synthesis import synthesize_views
from assimilate.views.tuned import TunedMove
from tests.views.worlds import CODES, COUNT, DIM, LinearGenerator, linear_embedding, solved

VIEWS = 4
MOVES = [
    Perturbation(1.0),
    Perturbation(1.0, projected=True),
    Perturbation(1.0, noise_limit=0.5),
    Mixing(1),
    Mixing(0),
]
LATENTS = torch.randn(COUNT, CODES, DIM, generator=torch.Generator().manual_seed(7))
IMAGES = to_pixels(LinearGenerator().synthesize(LATENTS)).numpy()


def tuned(move, indices=range(COUNT), **changes):
    most = 1.0 if isinstance(move, Mixing) else np.inf
    values = {"epsilon1": 0.3, "num_views": VIEWS, "seed": 3, "width": 5, "calibration": 10, "most": most, **changes}
    return solved(TunedMove(move=move, **values), LATENTS.numpy(), IMAGES, indices)[0]


def bisected(codes, moved, generator, embedding):
    """In float64: the smallest t of a grid cell at which the distance, not rounded to pixels, crosses ε1."""
    target = embedding(generator.synthesize(codes[None]).clamp(-1, 1))

    def distance(t):
        images = generator.synthesize((codes + t * (moved - codes))[None]).clamp(-1, 1)
        return float(torch.linalg.vector_norm(embedding(images) - target))

    low, high = 0.0, 1e-3
    while distance(high) < 0.3:
        low, high = high, 1.05 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if distance(middle) < 0.3 else (low, middle)
    return high


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_strengths_are_those_of_a_slow_search_in_float64(move):
    found = tuned(move, tolerance=0.01)
    generator, embedding = LinearGenerator().double(), linear_embedding().double()
    for index in (0, 7, 20):
        drawn = move.draw(LinearGenerator(), VIEWS, LATENTS[index].shape, seeded(3, move.purpose, index)).double()
        codes = LATENTS[index].double()
        moved = move.apply(generator, codes.expand(VIEWS, -1, -1), drawn)
        # 1% of ε1, and what 8 bits may add.
        assert found[index].converged
        expected = [bisected(codes, each, generator, embedding) for each in moved]
        assert found[index].strengths.tolist() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("make", [Perturbation, lambda strength: Mixing(0, strength)])
def test_views_are_those_of_the_move_at_the_strength_that_was_found(make):
    found = tuned(make(1.0))
    for index, views in found.items():
        for view, strength in enumerate(views.strengths.tolist()):
            given = {}
            synthesize_views(
                LinearGenerator(), LATENTS.numpy(), [index], make(strength), given.__setitem__,
                num_views=VIEWS, batch=VIEWS, seed=3,
            )  # fmt: skip
            assert int((given[index][view].int() - views.images[view].int()).abs().max()) <= 1  # float32
        assert views.distances.tolist() == pytest.approx([0.3] * VIEWS, rel=0.05)
        assert views.converged


def test_a_mix_that_is_nearer_than_epsilon1_is_whole_and_said():
    found = tuned(Mixing(1)).values()
    distances, strengths = (
        torch.stack([getattr(views, name) for views in found]) for name in ("distances", "strengths")
    )
    at_epsilon1 = (distances - 0.3).abs() <= 0.05 * 0.3 + 1e-6
    assert 0 < int(at_epsilon1.sum()) < at_epsilon1.numel()
    assert (strengths[~at_epsilon1] == 1).all()
    assert (distances[~at_epsilon1] < 0.3).all()
    assert (strengths > 0).all()
    assert (strengths <= 1).all()
    assert [views.converged for views in found] == at_epsilon1.all(dim=1).tolist()


def test_a_draw_that_ends_short_is_drawn_again():
    once, again = tuned(Mixing(1)), tuned(Mixing(1), redraws=6)
    missed = [sum(int((views.strengths == 1).sum()) for views in found.values()) for found in (once, again)]
    assert missed[1] < missed[0] / 2
    for index, views in again.items():
        kept = (once[index].distances - 0.3).abs() <= 0.05 * 0.3 + 1e-6
        assert (views.distances >= once[index].distances - 1e-6)[~kept].all()
        if kept.all():
            assert torch.equal(views.images, once[index].images)
            assert views.steps == once[index].steps


def test_where_no_strength_reaches_epsilon1_it_is_said_at_once():
    with pytest.raises(ValueError, match=r"no view of 10 images reaches ε1 = 1\.99"):
        tuned(Mixing(1), epsilon1=1.99)
