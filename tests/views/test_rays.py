"""Rays on worlds with a known answer: ε1 along the drawn direction, whoever the neighbours are."""

import re

import numpy as np
import pytest
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.views.directions import Difference, Isotropic, OneForAllLayers, Toward
from assimilate.views.embedding import from_pixels
from assimilate.views.rays import NUM_MAPPED, RayEngine, RaySettings, farthest_apart
from assimilate.views.solver import Ray
from tests.views.worlds import CODES, COUNT, LinearGenerator, latents_and_images, linear_embedding, solved

DIRECTIONS = [Isotropic(), OneForAllLayers(), Toward(), Difference()]


def settings(**changes) -> RaySettings:
    values = {"epsilon1": 0.3, "epsilon2": 0.0, "num_views": 4, "seed": 3, "width": 8, "calibration": 10}
    values["opposite"] = False
    return RaySettings(**{**values, **changes})


@pytest.fixture(scope="module")
def world():
    return latents_and_images()


def rays(world, wanted, indices=None):
    return solved(wanted, *world, indices)


def bisected(codes, direction, target, generator, embedding):
    """In float64, one view at a time: the smallest t of a grid cell whose view, not rounded to pixels, crosses ε1."""

    def distance(t):
        image = generator.synthesize((codes + t * direction)[None]).clamp(-1, 1)
        return float(torch.linalg.vector_norm(embedding(image)[0] - target))

    low, high = 0.0, 1e-3
    while distance(high) < 0.3:
        low, high = high, 1.05 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if distance(middle) < 0.3 else (low, middle)
    return high


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda direction: direction.word)
def test_views_are_where_a_slow_search_in_float64_finds_them(world, direction):
    latents, _ = world
    wanted = settings(direction=direction, tolerance=0.01)
    found, _ = rays(world, wanted)
    generator, embedding = LinearGenerator().double(), linear_embedding().double()
    mapped = LinearGenerator().sample_latents(NUM_MAPPED, seeded(3, "ray codes"))
    for index in (0, 7, 20):
        codes = torch.from_numpy(latents[index]).double()
        target = embedding(generator.synthesize(codes[None]).clamp(-1, 1))[0]
        assert found[index].converged
        for view in range(4):
            drawn = direction.draw(torch.from_numpy(latents[index]), mapped, seeded(3, "ray", index, view, 0)).double()
            length = bisected(codes, drawn, target, generator, embedding)
            moved = (found[index].latents[view].double() - codes).flatten()
            cosine = torch.nn.functional.cosine_similarity(moved, drawn.flatten(), dim=0)
            assert float(cosine) == pytest.approx(1, abs=1e-5)
            # 1% of ε1, and what 8 bits may add.
            assert float(moved.norm() / (length * drawn.norm())) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("anchor", ["reconstruction", "original"])
def test_stored_views_are_at_epsilon1(world, anchor):
    latents, images = world
    found, _ = rays(world, settings(anchor=anchor))
    embedding, generator = linear_embedding(), LinearGenerator()
    for index, views in found.items():
        original = embedding(from_pixels(torch.from_numpy(images[index : index + 1])))
        made = embedding(generator.synthesize(torch.from_numpy(latents[index : index + 1])).clamp(-1, 1))
        stored = embedding(from_pixels(views.images))
        distances = torch.linalg.vector_norm(stored - (original if anchor == "original" else made), dim=1)
        assert views.converged
        assert float((distances - 0.3).abs().max()) <= 0.05 * 0.3 + 1e-6
        torch.testing.assert_close(distances, views.distances, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            torch.linalg.vector_norm(stored - original, dim=1), views.distances_original, rtol=0, atol=1e-5
        )
        pairs = [float((a - b).norm()) for i, a in enumerate(stored) for j, b in enumerate(stored) if i != j]
        assert views.spread == pytest.approx(np.mean(pairs), abs=1e-5)
        assert 4 <= views.steps <= 4 * 12


def test_an_image_does_not_depend_on_neighbours_order_or_what_else_there_is_to_do(world):
    wanted = settings(num_views=2, epsilon2=1.0, candidates=3, width=4)
    together, _ = rays(world, wanted)
    assert len({views.steps for views in together.values()}) > 1  # so that slots are refilled at different times
    for subset in ([12, 3, 11], [5], list(range(COUNT))[::-1]):
        apart, _ = rays(world, wanted, subset)
        for index in subset:
            for name in ("images", "latents", "distances", "distances_original"):
                assert torch.equal(getattr(apart[index], name), getattr(together[index], name))
            assert (apart[index].steps, apart[index].spread) == (together[index].steps, together[index].spread)


