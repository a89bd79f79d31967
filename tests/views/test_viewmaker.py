"""Viewmaker's network: the size of its perturbations, image by image, and its shape."""

import pytest
import torch
from torch import nn

from assimilate.views.viewmaker import Viewmaker, ViewmakerSpec


def images(count=6, size=16, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("budget", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("size", [8, 32])
def test_mean_absolute_size_is_the_budget(budget, size):
    network = Viewmaker.from_spec(ViewmakerSpec(budget, width=8), init_seed=1)
    with torch.no_grad():
        sizes = network.perturbation(images(size=size), rng()).abs().mean(dim=(1, 2, 3))
    assert torch.allclose(sizes, torch.full((6,), budget), rtol=1e-3)


def test_views_are_clamped_images_plus_perturbation():
    network = Viewmaker.from_spec(ViewmakerSpec(0.3, width=4), init_seed=1)
    with torch.no_grad():
        delta, views = network.perturbation(images(), rng(3)), network(images(), rng(3))
    assert torch.equal(views, (images() + delta).clamp(0, 1))
    assert float(views.min()) == 0
    assert float((views - images()).abs().mean()) < 0.3


def test_an_image_s_view_depends_on_the_image_and_the_noise_alone():
    network = Viewmaker.from_spec(ViewmakerSpec(0.05, width=4), init_seed=1)
    pair = images()[:1].expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = network(pair, rng())
        assert not torch.equal(first, second)
        assert torch.equal(network(pair, rng()), network(pair, rng()))
        # InstanceNorm, not BatchNorm: other images beside it change nothing.
        beside = torch.cat([pair[:1], images(1, seed=9) * 0.1])
        quiet = nn.Module.train(network, False)
        with_noise_of_zeros(network)
        torch.testing.assert_close(quiet(beside, rng())[0], quiet(pair, rng())[0])


def with_noise_of_zeros(network):
    """The channels that noise enters through no longer matter."""
    network.down[0].weight.data[:, 3] = 0
    for block in network.blocks:
        block.body[0].weight.data[:, -1] = 0


def test_layers_are_those_of_the_protocol():
    network = Viewmaker.from_spec(ViewmakerSpec(), init_seed=0)
    shapes = [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding_mode)
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    expected = [(4, 32, 9, 1), (32, 64, 3, 2), (64, 128, 3, 2)]
    expected += [(channels, channels, 3, 1) for channels in (129, 129, 130, 130, 131, 131)]
    expected += [(131, 64, 3, 1), (64, 32, 3, 1), (32, 3, 9, 1)]
    assert shapes == [(*shape, "reflect") for shape in expected]
    norms = [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 11
    assert all(norm.affine and not norm.track_running_stats for norm in norms)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"view\.distortion_budget=0 must be above 0"):
        ViewmakerSpec(0)
    network = Viewmaker.from_spec(ViewmakerSpec(width=2), init_seed=0)
    with pytest.raises(ValueError, match="halves images twice: 10x10 cannot be"):
        network(images(1, size=10), rng())
