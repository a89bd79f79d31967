"""The in-domain encoder against the layout of PROTOCOLS 5 and an independent re-derivation, and its checkpoints."""

import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from assimilate.inversion.encoder import (
    InversionEncoder,
    InversionEncoderSpec,
    load_inversion_encoder,
    save_inversion_encoder,
)

NARROW = InversionEncoderSpec(image_size=16, num_codes=6, latent_dim=5, channels=(7, 6, 4))


def protocol_layout(size: int) -> dict[str, tuple[int, ...]]:
    """e at full width for size 32 or 64, written out from PROTOCOLS 5."""
    widths = {32: [512, 512, 512, 512], 64: [256, 512, 512, 512, 512]}[size]
    codes = {32: 8, 64: 10}[size]
    layout: dict[str, tuple[int, ...]] = {"convs.0.0.weight": (widths[0], 3, 1, 1), "convs.0.1.bias": (widths[0],)}
    for block, (before, after) in enumerate(pairwise(widths), start=1):
        layout |= {
            f"convs.{block}.conv1.0.weight": (before, before, 3, 3),
            f"convs.{block}.conv1.1.bias": (before,),
            f"convs.{block}.conv2.0.kernel": (4, 4),
            f"convs.{block}.conv2.1.weight": (after, before, 3, 3),
            f"convs.{block}.conv2.2.bias": (after,),
            f"convs.{block}.skip.0.kernel": (4, 4),
            f"convs.{block}.skip.1.weight": (after, before, 1, 1),
        }
    return layout | {f"convs.{len(widths)}.weight": (codes * 512, 512, 4, 4)}


@pytest.mark.parametrize("size", [32, 64])
def test_protocol_layout_loads_strictly_and_is_what_we_save(size: int, tmp_path: Path) -> None:
    layout = protocol_layout(size)
    rng = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=rng) for key, shape in layout.items()}
    torch.save({"e": state}, tmp_path / "foreign.pt")
    num_codes = {32: 8, 64: 10}[size]
    encoder = load_inversion_encoder(tmp_path / "foreign.pt", image_size=size, num_codes=num_codes, latent_dim=512)
    assert {key: tuple(value.shape) for key, value in encoder.state_dict().items()} == layout
    assert all(torch.equal(encoder.state_dict()[key], value) for key, value in state.items())


def test_output_equals_its_rederivation() -> None:
    encoder = InversionEncoder(NARROW).double()
    rng = torch.Generator().manual_seed(1)
    state = {
        key: value if key.endswith("kernel") else torch.randn(value.shape, generator=rng).double()
        for key, value in encoder.state_dict().items()
    }
    encoder.load_state_dict(state)
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    values = _leaky(_conv(state["convs.0.0.weight"], images), state["convs.0.1.bias"])
    for block in (1, 2):
        name = f"convs.{block}"
        inner = _leaky(_conv(state[f"{name}.conv1.0.weight"], values, padding=1), state[f"{name}.conv1.1.bias"])
        inner = _conv(state[f"{name}.conv2.1.weight"], _blur(inner, state[f"{name}.conv2.0.kernel"], 2), stride=2)
        inner = _leaky(inner, state[f"{name}.conv2.2.bias"])
        skip = _conv(state[f"{name}.skip.1.weight"], _blur(values, state[f"{name}.skip.0.kernel"], 1), stride=2)
        values = (inner + skip) / math.sqrt(2)
    last = state["convs.3.weight"]
    expected = torch.einsum("bchw,ochw->bo", values, last) / math.sqrt(last[0].numel())
    torch.testing.assert_close(encoder(images), expected.view(3, 6, 5), rtol=1e-10, atol=1e-10)


def test_what_we_save_comes_back(tmp_path: Path) -> None:
    encoder = InversionEncoder(NARROW)
    save_inversion_encoder(tmp_path / "e.pt", encoder, step=3)
    back = load_inversion_encoder(tmp_path / "e.pt", image_size=16, num_codes=6, latent_dim=5)
    assert back.spec == NARROW
    assert all(torch.equal(back.state_dict()[key], value) for key, value in encoder.state_dict().items())


def test_unfit_checkpoints_give_one_readable_error(tmp_path: Path) -> None:
    save_inversion_encoder(tmp_path / "e.pt", InversionEncoder(NARROW))
    with pytest.raises(
        ValueError, match=r"inversion\.checkpoint=.*takes images of 16×16, but the generator makes 32×32"
    ):
        load_inversion_encoder(tmp_path / "e.pt", image_size=32, num_codes=8, latent_dim=5)
    with pytest.raises(ValueError, match=r"gives 30 numbers an image, but the generator takes 6 codes of 512"):
        load_inversion_encoder(tmp_path / "e.pt", image_size=16, num_codes=6, latent_dim=512)
    torch.save({"g_ema": {}}, tmp_path / "g.pt")
    with pytest.raises(ValueError, match=r"no encoder under the key e, only \['g_ema'\]"):
        load_inversion_encoder(tmp_path / "g.pt", image_size=16, num_codes=6, latent_dim=5)
    torch.save({"e": {"fc.weight": torch.zeros(1)}}, tmp_path / "fc.pt")
    with pytest.raises(ValueError, match=r"in-domain layout: 'convs\.0\.0\.weight' is missing"):
        load_inversion_encoder(tmp_path / "fc.pt", image_size=16, num_codes=6, latent_dim=5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"no encoder under the key e, only \['e'\]"),
        ([1], r"e: is a list; needed is a state dict"),
        ({0: torch.zeros(2)}, r"e: is no state dict.*it holds 0: Tensor"),
        ({"convs.0.0.weight": None}, r"it holds 'convs\.0\.0\.weight': NoneType"),
        ({"convs.0.0.weight": torch.full((2,), torch.nan)}, r"convs\.0\.0\.weight is not finite"),
    ],
)
def test_malformed_weights_are_one_readable_error(value: object, message: str, tmp_path: Path) -> None:
    torch.save({"e": value}, tmp_path / "e.pt")
    with pytest.raises(ValueError, match=rf"^inversion\.checkpoint=.*{message}") as caught:
        load_inversion_encoder(tmp_path / "e.pt", image_size=16, num_codes=6, latent_dim=5)
    assert "\n" not in str(caught.value)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was-run"),)

    torch.save({"e": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"inversion\.checkpoint=.*refused"):
        load_inversion_encoder(tmp_path / "evil.pt", image_size=16, num_codes=6, latent_dim=5)
    assert not (tmp_path / "was-run").exists()


def _conv(weight: Tensor, images: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    return functional.conv2d(images, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)


def _leaky(values: Tensor, bias: Tensor) -> Tensor:
    return functional.leaky_relu(values + bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)


def _blur(images: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """The whole 4×4 filter on every channel by itself; it is symmetric, so flipping it changes nothing."""
    flat = images.flatten(0, 1)[:, None]
    return functional.conv2d(flat, kernel[None, None], padding=padding).unflatten(0, images.shape[:2])[:, :, 0]