def test_directions_between_samples_are_those_of_a_random_order_of_all():
    """The first of a permutation that sorts as many uniform draws; both ends are samples, and never one twice."""
    mapped, codes = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3)
    for seed in range(40):
        draws = torch.rand(5, generator=torch.Generator().manual_seed(seed)).tolist()
        first, second = sorted(range(5), key=draws.__getitem__)[:2]
        between = Difference().draw(codes, mapped, torch.Generator().manual_seed(seed))
        assert torch.equal(between, (mapped[second] - mapped[first]).expand(2, 3))
        toward = Toward().draw(codes + 1, mapped, torch.Generator().manual_seed(seed))
        assert torch.equal(toward, (mapped[first] - 1).expand(2, 3))


def test_the_seed_moves_views(world):
    one, _ = rays(world, settings(), [0])
    other, _ = rays(world, settings(seed=4), [0])
    assert not torch.equal(one[0].images, other[0].images)


def test_only_the_named_layers_move(world):
    latents, _ = world
    found, _ = rays(world, settings(layers=(1,)))
    for index, views in found.items():
        assert torch.equal(views.latents[:, 0], torch.from_numpy(latents[index, 0]).expand(4, -1))
        assert not torch.equal(views.latents[:, 1], torch.from_numpy(latents[index, 1]).expand(4, -1))


def test_each_layer_moves_by_chance_and_never_none(world):
    latents, _ = world
    found, _ = rays(world, settings(layer_share=0.3))
    moved = torch.stack(
        [(views.latents != torch.from_numpy(latents[index])).any(dim=2) for index, views in found.items()]
    )
    assert moved.any(dim=2).all()
    # One of two layers at least: the one that does, and .3 · (.3 of the other …): P(both) = .09.
    assert float(moved.all(dim=2).float().mean()) == pytest.approx(0.09, abs=0.08)  # 2.5 standard errors


def test_more_candidates_spread_wider_and_only_where_the_hinge_is_open(world):
    close, engine = rays(world, settings(epsilon2=1.0))
    spread, wider = rays(world, settings(epsilon2=1.0, candidates=12))
    narrow, wide = (np.mean([views.spread for views in each.values()]) for each in (close, spread))
    assert wide > 1.1 * narrow
    assert all(views.converged for views in spread.values())
    assert wider.view_passes > 2 * engine.view_passes
    for changes in ({"epsilon2": 0.0}, {"epsilon2": 1.0, "uniformity_weight": 0.0}):
        same, _ = rays(world, settings(candidates=12, **changes))
        assert all(torch.equal(same[index].images, close[index].images) for index in close)


def test_every_second_ray_goes_the_opposite_way_and_views_spread_for_it(world):
    latents, _ = world
    plain, engine = rays(world, settings())
    found, other = rays(world, settings(opposite=True))
    for index, views in found.items():
        assert views.converged
        moves = views.latents.flatten(1) - torch.from_numpy(latents[index]).flatten()
        cosines = torch.nn.functional.cosine_similarity(moves[:, None], moves[None], dim=-1)
        assert [float(cosines[pair]) for pair in ((0, 1), (2, 3))] == pytest.approx([-1, -1], abs=1e-5)
        assert float(cosines[:2, 2:].abs().max()) < 0.95
        assert torch.equal(views.images[0], plain[index].images[0])
    assert np.mean([views.spread for views in found.values()]) > 1.05 * np.mean([v.spread for v in plain.values()])
    assert other.view_passes < 1.1 * engine.view_passes
    alone, _ = rays(world, settings(opposite=True, width=4), [7])
    assert torch.equal(alone[7].images, rays(world, settings(opposite=True, width=4))[0][7].images)


def test_one_view_has_no_opposite(world):
    one, other = (rays(world, settings(num_views=1, opposite=opposite))[0] for opposite in (True, False))
    assert all(torch.equal(views.images, other[index].images) for index, views in one.items())


def test_greedy_max_min_is_the_best_of_a_slow_loop():
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    distance = [[float((a - b).norm()) for b in points] for a in points]
    first, second = max(
        ((i, j) for i in range(9) for j in range(9) if i != j), key=lambda pair: distance[pair[0]][pair[1]]
    )
    chosen = [first, second]
    while len(chosen) < 5:
        rest = [row for row in range(9) if row not in chosen]
        chosen.append(max(rest, key=lambda row: min(distance[row][other] for other in chosen)))
    assert farthest_apart(points, 5) == chosen


