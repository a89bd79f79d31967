"""Per-image optimisation: it recovers known codes, and treats each image by itself."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from toy_generator import LinearGenerator, tiny_stylegan2

from assimilate.data.images import ImageArrays
from assimilate.inversion.encoder import InversionEncoder, InversionEncoderSpec
from assimilate.inversion.optimization import learning_rate, optimize_codes, optimize_images
from assimilate.inversion.perceptual import FeatureExtractor, no_features
from assimilate.inversion.settings import EncoderSettings, OptimizationSettings

SETTINGS = OptimizationSettings(num_steps=15, lr=0.05, tile=4, perceptual_weight=0.0)


def encoder_for(generator: LinearGenerator, seed: int = 0) -> InversionEncoder:
    torch.manual_seed(seed)
    spec = InversionEncoderSpec(generator.image_size, generator.num_codes, generator.latent_dim, (8, 8))
    return InversionEncoder(spec).eval().requires_grad_(False)


def random_images(count: int, seed: int = 0) -> ImageArrays:
    pixels = np.random.default_rng(seed).integers(0, 256, size=(count, 3, 8, 8), dtype=np.uint8)
    return ImageArrays(pixels, None)


class Found:
    """What the optimisation wrote: arrays with a row an image, and which rows are there."""

    def __init__(self, count: int) -> None:
        self.latents = np.zeros((count, 4, 8), np.float32)
        self.errors, self.initial_errors = np.zeros(count, np.float32), np.zeros(count, np.float32)
        self.there: list[int] = []

    def write(self, index: int, codes: np.ndarray, error: np.ndarray, initial_error: np.ndarray) -> None:
        assert {codes.dtype, error.dtype, initial_error.dtype} == {np.dtype(np.float32)}
        self.latents[index], self.errors[index], self.initial_errors[index] = codes, error, initial_error
        self.there.append(index)


def run(
    images: ImageArrays,
    settings: OptimizationSettings = SETTINGS,
    *,
    pending: Sequence[int] | None = None,
    encoder: InversionEncoder | None = None,
    features: FeatureExtractor = no_features,
    found: Found | None = None,
) -> Found:
    generator, found = tiny_stylegan2(), found or Found(len(images))
    optimize_images(
        generator,
        encoder or encoder_for(generator),
        features,
        images,
        range(len(images)) if pending is None else pending,
        found.write,
        settings,
    )
    return found


def test_loss_equals_gradient_descent_by_hand() -> None:
    """One Adam step moves every number by lr against the sign of the gradient of the stated loss."""
    generator = LinearGenerator()
    encoder = encoder_for(generator)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 0.3
    start = encoder(images)
    codes = start.clone().requires_grad_()
    made = generator.synthesize(codes)
    loss = 0.0
    for image in range(3):
        features = [made[image] * 2, made[image].square()]
        targets = [images[image] * 2, images[image].square()]
        loss = loss + 3 * (made[image] - images[image]).square().mean()
        loss = loss + 0.5 * sum((one - other).abs().mean() for one, other in zip(features, targets, strict=True))
        loss = loss + 2 * (encoder(made[image : image + 1])[0] - start[image]).square().mean()
    assert isinstance(loss, torch.Tensor)
    (gradient,) = torch.autograd.grad(loss, codes)
    settings = replace(SETTINGS, num_steps=1, lr=1e-3, mse_weight=3.0, perceptual_weight=0.5)
    result = optimize_codes(generator, encoder, lambda values: (values * 2, values.square()), images, settings)
    torch.testing.assert_close(result.codes, start - 1e-3 * gradient.sign(), rtol=1e-4, atol=1e-5)


def test_known_codes_of_a_linear_generator_are_recovered() -> None:
    generator = LinearGenerator()
    codes = torch.randn(4, 4, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    images = generator.synthesize(codes)
    settings = replace(SETTINGS, num_steps=400, lr=0.05, lr_schedule="cosine", in_domain_weight=0.0)
    result = optimize_codes(generator, encoder_for(generator), no_features, images, settings)
    torch.testing.assert_close(result.codes, codes, rtol=0, atol=1e-3)


def test_a_generated_image_is_recovered() -> None:
    generator = tiny_stylegan2()
    codes = generator.map(generator.sample_latents(4, torch.Generator().manual_seed(1)))[:, None].expand(-1, 4, -1)
    images = generator.synthesize(codes).detach()
    settings = replace(SETTINGS, num_steps=600, lr=0.1, lr_schedule="cosine", in_domain_weight=0.0)
    result = optimize_codes(generator, encoder_for(generator), no_features, images, settings)
    error = (generator.synthesize(result.codes) - images).square().flatten(1).mean(dim=1)
    assert float(error.max()) < 1e-3


def test_error_falls_for_every_image() -> None:
    result = run(random_images(10), replace(SETTINGS, num_steps=40))
    assert result.there == list(range(10))
    assert (result.errors < result.initial_errors).all()
    generator = tiny_stylegan2()
    made = generator.synthesize(torch.from_numpy(result.latents)).clamp(-1, 1)
    target = torch.from_numpy(random_images(10).images).float() / 127.5 - 1
    expected = (made - target).square().flatten(1).mean(dim=1).detach().numpy()
    np.testing.assert_allclose(result.errors, expected, rtol=1e-4)


def test_in_domain_term_keeps_codes_near_the_encoders_guess() -> None:
    generator = tiny_stylegan2()
    encoder = encoder_for(generator)
    images = torch.from_numpy(random_images(4).images).float() / 127.5 - 1
    drift = {}
    for weight in (0.0, 200.0):
        settings = replace(SETTINGS, num_steps=60, in_domain_weight=weight)
        codes = optimize_codes(generator, encoder, no_features, images, settings).codes
        drift[weight] = float((encoder(generator.synthesize(codes)) - encoder(images)).square().mean())
    assert drift[200.0] < 0.75 * drift[0.0]


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    whole = run(random_images(11))
    shorter = run(random_images(11).subset(range(6)))
    assert np.array_equal(whole.latents[:6], shorter.latents)
    other = random_images(11).images.copy()
    other[[0, 2, 3, 4, 6]] = random_images(5, seed=9).images
    mixed = run(ImageArrays(other, None))
    untouched = [1, 5, 7, 8, 9, 10]
    assert np.array_equal(whole.latents[untouched], mixed.latents[untouched])


def test_images_that_are_asked_for_are_those_of_all() -> None:
    whole, some = run(random_images(11)), run(random_images(11), pending=[1, 9, 10])
    assert some.there == [1, 9, 10]
    for name in ("latents", "errors", "initial_errors"):
        assert np.array_equal(getattr(some, name)[some.there], getattr(whole, name)[some.there])


def test_reconstructions_that_are_not_finite_stop_the_run() -> None:
    encoder = encoder_for(tiny_stylegan2())
    encoder.convs[-1].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"images 0…3 have no finite reconstruction"):
        run(random_images(4), encoder=encoder)


def test_the_norm_of_the_feature_maps_is_that_of_the_settings() -> None:
    """Features that are the images: l2 is one more pixel MSE, l1 is not."""
    generator = LinearGenerator()
    encoder = encoder_for(generator)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))

    def codes(**changes: object) -> torch.Tensor:
        return optimize_codes(generator, encoder, lambda values: (values,), images, replace(SETTINGS, **changes)).codes

    squared = codes(mse_weight=1.0, perceptual_weight=1.5, perceptual_norm="l2")
    torch.testing.assert_close(squared, codes(mse_weight=2.5), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(squared, codes(mse_weight=1.0, perceptual_weight=1.5), atol=1e-3)


def test_the_last_codes_are_kept_where_they_are_asked_for() -> None:
    """With a rate so large that the loss rises, the best codes are the guess and the last ones Adam's."""
    generator = LinearGenerator()
    encoder = encoder_for(generator)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 0.3
    settings = replace(SETTINGS, num_steps=1, lr=50.0, in_domain_weight=0.0)
    start = encoder(images)
    codes = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=50.0)
    (generator.synthesize(codes) - images).square().flatten(1).mean(dim=1).sum().backward()
    optimizer.step()
    best = optimize_codes(generator, encoder, no_features, images, settings)
    last = optimize_codes(generator, encoder, no_features, images, replace(settings, keep="last"))
    torch.testing.assert_close(best.codes, start)
    torch.testing.assert_close(last.codes, codes.detach(), rtol=1e-4, atol=1e-3)
    reached = (generator.synthesize(last.codes) - images).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(last.losses, reached)
    assert bool((last.losses > best.losses).all())


