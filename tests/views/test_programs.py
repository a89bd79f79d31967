"""Views of a program on a world with a known answer, one image after the other."""

import numpy as np
import pytest
import torch

from assimilate.graph.progress import silent
from assimilate.views.embedding import from_pixels
from assimilate.views.programs import ProgramViews, TunedProgram
from tests.views.worlds import LinearGenerator, linear_embedding

CODES = torch.randn(9, 2, 5, generator=torch.Generator().manual_seed(7))
IMAGES = ((LinearGenerator().synthesize(CODES).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


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
