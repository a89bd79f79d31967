"""Views of a program on a world with a known answer, one image after the other."""

import statistics

import numpy as np
import pytest
import torch

from assimilate.graph.place import silent
from assimilate.views.embedding import from_pixels
from assimilate.views.programs import ProgramViews, TunedProgram
from tests.views.worlds import LinearGenerator, linear_embedding

CODES = torch.randn(9, 2, 5, generator=torch.Generator().manual_seed(7))
IMAGES = ((LinearGenerator().synthesize(CODES).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


PATTERN = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3))


def noisy(images, strength, rng):
    return images + strength[:, None, None, None] * torch.randn(images.shape, generator=rng)


def found(views=noisy, indices=range(9), **changes):
    wanted = {"epsilon1": 0.3, "num_views": 3, "calibration": 4, **changes}
    made, given = ProgramViews(views, IMAGES, num_views=3, seed=5), {}
    TunedProgram(**wanted).run(made, linear_embedding(), list(indices), lambda v: given.update({v.index: v}), silent)
    return given


def test_each_view_is_at_epsilon1_as_it_is_stored():
    embedding = linear_embedding()
    for index, views in found().items():
        anchor = embedding(from_pixels(torch.from_numpy(IMAGES[index : index + 1])))
        distances = (embedding(from_pixels(views.images)) - anchor).norm(dim=1)
        torch.testing.assert_close(distances, views.distances, rtol=0, atol=1e-5)
        assert distances.tolist() == pytest.approx([0.3] * 3, rel=0.05)
        assert views.converged
        assert 3 <= views.steps <= 3 * 12


def test_an_image_does_not_depend_on_what_else_is_asked_for():
    together = found()
    for subset in ([8, 2], [5]):
        for index, views in found(indices=subset).items():
            for name in ("images", "distances", "strengths"):
                assert torch.equal(getattr(views, name), getattr(together[index], name))


def test_a_program_that_ends_short_of_epsilon1_gives_the_most_and_says_so():
    kept = found(most=0.25)
    missed = [views for views in kept.values() if not views.converged]
    assert missed
    for views in missed:
        short = views.distances < 0.3 * 0.95 - 1e-6
        assert short.any()
        assert (views.strengths[short] == 0.25).all()
    with pytest.raises(ValueError, match=r"no view of 4 images reaches ε1 = 0\.3"):
        found(most=0.01)


def added_to_pixels(images, strength, rng):
    """A program that begins off the image in the direction in which it goes on: d is linear, and not 0 at 0."""
    return images + (0.1 + strength)[:, None, None, None] * torch.randn(1, generator=rng).sign() * PATTERN


def lossy(images, strength, rng):
    """An autoencoder, so to speak: a picture is not what it was before any noise."""
    blurred = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
    return noisy(torch.lerp(images, blurred, 0.1), strength, rng)


@pytest.mark.parametrize("added", [added_to_pixels, lossy])
def test_a_program_whose_views_of_strength_0_are_not_the_image(added):
    embedding, images = linear_embedding(), from_pixels(torch.from_numpy(IMAGES))
    start = (embedding(added(images, torch.zeros(9), torch.Generator())) - embedding(images)).norm(dim=1)
    nearest, middle, farthest = (float(each) for each in start.quantile(torch.tensor([0.0, 0.5, 1.0])))
    for epsilon1 in (1.15 * farthest, 2 * farthest):
        views = found(added, epsilon1=epsilon1)
        assert torch.cat([each.distances for each in views.values()]).tolist() == pytest.approx(
            [epsilon1] * 27, rel=0.05
        )
        assert statistics.mean(each.steps for each in views.values()) < 3 * 5
    # Those that begin beyond ε1 are told: each of some, or all at once.
    for index, each in found(added, epsilon1=middle).items():
        if start[index] > 1.06 * middle:
            assert not each.converged
    with pytest.raises(ValueError, match=r"at strength 0 they are at 0\.\d+ or more already: a larger view\.epsilon1"):
        found(added, epsilon1=0.5 * nearest)


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (
            lambda images, strength, rng: images[:1],
            r"are torch.float32 \[1, 3, 8, 8\]; needed is a float tensor \[3, 3",
        ),
        (lambda images, strength, rng: images.numpy(), "are ndarray; needed is"),
        (lambda images, strength, rng: images * np.nan, "are not finite"),
    ],
)
def test_what_a_program_may_not_return(views, said):
    with pytest.raises(ValueError, match=said):
        found(views)
