"""Losses and regularisers against closed forms, finite differences and slow formulas."""

import math

import pytest
import torch
from torch import Tensor, nn

from assimilate.generator.adversarial import (
    discriminator_loss,
    non_saturating_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.stylegan2 import Generator

TINY = Architecture(image_size=8, latent_dim=4, num_mapping_layers=1, channels=(4, 3))


def test_losses_equal_log_sigmoids() -> None:
    real, fake = [0.3, -2.0, 5.0], [-0.1, 4.0, 0.0]

    def negative_log_sigmoid(value: float) -> float:
        return -math.log(1 / (1 + math.exp(-value)))

    expected = sum(map(negative_log_sigmoid, real)) / 3 + sum(negative_log_sigmoid(-value) for value in fake) / 3
    loss = discriminator_loss(*(torch.tensor(values, dtype=torch.float64) for values in (real, fake)))
    assert float(loss) == pytest.approx(expected, abs=1e-12)
    expected = sum(map(negative_log_sigmoid, fake)) / 3
    assert float(non_saturating_loss(torch.tensor(fake, dtype=torch.float64))) == pytest.approx(expected, abs=1e-12)


class Quadratic(nn.Module):
    """D(x) = ½ a Σ x², so that ∂D/∂x = a·x."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return 0.5 * self.factor * images.square().flatten(1).sum(dim=1)


def test_r1_and_its_gradient_equal_the_closed_form() -> None:
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    network = Quadratic(1.7)
    mean_square = float(images.square().flatten(1).sum(dim=1).mean())
    penalty = r1_penalty(network, images)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(1.7**2 * mean_square, rel=1e-12)
    assert network.factor.grad is not None
    assert float(network.factor.grad) == pytest.approx(2 * 1.7 * mean_square, rel=1e-12)


def test_gradient_of_r1_through_the_discriminator_equals_finite_differences() -> None:
    torch.manual_seed(0)
    network = Discriminator(TINY).double()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for name in ("convs.0.0.weight", "convs.1.conv2.1.weight", "convs.1.skip.1.weight", "final_conv.0.weight"):
        weight = network.get_parameter(name)
        (gradient,) = torch.autograd.grad(r1_penalty(network, images), weight)
        assert float(gradient.flatten()[0]) == pytest.approx(
            _slope(lambda: r1_penalty(network, images), weight), rel=1e-5
        )


def test_path_lengths_equal_the_jacobian() -> None:
    torch.manual_seed(1)
    network = Generator(TINY).double()
    codes = torch.randn(2, TINY.num_codes, 4, dtype=torch.float64)
    noise = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def synthesize(own: Tensor) -> Tensor:
        return network.synthesize(own[None], network.fixed_noise())[0]

    expected = []
    for own, direction in zip(codes, noise, strict=True):
        jacobian = torch.autograd.functional.jacobian(synthesize, own)
        projected = torch.einsum("chwld,chw->ld", jacobian, direction / 8)
        expected.append(projected.square().sum(dim=1).mean().sqrt())
    leaf = codes.requires_grad_()
    lengths = path_lengths(network.synthesize(leaf, network.fixed_noise()), leaf, noise)
    torch.testing.assert_close(lengths, torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_gradient_of_the_path_length_equals_finite_differences() -> None:
    torch.manual_seed(2)
    network = Generator(TINY).double()
    codes = torch.randn(2, TINY.num_codes, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def penalty() -> Tensor:
        lengths = path_lengths(network.synthesize(codes, network.fixed_noise()), codes, noise)
        return path_length_penalty(lengths, torch.tensor(0.5, dtype=torch.float64), 0.01)[0]

    for name in ("conv1.conv.weight", "convs.0.conv.modulation.weight", "to_rgbs.0.conv.weight"):
        weight = network.get_parameter(name)
        (gradient,) = torch.autograd.grad(penalty(), weight)
        assert float(gradient.flatten()[0]) == pytest.approx(_slope(penalty, weight), rel=1e-5)


def test_path_length_penalty_equals_its_formula() -> None:
    lengths = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    penalty, moved = path_length_penalty(lengths, torch.tensor(1.0, dtype=torch.float64), 0.25)
    assert float(moved) == pytest.approx(1 + 0.25 * (3 - 1))
    assert float(penalty) == pytest.approx(((1 - 1.5) ** 2 + (2 - 1.5) ** 2 + (6 - 1.5) ** 2) / 3)


def _slope(function: object, weight: Tensor, width: float = 1e-5) -> float:
    """Central difference of ``function()`` in the first entry of ``weight``."""
    assert callable(function)
    values = []
    with torch.no_grad():
        first = weight.view(-1)
        kept = float(first[0])
        for side in (width, -width):
            first[0] = kept + side
            with torch.enable_grad():
                values.append(float(function()))
        first[0] = kept
    return (values[0] - values[1]) / (2 * width)
