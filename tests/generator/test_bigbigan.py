"""BigBiGAN's layout against PROTOCOLS 12 and its layers against slow re-derivations in float64."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bigbigan_reference import attention, block, conditional_norm, conv, generate, protocol_layout, spectral
from scipy import stats
from toy_bigbigan import TOY, toy_bigbigan

from assimilate.generator.bigbigan import (
    BigBiGAN,
    BigBiGANArchitecture,
    bigbigan_architecture_of,
    load_bigbigan,
    save_bigbigan,
)
from assimilate.generator.protocol import check_generator
from assimilate.generator.truncated import TruncatedBigBiGAN
from assimilate.generator.truncated_normal import truncated_normal


def numbers(network: BigBiGAN) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in network.state_dict().items()}


def close(ours: torch.Tensor, reference: np.ndarray) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=1e-9, atol=1e-11)


# ------------------------------------------------------------------------------------------------ layout


def test_keys_and_shapes_are_those_of_the_protocol() -> None:
    with torch.device("meta"):
        network = BigBiGAN(BigBiGANArchitecture())
    layout = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert layout == protocol_layout()


def test_the_architecture_is_read_from_the_shapes() -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in protocol_layout().items()}
    architecture = bigbigan_architecture_of(state)
    assert architecture == BigBiGANArchitecture()
    assert (architecture.image_size, architecture.latent_dim, architecture.num_blocks) == (128, 120, 5)
    assert bigbigan_architecture_of(toy_bigbigan().state_dict()) == TOY


def test_a_checkpoint_comes_back_with_the_same_keys_and_numbers(tmp_path: Path) -> None:
    network = toy_bigbigan()
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    before = torch.get_rng_state()
    loaded = load_bigbigan(tmp_path / "theirs.pt", image_size=16, latent_dim=15)
    assert torch.equal(torch.get_rng_state(), before)
    save_bigbigan(tmp_path / "ours.pt", loaded.freeze())
    saved = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert saved.keys() == network.state_dict().keys()
    assert all(torch.equal(saved[key], value) for key, value in network.state_dict().items())


# ------------------------------------------------------------------------------------------------ layers


def test_spectral_norm_is_one_step_from_the_stored_vector() -> None:
    network = toy_bigbigan().double()
    for name in ("linear", "blocks.0.0.conv1", "blocks.1.0.bn2.gain", "output_layer.2"):
        module = network.get_submodule(name)
        close(module.normalised(), spectral(numbers(network), name))
    before = network.linear.u0.clone()
    network(torch.randn(1, 15, dtype=torch.float64))
    assert torch.equal(network.linear.u0, before)


def test_a_stored_singular_vector_gives_the_spectral_norm_itself() -> None:
    network = toy_bigbigan().double()
    weight = network.linear.weight.detach()
    left, values, _ = torch.linalg.svd(weight, full_matrices=False)
    network.linear.u0.copy_(left[:, :1].T)
    torch.testing.assert_close(network.linear.normalised(), weight / values[0], rtol=1e-12, atol=0)


def test_conditional_norm_convolution_block_and_attention() -> None:
    network = toy_bigbigan().double()
    state = numbers(network)
    features, condition = torch.randn(2, 16, 4, 4).double(), torch.randn(2, 11).double()
    parts: list[Any] = [
        (network.blocks[0][0].bn1(features, condition), lambda i: conditional_norm(
            state, "blocks.0.0.bn1", features[i].numpy(), condition[i].numpy())),
        (network.blocks[0][0].conv1(features), lambda i: conv(state, "blocks.0.0.conv1", features[i].numpy())),
        (network.blocks[0][0](features, condition), lambda i: block(
            state, "blocks.0.0", features[i].numpy(), condition[i].numpy())),
        (network.blocks[0][1](features[:, :8]), lambda i: attention(state, "blocks.0.1", features[i, :8].numpy())),
    ]  # fmt: skip
    for ours, reference in parts:
        for index in range(2):
            close(ours[index], reference(index))


@pytest.mark.parametrize(
    "architecture",
    [TOY, BigBiGANArchitecture(widths=(8, 8, 8, 4), chunk_dim=2, shared_dim=3, num_classes=2, attention_block=1)],
    ids=["16px", "32px"],
)
def test_whole_images(architecture: BigBiGANArchitecture) -> None:
    network = toy_bigbigan(architecture).double()
    latents = torch.randn(2, architecture.latent_dim, dtype=torch.float64)
    expected = [generate(numbers(network), latent.numpy()) for latent in latents]
    for images in (network(latents), network.freeze()(latents)):
        for ours, reference in zip(images, expected, strict=True):
            close(ours, reference)
    assert float(np.std(expected)) > 0.05  # no flat grey


# ------------------------------------------------------------------------------------------------ as a LatentGenerator


def test_it_is_a_latent_generator_of_one_code() -> None:
    network = toy_bigbigan()
    generator = TruncatedBigBiGAN(network, truncation=0.5)
    check_generator(generator, image_size=16)
    assert (generator.image_size, generator.num_codes, generator.latent_dim) == (16, 1, 15)
    assert not generator.latent_mean.any()
    latents = generator.sample_latents(3, torch.Generator().manual_seed(1))
    assert torch.equal(latents, torch.randn(3, 15, generator=torch.Generator().manual_seed(1)))
    codes = generator.map(latents)[:, None].clone().requires_grad_()
    images = generator.synthesize(codes)
    with torch.no_grad():
        torch.testing.assert_close(images, network(0.5 * latents), rtol=1e-4, atol=1e-5)
    images.square().sum().backward()
    assert codes.grad is not None
    assert bool(codes.grad.abs().sum(dim=2).all())
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())  # a copy was frozen


def test_truncated_latents_are_truncated_normal() -> None:
    draws = truncated_normal((200, 100), 2.0, torch.Generator().manual_seed(0))
    assert float(draws.abs().max()) <= 2
    assert stats.kstest(draws.flatten().double().numpy(), stats.truncnorm(-2, 2).cdf).pvalue > 0.01
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = truncated_normal((50,), 0.7, torch.Generator().manual_seed(3))
    np.testing.assert_allclose(ours.numpy(), stats.truncnorm.ppf(uniform.numpy(), -0.7, 0.7), rtol=1e-5, atol=1e-6)
    limited = TruncatedBigBiGAN(toy_bigbigan(), latent_limit=2.0)
    assert torch.equal(
        limited.sample_latents(4, torch.Generator().manual_seed(5)),
        truncated_normal((4, 15), 2.0, torch.Generator().manual_seed(5)),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"truncation": 0.0}, r"generator\.truncation=0\.0"), ({"latent_limit": -1.0}, r"generator\.latent_limit=-1\.0")],
)
def test_settings_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TruncatedBigBiGAN(toy_bigbigan(), **options)


# ------------------------------------------------------------------------------------------------ bad files


def test_unfit_files_give_one_readable_error(tmp_path: Path) -> None:
    path = tmp_path / "toy.pt"
    torch.save(toy_bigbigan().state_dict(), path)
    with pytest.raises(ValueError, match=r"makes images of 16×16, but dataset\.image_size=128"):
        load_bigbigan(path, image_size=128)
    with pytest.raises(ValueError, match=r"latents have 15 numbers, but generator\.latent_width=120"):
        load_bigbigan(path, latent_dim=120)
    with pytest.raises(ValueError, match=r"generator\.checkpoint=.*missing\.pt: no such file"):
        load_bigbigan(tmp_path / "missing.pt")
    for name, content, message in (
        ("list", [1], r"holds a list; needed is a BigBiGAN state dict"),
        ("stylegan2", {"g_ema": {}}, r"layout of its PyTorch port: 'linear\.weight' is missing"),
        ("empty", {}, r"layout of its PyTorch port"),
        ("words", {"linear.weight": "a", "shared.weight": "b"}, r"layout of its PyTorch port"),
        ("lacking", {k: v for k, v in toy_bigbigan().state_dict().items() if k != "linear.u0"}, r"linear\.u0"),
        ("more", toy_bigbigan().state_dict() | {"extra": torch.zeros(1)}, "extra"),
        ("shape", toy_bigbigan().state_dict() | {"output_layer.0.gain": torch.zeros(9)}, r"output_layer\.0\.gain"),
    ):
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(ValueError, match=rf"generator\.checkpoint=.*{name}\.pt.*{message}") as caught:
            load_bigbigan(tmp_path / f"{name}.pt")
        assert "\n" not in str(caught.value)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    path = tmp_path / "evil.pt"
    torch.save({**toy_bigbigan().state_dict(), "extra": Payload()}, path)
    with pytest.raises(ValueError, match=rf"generator\.checkpoint={re.escape(str(path))}: refused.*mkdir"):
        load_bigbigan(path)
    assert not marker.exists()
