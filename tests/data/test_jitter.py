import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare, kstest
from torchvision.transforms import ColorJitter
from torchvision.transforms.v2 import functional as reference

from assimilate.data.jitter import (
    JitterParameters,
    by_first_operation,
    draw_jitter,
    jitter_by_operation,
    jitter_by_position,
    jitter_planes,
    to_grayscale,
)
from assimilate.data.seeding import generator

ORDERS = list(itertools.permutations(range(4)))
OPERATIONS = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


def one_by_one(images: torch.Tensor, parameters: JitterParameters) -> torch.Tensor:
    views = []
    for i, view in enumerate(images):
        if parameters.jittered[i]:
            for operation in parameters.order[i].tolist():
                view = OPERATIONS[operation](view, float(parameters.factors[i, operation]))
        views.append(reference.rgb_to_grayscale(view, num_output_channels=3) if parameters.grayscale[i] else view)
    return torch.stack(views)


def images_with_hard_pixels(count: int) -> torch.Tensor:
    """Random uint8 levels, with grey, black, white, primary and two-channels-equal pixels, where hue is delicate."""
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator("hard pixels"))
    images[:, :, 0] = images[:, :1, 0]
    images[:, :, 1, :8], images[:, :, 1, 8:] = 0, 255
    images[:, :2, 2] = images[:, :1, 2]
    images[:, 1:, 3] = images[:, 1:2, 3]
    images[:, ::2, 4] = images[:, :1, 4]
    for pixel, color in enumerate(itertools.product((0, 255), repeat=3)):
        images[:, :, 5, pixel] = torch.tensor(color)
    images[:, :, 6] = images[:, :1, 6] + torch.tensor([0, 1, 0]).view(1, 3, 1)
    return images.clamp(0, 255) / 255


def parameters_for_all_orders(strength: tuple[float, float, float, float]) -> JitterParameters:
    count = 5 * len(ORDERS)
    drawn = draw_jitter(
        count, strength=strength, jitter_probability=0.8, grayscale_probability=0.2, rng=generator("all orders")
    )
    return JitterParameters(torch.tensor(ORDERS * 5), drawn.factors, drawn.jittered, drawn.grayscale)


@pytest.mark.parametrize("strength", [(0.4, 0.4, 0.4, 0.1), (1.5, 1.5, 1.5, 0.5), (0, 0, 0, 0)])
def test_equals_torchvision_in_every_order(strength: tuple[float, float, float, float]) -> None:
    parameters = parameters_for_all_orders(strength)
    images = images_with_hard_pixels(len(parameters.order))
    expected = one_by_one(images, parameters)
    torch.testing.assert_close(jitter_by_position(images, parameters), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(jitter_planes(images, parameters), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("group_size", [1, 7, 1000])
@pytest.mark.parametrize("strength", [(0.4, 0.4, 0.4, 0.1), (1.5, 1.5, 1.5, 0.5), (0, 0, 0, 0)])
def test_groups_of_one_operation_equal_torchvision(
    strength: tuple[float, float, float, float], group_size: int
) -> None:
    drawn = parameters_for_all_orders(strength)
    by_first, count = by_first_operation(drawn)
    assert count == int(drawn.jittered.sum())
    parameters = drawn[by_first]
    assert parameters.jittered.tolist() == [True] * count + [False] * (len(drawn.order) - count)
    images = images_with_hard_pixels(len(drawn.order))[by_first]
    expected = one_by_one(images, replace(parameters, grayscale=torch.zeros_like(parameters.grayscale)))
    ours, lying = jitter_by_operation(images, parameters, count, group_size)
    assert sorted(lying.tolist()) == list(range(len(drawn.order)))
    torch.testing.assert_close(ours, expected[lying], atol=1e-5, rtol=0)


def test_images_that_are_not_sorted_are_refused() -> None:
    drawn = parameters_for_all_orders((0.4, 0.4, 0.4, 0.1))
    images, count = images_with_hard_pixels(len(drawn.order)), int(drawn.jittered.sum())
    with pytest.raises(AssertionError, match="without jitter come last"):
        jitter_by_operation(images, drawn, count, 64)
    by_first, count = by_first_operation(drawn)
    backwards = drawn[torch.cat([by_first[:count].flip(0), by_first[count:]])]
    with pytest.raises(AssertionError, match="by their first operation"):
        jitter_by_operation(images, backwards, count, 64)


def test_hue_equals_torchvision_over_the_whole_turn() -> None:
    shifts = torch.linspace(-0.5, 0.5, 41)
    images = images_with_hard_pixels(len(shifts))
    factors = torch.stack([torch.ones(41)] * 3 + [shifts], dim=1)
    switches = torch.ones(41, dtype=torch.bool)
    parameters = JitterParameters(torch.tensor([[3, 0, 1, 2]] * 41), factors, switches, ~switches)
    ours, lying = jitter_by_operation(images.clone(), parameters, 41, group_size=64)
    assert lying.tolist() == list(range(41))
    expected = torch.stack([reference.adjust_hue(i, float(s)) for i, s in zip(images, shifts, strict=True)])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_grayscale_equals_torchvision() -> None:
    images = images_with_hard_pixels(3)
    expected = reference.rgb_to_grayscale(images, num_output_channels=3)
    torch.testing.assert_close(to_grayscale(images), expected, atol=1e-6, rtol=0)


def test_jitter_by_position_leaves_its_input_alone() -> None:
    images = images_with_hard_pixels(120)
    before = images.clone()
    jitter_by_position(images, parameters_for_all_orders((0.4, 0.4, 0.4, 0.1)))
    assert torch.equal(images, before)


def test_factors_orders_and_switches_are_distributed_as_in_torchvision() -> None:
    count, strength = 10_000, (0.4, 0.8, 1.7, 0.1)
    drawn = draw_jitter(
        count, strength=strength, jitter_probability=0.8, grayscale_probability=0.2, rng=generator("factors")
    )
    # The intervals that torchvision makes of the strengths, negative factors cut off.
    theirs = ColorJitter(*strength)
    intervals = (theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
    for column, (low, high) in enumerate(intervals):
        assert kstest(drawn.factors[:, column].numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3
    torch.manual_seed(0)
    theirs_drawn = [ColorJitter.get_params(*(list(i) for i in intervals)) for _ in range(count)]
    for column in range(4):
        sample = [draw[column + 1] for draw in theirs_drawn]
        assert kstest(drawn.factors[:, column].numpy(), sample).pvalue > 1e-3
    counts = Counter(tuple(order) for order in drawn.order.tolist())
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-3
    assert abs(drawn.jittered.float().mean().item() - 0.8) < 0.02
    assert abs(drawn.grayscale.float().mean().item() - 0.2) < 0.02
