"""Features of a frozen encoder."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from assimilate.data.augmentation import Augmentation, Identity, normalize
from assimilate.data.images import ImageArrays, Statistics
from assimilate.data.seeding import generator
from assimilate.encoder.encoder import Encoder

Module = TypeVar("Module", bound=nn.Module)


def freeze(module: Module) -> Module:
    """Puts a module in eval mode and takes the gradients from its parameters, for good; returns it."""
    return module.eval().requires_grad_(False)


def assert_frozen(module: nn.Module) -> None:
    """Refuses a module that a probe could change, or whose BatchNorm would see the batch.

    Raises:
        ValueError: a part is in train mode, or a parameter takes gradients.
    """
    _assert_eval(module)
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if learning:
        raise ValueError(
            f"a probe needs a frozen encoder, but {len(learning)} of its parameters take gradients "
            f"({learning[0]}, …); call freeze(encoder) first"
        )


@contextlib.contextmanager
def staying_frozen(module: nn.Module) -> Iterator[None]:
    """A block in which a frozen module is used: it is frozen before and after, and BatchNorm's statistics stand still.

    Raises:
        ValueError: it is not frozen, or a buffer changed.
    """
    assert_frozen(module)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    yield
    assert_frozen(module)
    changed = [name for name, buffer in module.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:
        raise ValueError(f"{len(changed)} buffers of a frozen encoder changed while it was probed ({changed[0]}, …)")


def _assert_eval(module: nn.Module) -> None:
    training = [name or type(module).__name__ for name, part in module.named_modules() if part.training]
    if training:
        raise ValueError(
            f"a probe needs an encoder in eval mode, but {len(training)} of its parts are in train mode "
            f"({training[0]}, …): BatchNorm would use the batch's statistics; call freeze(encoder) first"
        )


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for the duration of a block; each part returns to the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def extract_features(
    encoder: Encoder,
    images: ImageArrays | NDArray[np.uint8] | UInt8[Tensor, "n 3 height width"],
    *,
    mean: Statistics | None = None,
    std: Statistics | None = None,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    transform: Augmentation | None = None,
    seed: tuple[int | str, ...] = ("features",),
) -> Float[Tensor, "n feature_dim"]:
    """The backbone's features [n, feature_dim] of all images, in their order, on `device`; no gradients.

    Args:
        encoder: in eval mode; it is on `device` already.
        images: a data set's, or uint8 [n, 3, height, width].
        mean, std: the normalisation of its inputs; None takes the encoder's own.
        device: None takes the encoder's.
        transform: what is done to the uint8 images; None only converts them. Chunk j of `batch_size` images draws from
            the generator named by (*seed, j), so draws depend on batch_size where there are any.

    Raises:
        ValueError: a part of the encoder is in train mode.
    """
    _assert_eval(encoder)
    parameter = next(encoder.parameters())
    device = parameter.device if device is None else torch.device(device)
    transform = Identity() if transform is None else transform
    mean, std = mean or encoder.mean, std or encoder.std
    pixels = images.images if isinstance(images, ImageArrays) else images
    features = torch.empty(len(images), encoder.feature_dim, device=device, dtype=parameter.dtype)
    for chunk, start in enumerate(range(0, len(images), batch_size)):
        some = pixels[start : start + batch_size]
        # A copy: the array may be a read-only memory map.
        stored = (some if isinstance(some, Tensor) else torch.from_numpy(some.copy())).to(device, non_blocking=True)
        views = normalize(transform(stored, generator(*seed, chunk)), mean, std)
        features[start : start + len(stored)] = encoder.features(views.to(parameter.dtype))
    return features


def finite_features(features: Float[Tensor, "n feature_dim"]) -> Float[Tensor, "n feature_dim"]:
    """The features as they are; for those of images that a number is reported on.

    Raises:
        ValueError: one is NaN or infinite. Every comparison with NaN is false, so it would be counted as something.
    """
    sound = torch.isfinite(features).all(dim=1)
    if not bool(sound.all()):
        bad = (~sound).nonzero().squeeze(1)
        raise ValueError(
            f"the encoder's features of {len(bad)} of {len(features)} images are not finite (NaN or ∞; the first is "
            f"image {int(bad[0])}): its weights or BatchNorm statistics are broken; give another checkpoint, or train "
            "it again with a lower optimizer.lr"
        )
    return features