def test_a_later_setting_leaves_the_name_of_older_work_alone() -> None:
    assert "perceptual_norm" not in EncoderSettings().identity()
    assert replace(EncoderSettings(), perceptual_norm="l2").identity()["perceptual_norm"] == "l2"


def test_a_loss_that_never_is_finite_stops_the_run() -> None:
    """The encoder's guess and its error are finite, but the perceptual network's maps are not."""
    found = Found(6)
    with pytest.raises(ValueError, match=r"^inversion\.optimization\.lr=0\.05: images 4…5 have no finite .*loss"):
        run(random_images(6), replace(SETTINGS, perceptual_weight=1.0), features=LastTileIsNaN(), found=found)
    assert found.there == [0, 1, 2, 3]


class LastTileIsNaN:
    """Maps of the images themselves, until a tile was optimised: its target, and the reconstruction of each step."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.calls += 1
        return [images if self.calls <= SETTINGS.num_steps + 2 else images * math.nan]


def test_learning_rate_is_constant_or_half_a_cosine() -> None:
    constant = replace(SETTINGS, num_steps=10, lr=0.4)
    assert {learning_rate(constant, step) for step in range(10)} == {0.4}
    cosine = replace(constant, lr_schedule="cosine")
    assert learning_rate(cosine, 0) == pytest.approx(0.4)
    assert learning_rate(cosine, 5) == pytest.approx(0.2)
    assert learning_rate(cosine, 9) == pytest.approx(0.2 * (1 + math.cos(0.9 * math.pi)))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_codes_that_become_nan_on_the_way_stop_the_run(keep: Literal["best", "last"]) -> None:
    """The encoder's guess has a finite loss, and with keep=best it would be all that is left."""
    with pytest.raises(ValueError, match=r"^inversion\.optimization\.lr=1e\+38: images 0…3 have no finite .*loss"):
        run(random_images(6), replace(SETTINGS, lr=1e38, keep=keep))
