"""Checkpoints of ours and of others: what loads, what is refused, and that nothing in them is run."""

import argparse
import os
import pathlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assimilate.files.plain_files import save_plain
from assimilate.generator.architecture import Architecture, channel_multiplier_of, stylegan2_channels
from assimilate.generator.checkpoint import load_stylegan2, read_checkpoint, save_stylegan2
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2

TINY = Architecture(image_size=16, latent_dim=6, num_mapping_layers=3, channels=(8, 7, 5))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A checkpoint as another program writes it: a Namespace, paths and numpy scalars in args, no truncation mean."""
    content = {
        "g": Generator(TINY).state_dict(),
        "d": Discriminator(TINY).state_dict(),
        "g_ema": Generator(TINY).state_dict(),
        "g_optim": {"state": {}, "param_groups": []},
        "args": argparse.Namespace(
            size=16, lr=np.float64(0.002), steps=np.int64(3), path=pathlib.PosixPath("/data"), ckpt=None
        ),
        "ada_aug_p": np.float32(0.25),
    }
    torch.save(content, tmp_path / "foreign.pt")
    return tmp_path / "foreign.pt"


def test_foreign_checkpoint_loads(foreign: Path) -> None:
    before = torch.get_rng_state()
    state = load_stylegan2(foreign, image_size=16)
    assert torch.equal(torch.get_rng_state(), before)
    assert state.architecture == TINY
    expected = torch.load(foreign, weights_only=False)
    for network, key in ((state.generator_ema, "g_ema"), (state.generator, "g"), (state.discriminator, "d")):
        assert network is not None
        assert all(torch.equal(network.state_dict()[name], value) for name, value in expected[key].items())
    assert torch.equal(state.latent_mean, mean_latent(state.generator_ema, seed=0))


def without_noise(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}


def wrapped(state: dict[str, torch.Tensor], wrapper: str = "module.") -> dict[str, torch.Tensor]:
    return {f"{wrapper}{name}": tensor for name, tensor in state.items()}


def test_a_file_without_noise_maps_gets_the_same_ones_every_time(foreign: Path, tmp_path: Path) -> None:
    """Converted StyleGAN2s are published without the buffers noises.*."""
    content = read_checkpoint(foreign, key="test")
    given = {name: without_noise(content[name]) for name in ("g", "g_ema")}
    torch.save(content | given, tmp_path / "published.pt")
    before = torch.get_rng_state()
    first, second = (load_stylegan2(tmp_path / "published.pt") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.notes == ("published.pt: g_ema, g without noise maps (noises.*), which are drawn from a fixed seed",)
    assert load_stylegan2(foreign).notes == ()
    maps = first.generator_ema.fixed_noise()
    assert all(map(torch.equal, maps, second.generator_ema.fixed_noise()))
    assert [tuple(noise.shape) for noise in maps] == [(1, 1, size, size) for size in (4, 8, 8, 16, 16)]
    values = torch.cat([noise.flatten() for noise in maps])
    assert abs(float(values.mean())) < 0.2
    assert 0.85 < float(values.std()) < 1.15
    assert all(torch.equal(first.generator_ema.state_dict()[name], value) for name, value in given["g_ema"].items())


@pytest.mark.parametrize(
    "layout",
    [
        lambda content: {name: wrapped(content[name]) for name in ("g", "g_ema", "d")},
        lambda content: {"g_ema": wrapped(content["g_ema"], "_orig_mod.module.")},
        lambda content: content["g_ema"],
        lambda content: wrapped(content["g_ema"]),
        lambda content: {**content["g_ema"], "latent_avg": torch.arange(6.0)},
        lambda content: {"g_ema": content["g_ema"], "latent_avg": torch.arange(6.0)},
        lambda content: {"g_ema": content["g_ema"], "latent_avg": torch.arange(6.0)[None]},
        lambda content: {"epoch": 3, "state_dict": content["g_ema"]},
        lambda content: {"epoch": 3, "state_dict": {"g_ema": content["g_ema"]}},
    ],
    ids=["module", "compiled", "bare", "bare-module", "bare-mean", "mean", "row-mean", "wrapped", "wrapped-named"],
)
def test_layouts_of_other_programs_are_the_same_network(foreign: Path, tmp_path: Path, layout: Any) -> None:
    expected = load_stylegan2(foreign)
    given = layout(read_checkpoint(foreign, key="test"))
    torch.save(given, tmp_path / "theirs.pt")
    state = load_stylegan2(tmp_path / "theirs.pt", image_size=16)
    weights = expected.generator_ema.state_dict()
    assert all(torch.equal(state.generator_ema.state_dict()[name], value) for name, value in weights.items())
    assert torch.equal(state.latent_mean, given.get("latent_avg", expected.latent_mean).reshape(-1))
    assert (state.discriminator is not None) == ("d" in given)


@pytest.mark.parametrize("bare", [False, True])
def test_what_lies_beside_a_state_dict_counts_and_none_in_it_does_not(
    foreign: Path, tmp_path: Path, bare: bool
) -> None:
    content = read_checkpoint(foreign, key="test") | {
        "args": argparse.Namespace(iter=7),
        "latent_avg": torch.arange(6.0),
    }
    network = content.pop("g_ema")
    inner = {**network, "latent_mean": None} if bare else {"g_ema": network, "g": None, "latent_mean": None}
    torch.save(content | {"state_dict": inner}, tmp_path / "theirs.pt")
    torch.save(content | {"g_ema": network}, tmp_path / "plain.pt")
    state, plain = load_stylegan2(tmp_path / "theirs.pt"), load_stylegan2(tmp_path / "plain.pt")
    for name in ("generator_ema", "generator", "discriminator"):
        expected = getattr(plain, name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in getattr(state, name).state_dict().items())
    assert (state.step, state.optimizers) == (7, {"g_optim": content["g_optim"]})
    assert torch.equal(state.latent_mean, torch.arange(6.0))


def test_numbers_of_another_program_beside_a_state_dict_are_no_networks(foreign: Path, tmp_path: Path) -> None:
    network = read_checkpoint(foreign, key="test")["g_ema"]
    for inner in (network, {"g_ema": network}):
        torch.save({"state_dict": inner, "g": 0.5, "d": 0.3, "g_optim": "adam"}, tmp_path / "theirs.pt")
        state = load_stylegan2(tmp_path / "theirs.pt")
        assert (state.generator, state.discriminator, state.optimizers) == (None, None, {})
        assert all(torch.equal(state.generator_ema.state_dict()[name], value) for name, value in network.items())


def test_a_larger_network_is_refused_by_the_sizes_that_there_are(tmp_path: Path) -> None:
    state = without_noise(Generator(TINY).state_dict())
    for index in range(4, 14):  # 512 pixels have fourteen convolutions after the first
        state[f"convs.{index}.conv.weight"] = torch.zeros(1, 5, 5, 3, 3)
    torch.save({"g_ema": state}, tmp_path / "large.pt")
    with pytest.raises(
        ValueError, match=r"large\.pt: makes images of 512×512; supported are StyleGAN2s of 8 to 256"
    ) as e:
        load_stylegan2(tmp_path / "large.pt", image_size=256)
    assert "dataset.image_size" not in str(e.value)


def test_allow_list_does_not_outlive_the_load(foreign: Path) -> None:
    load_stylegan2(foreign)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_what_we_save_has_the_common_keys_and_comes_back(foreign: Path, tmp_path: Path) -> None:
    state = load_stylegan2(foreign)
    state.step, state.latent_mean, state.mean_path_length = 7, torch.randn(6), 0.125
    state.history = [{"step": 7.0, "generator": 0.5}]
    save_stylegan2(tmp_path / "ours.pt", state)
    content = read_checkpoint(tmp_path / "ours.pt", key="test")
    assert {"g", "d", "g_ema", "g_optim", "args", "ada_aug_p", "latent_mean"} <= content.keys()
    assert isinstance(content["args"], argparse.Namespace)
    assert (content["args"].size, content["args"].latent, content["args"].n_mlp) == (16, 6, 3)
    assert content["args"].channel_multiplier == 2
    back = load_stylegan2(tmp_path / "ours.pt")
    assert (back.step, back.history, back.mean_path_length) == (7, state.history, 0.125)
    assert torch.equal(back.latent_mean, state.latent_mean)


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("multiplier", [1, 2, 4])
def test_the_multiplier_rebuilds_the_widths_where_other_programs_read_it(size: int, multiplier: int) -> None:
    channels = stylegan2_channels(size, channel_multiplier=multiplier)
    found = channel_multiplier_of(Architecture(size, 512, 8, channels))
    assert stylegan2_channels(size, channel_multiplier=found) == channels


def test_a_narrow_network_has_the_usual_multiplier() -> None:
    narrow = Architecture(64, 64, 2, stylegan2_channels(64, max_channels=32))
    assert channel_multiplier_of(narrow) == 2


def test_moving_average_alone_is_enough(tmp_path: Path) -> None:
    torch.save({"g_ema": Generator(TINY).state_dict()}, tmp_path / "small.pt")
    state = load_stylegan2(tmp_path / "small.pt")
    assert state.generator is None
    assert state.discriminator is None


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    path = tmp_path / "evil.pt"
    torch.save({"g_ema": {}, "args": Payload()}, path)
    with pytest.raises(ValueError, match=rf"generator\.checkpoint={re.escape(str(path))}: refused.*mkdir"):
        load_stylegan2(path)
    assert not marker.exists()


def test_unfit_files_give_one_readable_error(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"makes images of 16×16, but dataset\.image_size=32"):
        load_stylegan2(foreign, image_size=32)
    with pytest.raises(ValueError, match=r"generator\.checkpoint=.*missing\.pt: no such file"):
        load_stylegan2(tmp_path / "missing.pt")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(foreign.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.pt: "):
        load_stylegan2(cut)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.pt: "):
        load_stylegan2(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list"):
        load_stylegan2(tmp_path / "list.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"has no g_ema, only \['model'\]"):
        load_stylegan2(tmp_path / "other.pt")
    torch.save({f"layer{index:03}.weight": torch.zeros(1) for index in range(122)}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"only \['layer000.weight', .*'layer004.weight'\] and 117 more$"):
        load_stylegan2(tmp_path / "network.pt")
    torch.save({"g_ema": {"fc.weight": torch.zeros(2)}}, tmp_path / "resnet.pt")
    with pytest.raises(ValueError, match=r"rosinality layout: 'input\.input' is missing"):
        load_stylegan2(tmp_path / "resnet.pt")
    state = Generator(TINY).state_dict()
    state["conv1.noise.weight"] = torch.zeros(2)
    torch.save({"g_ema": state}, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match=r"g_ema does not fit: .*conv1\.noise\.weight"):
        load_stylegan2(tmp_path / "shape.pt")


def with_nan(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value * float("nan") if key == name else value for key, value in state.items()}


MALFORMED = {
    "g_ema": [
        ([1, 2], r"g_ema: is a list; needed is a state dict"),
        ({1: torch.zeros(2)}, r"g_ema: is no state dict.*it holds 1: Tensor"),
        (Generator(TINY).state_dict() | {"conv1.noise.weight": 3.0}, r"g_ema: .*'conv1\.noise\.weight': float"),
        (Generator(TINY).state_dict() | {"convs.4.conv.weight": torch.zeros(1, 2, 2)}, r"rosinality layout: 5 convs"),
        (with_nan(Generator(TINY).state_dict(), "input.input"), r"g_ema: input\.input is not finite"),
        (None, r"has no g_ema, only \['ada_aug_p', 'args', 'd', 'g'"),
    ],
    "g": [(7, r": g: is a int; needed is a state dict")],
    "d": [
        ("weights", r": d: is a str; needed is a state dict"),
        (with_nan(Discriminator(TINY).state_dict(), "final_conv.1.bias"), r": d: final_conv\.1\.bias is not finite"),
    ],
    "args": [(argparse.Namespace(iter="seven"), r"args\.iter='seven'; needed is a whole number of steps")],
    "latent_mean": [
        ([0.0] * 6, r"it holds 'latent_mean': list"),
        (torch.full((6,), torch.inf), r"latent_mean is not finite"),
        (torch.zeros(5), r"latent_mean has shape \[5\]; needed is \[6\]"),
    ],
    "latent_avg": [(torch.zeros(14, 6), r"latent_avg has shape \[14, 6\]; needed is \[6\]")],
    "mean_path_length": [([], r"mean_path_length is a list; needed is a number")],
}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [(key, *case) for key, cases in MALFORMED.items() for case in cases],
    ids=[f"{key}-{index}" for key, cases in MALFORMED.items() for index, _ in enumerate(cases)],
)
def test_malformed_content_is_one_readable_error(
    key: str, value: object, message: str, foreign: Path, tmp_path: Path
) -> None:
    content = read_checkpoint(foreign, key="test")
    mean = {} if key == "latent_avg" else {"latent_mean": torch.zeros(6)}
    torch.save(content | mean | {key: value}, tmp_path / "malformed.pt")
    with pytest.raises(ValueError, match=rf"^generator\.checkpoint=.*malformed\.pt.*{message}") as caught:
        load_stylegan2(tmp_path / "malformed.pt")
    assert "\n" not in str(caught.value)


def test_none_counts_as_absent(foreign: Path, tmp_path: Path) -> None:
    content = read_checkpoint(foreign, key="test")
    absent: dict[str, Any] = dict.fromkeys(("g", "d", "g_optim", "latent_mean", "history", "mean_path_length"))
    torch.save(content | absent | {"args": argparse.Namespace(iter=None)}, tmp_path / "nones.pt")
    state = load_stylegan2(tmp_path / "nones.pt")
    assert (state.generator, state.discriminator, state.optimizers) == (None, None, {})
    assert (state.step, state.history, state.mean_path_length) == (0, [], 0.0)
    torch.save(content | {"args": argparse.Namespace(iter=np.int64(9))}, tmp_path / "numpy.pt")
    assert load_stylegan2(tmp_path / "numpy.pt").step == 9


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_plain(path, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_plain(path, {"step": lambda: None})
    assert read_checkpoint(path, key="test") == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_generator_moves_codes_towards_the_mean() -> None:
    network = Generator(TINY)
    mean = torch.randn(6)
    state = GeneratorState(TINY, network, mean)
    truncated = TruncatedStyleGAN2.from_state(state, truncation=0.7)
    assert (truncated.image_size, truncated.num_codes, truncated.latent_dim) == (16, 6, 6)
    rng = torch.Generator().manual_seed(0)
    latents = truncated.sample_latents(4, rng)
    assert torch.equal(latents, torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    codes = truncated.map(latents)[:, None].repeat(1, 6, 1).requires_grad_()
    with torch.no_grad():
        expected = network.synthesize(mean + 0.7 * (codes - mean), network.fixed_noise())
    images = truncated.synthesize(codes)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    images.square().sum().backward()
    assert codes.grad is not None
    assert float(codes.grad.abs().min(dim=2).values.min()) >= 0
    assert all(parameter.grad is None for parameter in truncated.parameters())
    alone = truncated.synthesize(codes[:1])
    torch.testing.assert_close(images[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("truncation", [0.0, 1.2, -0.5])
def test_truncation_out_of_range_is_refused(truncation: float) -> None:
    with pytest.raises(ValueError, match=rf"generator\.truncation={truncation}"):
        TruncatedStyleGAN2(Generator(TINY), torch.zeros(6), truncation=truncation)
