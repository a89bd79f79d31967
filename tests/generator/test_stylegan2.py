"""StyleGAN2 against an independent re-derivation from the state dict, and against the layout of PROTOCOLS 4."""

import pytest
import torch
from grouped_reference import discriminator, mapping, stddev_channel, synthesis, upfirdn
from protocol_layout import Layout, discriminator_layout, generator_layout
from torch import Tensor, nn

from assimilate.generator.architecture import Architecture, architecture_of, stylegan2_channels
from assimilate.generator.discriminator import Discriminator, minibatch_stddev
from assimilate.generator.resample import Blur, Upsample
from assimilate.generator.stylegan2 import Generator

FULL = 512


def random_state(layout: Layout, seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=rng) for key, shape in layout.items()}


def randomised(network: nn.Module, *, kernels: bool = False) -> dict[str, Tensor]:
    """Give every weight (and, if asked, every filter) a random value; returns the state dict in float64."""
    network.double()
    rng = torch.Generator().manual_seed(1)
    state = {
        key: value if key.endswith("kernel") and not kernels else torch.randn(value.shape, generator=rng).double()
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return state


@pytest.fixture
def narrow() -> Architecture:
    # Widths differ at each resolution, so that a mixed-up one cannot pass.
    return Architecture(image_size=16, latent_dim=6, num_mapping_layers=3, channels=(7, 5, 4))


@pytest.mark.parametrize("size", [32, 64])
def test_protocol_layout_loads_strictly_and_is_what_we_save(size: int) -> None:
    architecture = Architecture(size, FULL, 8, stylegan2_channels(size))
    for network, layout in (
        (Generator(architecture), generator_layout(size)),
        (Discriminator(architecture), discriminator_layout(size)),
    ):
        network.load_state_dict(random_state(layout), strict=True)
        assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == layout
    assert architecture_of(random_state(generator_layout(size))) == architecture


@pytest.mark.parametrize("kernels", [False, True], ids=["binomial filter", "any filter"])
def test_output_and_gradients_equal_the_grouped_form(narrow: Architecture, kernels: bool) -> None:
    network = Generator(narrow)
    state = randomised(network, kernels=kernels)
    leaves = {key: value.clone().requires_grad_() for key, value in state.items()}
    latents = torch.randn(3, 6, dtype=torch.float64)
    codes = torch.randn(3, narrow.num_codes, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 3, 16, 16, dtype=torch.float64)

    torch.testing.assert_close(network.map(latents), mapping(state, latents), rtol=1e-10, atol=1e-10)
    images = network.synthesize(codes, network.fixed_noise())
    expected = synthesis(leaves, codes)
    torch.testing.assert_close(images, expected, rtol=1e-10, atol=1e-10)

    trained = [name for name, _ in network.named_parameters() if not name.startswith("style.")]
    parameters = dict(network.named_parameters())
    ours = torch.autograd.grad((images * weights).sum(), [codes, *(parameters[name] for name in trained)])
    theirs = torch.autograd.grad((expected * weights).sum(), [codes, *(leaves[name] for name in trained)])
    for name, mine, other in zip(["codes", *trained], ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_noise_of_each_image_equals_the_grouped_form(narrow: Architecture) -> None:
    network = Generator(narrow)
    state = randomised(network)
    codes = torch.randn(2, narrow.num_codes, 6, dtype=torch.float64)
    noise = [value.double() for value in network.draw_noise(2, torch.Generator().manual_seed(0))]
    assert [tuple(value.shape) for value in noise] == [(2, 1, size, size) for size in (4, 8, 8, 16, 16)]
    torch.testing.assert_close(network.synthesize(codes, noise), synthesis(state, codes, noise), rtol=1e-10, atol=1e-10)


def test_frozen_generator_gives_the_same_images(narrow: Architecture) -> None:
    network = Generator(narrow)
    randomised(network)
    codes = torch.randn(2, narrow.num_codes, 6, dtype=torch.float64)
    before = network.synthesize(codes, network.fixed_noise())
    network.freeze()
    torch.testing.assert_close(network.synthesize(codes, network.fixed_noise()), before, rtol=1e-12, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    # Loading new weights must not leave the precomputed old ones behind.
    state = randomised(Generator(narrow))
    network.load_state_dict({key: value * 0.5 for key, value in state.items()})
    expected = synthesis({key: value * 0.5 for key, value in state.items()}, codes)
    torch.testing.assert_close(network.synthesize(codes, network.fixed_noise()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernels", [False, True], ids=["binomial filter", "any filter"])
def test_discriminator_equals_its_rederivation(narrow: Architecture, kernels: bool) -> None:
    network = Discriminator(narrow)
    state = randomised(network, kernels=kernels)
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    ours, theirs = network(images), discriminator(state, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(logits.square().sum(), images)[0] for logits in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_batches_in_a_row_keep_their_statistics_apart(narrow: Architecture) -> None:
    network = Discriminator(narrow).double()
    first, second = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64)
    together = network(torch.cat([first, second]), num_batches=2)
    torch.testing.assert_close(together, torch.cat([network(first), network(second)]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_minibatch_stddev_equals_loops(batch: int) -> None:
    features = torch.randn(batch, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(minibatch_stddev(features), stddev_channel(features), rtol=1e-12, atol=1e-12)


def test_minibatch_stddev_refuses_a_batch_without_groups() -> None:
    with pytest.raises(ValueError, match=r"generator\.batch_size=6"):
        minibatch_stddev(torch.zeros(6, 3, 4, 4))


@pytest.mark.parametrize("separable", [True, False])
def test_filters_equal_zero_insertion_and_loops(separable: bool) -> None:
    images = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    random_kernel = torch.randn(4, 4, dtype=torch.float64)
    for network, options in (
        (Blur(padding=1).double(), {"pad": (1, 1)}),
        (Blur(padding=2).double(), {"pad": (2, 2)}),
        (Upsample().double(), {"pad": (2, 1), "up": 2}),
    ):
        if not separable:
            network.load_state_dict({"kernel": random_kernel})
        expected = upfirdn(images, network.kernel, **options)
        torch.testing.assert_close(network(images), expected, rtol=1e-12, atol=1e-12)
    every_other = Blur(padding=1).double()
    expected = upfirdn(images, every_other.kernel, pad=(1, 1), down=2)
    torch.testing.assert_close(every_other(images, stride=2), expected, rtol=1e-12, atol=1e-12)


def test_widths_follow_the_protocol() -> None:
    assert stylegan2_channels(64) == (512, 512, 512, 512, 512)
    assert stylegan2_channels(256, channel_multiplier=1) == (512, 512, 512, 512, 256, 128, 64)
    assert stylegan2_channels(128, max_channels=32) == (32, 32, 32, 32, 32, 32)
    assert stylegan2_channels(16, max_channels=32, channel_base=256) == (32, 32, 16)
    assert [Architecture(size, 8, 1, stylegan2_channels(size)).num_codes for size in (8, 32, 64)] == [4, 8, 10]


@pytest.mark.parametrize("size", [4, 24, 31, 512])
def test_sizes_that_cannot_be_made_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.image_size={size}.*8, 16, 32, 64, 128, 256"):
        stylegan2_channels(size)