def test_points_that_coincide_are_chosen_once_each():
    assert len(set(farthest_apart(torch.full((5, 3), 3**-0.5), 3))) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidates": 6, "weight": 0}, "view.lambda=0"),
        ({"candidates": 6, "num_views": 1}, "view.n_cached=1"),
        ({"candidates": 3}, "view.ray.candidates=3 is less"),
        ({"layers": [9]}, "codes 0 to 5"),
        ({"layers": []}, "allowed is null"),
    ],
)
def test_settings_that_fit_nothing_are_refused(changes, said):
    asked = {"epsilon1": 0.3, "num_views": 4, "num_codes": 6, "weight": 0.01}
    asked |= {name: changes.pop(name) for name in list(changes) if name in asked}
    made = {"direction": Isotropic(), "layers": None, "layer_share": 1, "width": 8, "tolerance": 0.05, "passes": 8}
    made |= {"redraws": 1, "reach": 9, "calibration": 9, "candidates": None, "projection": "none"}
    with pytest.raises(ValueError, match=re.escape(said)):
        Ray(**{**made, "precision": "fp32", "compile": False, **changes}).check(**asked)


def test_layers_that_a_generator_has_not_are_refused(world):
    latents, images = world
    engine = RayEngine(LinearGenerator(), linear_embedding(), settings(layers=[CODES]))
    with pytest.raises(ValueError, match=f"codes 0 to {CODES - 1}"):
        engine.run(latents, images, [0], lambda views: None)


class Deaf(LinearGenerator):
    """Nothing that any code says is heard beyond a small change."""

    def synthesize(self, codes):
        return super().synthesize(0.1 * torch.tanh(codes))


def test_rays_that_end_short_of_epsilon1_are_redrawn_then_kept_and_counted(world):
    latents, images = world
    reachable = RayEngine(Deaf(), linear_embedding(), settings(epsilon1=0.35, redraws=0))
    found = {}
    reachable.run(latents, images, range(COUNT), lambda views: found.__setitem__(views.index, views))
    redrawn = {}
    RayEngine(Deaf(), linear_embedding(), settings(epsilon1=0.35, redraws=6)).run(
        latents, images, range(COUNT), lambda views: redrawn.__setitem__(views.index, views)
    )
    missed, still = (sum(not views.converged for views in each.values()) for each in (found, redrawn))
    assert missed > 0
    assert still < missed
    for views in found.values():
        within = (views.distances - 0.35).abs() <= 0.05 * 0.35 + 1e-7
        assert views.converged == bool(within.all())
        assert len(views.images) == 4


def test_where_no_ray_reaches_epsilon1_it_is_said_at_once(world):
    latents, images = world
    engine = RayEngine(Deaf(), linear_embedding(), settings(epsilon1=1.9))
    with pytest.raises(ValueError, match=r"no view of 10 images reaches ε1 = 1\.9"):
        engine.run(latents, images, range(COUNT), lambda views: None)


def test_images_that_are_not_finite_are_named(world):
    latents, images = world
    broken = latents.copy()
    broken[5] = np.nan
    engine = RayEngine(LinearGenerator(), linear_embedding(), settings(calibration=3))
    with pytest.raises(ValueError, match="views of image 5 are not finite"):
        engine.run(broken, images, [4, 5], lambda views: None)


def test_what_is_stored_is_measured_in_float32_whatever_made_it(world):
    latents, _ = world
    found, _ = rays(world, settings(precision="bf16"))
    embedding, generator = linear_embedding(), LinearGenerator()
    for index, views in found.items():
        made = embedding(generator.synthesize(torch.from_numpy(latents[index : index + 1])).clamp(-1, 1))
        distances = torch.linalg.vector_norm(embedding(from_pixels(views.images)) - made, dim=1)
        torch.testing.assert_close(distances, views.distances, rtol=0, atol=1e-5)


@pytest.mark.slow  # a compiler runs
@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_compiled_passes_find_the_views_of_eager_ones(world, mode):
    eager, _ = rays(world, settings(num_views=2), [0, 9])
    compiled, _ = rays(world, settings(num_views=2, compiled=mode), [0, 9])
    for index, views in eager.items():
        assert compiled[index].converged
        torch.testing.assert_close(compiled[index].latents, views.latents, atol=1e-3, rtol=1e-3)
        assert np.abs(compiled[index].images.int() - views.images.int()).max() <= 1  # a rounding step of 8 bits
