"""Differentiable augmentation against loops over images and pixels, and what training does with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from assimilate.generator.architecture import Architecture
from assimilate.generator.diffaugment import DiffAugment, DiffAugmentParameters
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.steps import AdversarialTraining

TINY = Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(8, 8))
SETTINGS = TrainingSettings(batch_size=4, r1_every=1, path_length_every=1)


def slow(image: NDArray[np.float64], parameters: DiffAugmentParameters, side: int) -> NDArray[np.float64]:
    """One image, one pixel at a time, as Zhao et al. 2020 describe it."""
    channels, size, _ = image.shape
    image = image + float(parameters.brightness)
    coloured = image.copy()
    for y in range(size):
        for x in range(size):
            grey = sum(image[c, y, x] for c in range(channels)) / channels
            for c in range(channels):
                coloured[c, y, x] = grey + (image[c, y, x] - grey) * float(parameters.saturation)
    mean = coloured.mean()
    coloured = mean + (coloured - mean) * float(parameters.contrast)
    down, right = parameters.translation.tolist()
    top, left = parameters.cutout.tolist()
    moved = np.zeros_like(coloured)
    for y in range(size):
        for x in range(size):
            if 0 <= y + down < size and 0 <= x + right < size:
                moved[:, y + down, x + right] = coloured[:, y, x]
    for y in range(max(0, top), min(size, top + side)):
        for x in range(max(0, left), min(size, left + side)):
            moved[:, y, x] = 0
    return moved


@pytest.mark.parametrize("size", [8, 9, 16])
def test_equals_a_loop_over_images_and_pixels(size: int) -> None:
    augment = DiffAugment()
    images = torch.randn(24, 3, size, size, dtype=torch.float64)
    parameters = augment.draw(24, size, torch.Generator().manual_seed(size))
    augmented = augment.apply(images, parameters)
    side = math.floor(size / 2 + 0.5)
    for index in range(24):
        expected = slow(images[index].numpy(), parameters[torch.tensor(index)], side)
        np.testing.assert_allclose(augmented[index].numpy(), expected, atol=1e-12)


def test_draws_have_the_ranges_of_the_paper() -> None:
    size, count = 32, 20_000
    parameters = DiffAugment().draw(count, size, torch.Generator().manual_seed(0))
    for values, low, high in (
        (parameters.brightness, -0.5, 0.5),
        (parameters.saturation, 0.0, 2.0),
        (parameters.contrast, 0.5, 1.5),
    ):
        assert low <= float(values.min()) < low + 0.01
        assert high - 0.01 < float(values.max()) <= high
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.02)
        # Uniform: variance (high − low)²/12.
        assert float(values.var()) == pytest.approx((high - low) ** 2 / 12, rel=0.05)
    # An eighth of the side either way; every shift as often as any other.
    counts = torch.bincount(parameters.translation.flatten() + 4)
    assert len(counts) == 9
    assert float(counts.min()) > 0.9 * 2 * count / 9
    # The hole's centre is on the image or on the border behind its last pixel.
    assert (int(parameters.cutout.min()), int(parameters.cutout.max())) == (-8, 24)


def test_draws_depend_on_the_generator_alone() -> None:
    first, again, other = (DiffAugment().draw(5, 8, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    for name in ("brightness", "saturation", "contrast", "translation", "cutout"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.brightness, other.brightness)


def test_twice_differentiable_in_the_images() -> None:
    augment = DiffAugment()
    parameters = augment.draw(2, 8, torch.Generator().manual_seed(3))
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: augment.apply(x, parameters), images)
    assert torch.autograd.gradgradcheck(lambda x: augment.apply(x, parameters).square(), images)


def training(*, augmented: bool, **settings: float) -> AdversarialTraining:
    return AdversarialTraining(
        TINY,
        replace(SETTINGS, **settings),
        seed=0,
        device=torch.device("cpu"),
        diffaugment=DiffAugment() if augmented else None,
    )


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def test_gradients_reach_the_generator_through_the_augmentation() -> None:
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    learner = training(augmented=True, path_length_weight=0.0)
    before = weights(learner.generator).clone()
    learner.train_step(real)
    assert all(parameter.grad is not None for parameter in learner.generator.parameters())
    changed = weights(learner.generator) != before
    assert float(changed.float().mean()) > 0.9


class _Spy(DiffAugment):
    """Notes what it is applied to."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])

    def apply(self, images: Tensor, parameters: DiffAugmentParameters) -> Tensor:
        self.seen.append((images.detach().clone(), images.requires_grad, parameters))  # type: ignore[attr-defined]
        return super().apply(images, parameters)


def test_whatever_the_discriminator_sees_is_augmented_with_draws_of_its_own() -> None:
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    learner, spy = training(augmented=True), _Spy()
    learner.diffaugment = spy
    shown: list[Tensor] = []
    learner.discriminator.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach()))
    learner.train_step(real)
    seen = spy.seen  # type: ignore[attr-defined]
    # Real and generated, real again for R1, generated again for the generator's own step.
    assert len(seen) == 4
    assert torch.equal(seen[0][0], real)
    assert torch.equal(seen[2][0], real)
    assert [requires_grad for _, requires_grad, _ in seen] == [False, False, True, True]
    augmented = [DiffAugment().apply(images, parameters) for images, _, parameters in seen]
    for given, expected in zip(shown, [torch.cat(augmented[:2]), augmented[2], augmented[3]], strict=True):
        assert torch.equal(given, expected)
    brightness = [tuple(parameters.brightness.tolist()) for _, _, parameters in seen]
    assert len(set(brightness)) == 4


def test_the_path_length_is_that_of_images_as_they_are_made() -> None:
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with_it, without = (training(augmented=augmented, lr=1e-9) for augmented in (True, False))
    assert float(with_it.train_step(real)["path"]) == pytest.approx(float(without.train_step(real)["path"]), rel=1e-4)
