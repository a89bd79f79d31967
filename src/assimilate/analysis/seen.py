"""Pictures as f sees them: one pass gives embeddings, features and the moments of what BatchNorm layers are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor, nn

from assimilate.encoder.encoder import EmbeddingOf
from assimilate.views.embedding import FrozenEmbedding, from_pixels

BATCH = 256


@dataclass(frozen=True)
class LayerMoments:
    """Mean and variance (divisor n) of what one BatchNorm layer is given, a channel, and the ε that it divides with."""

    mean: Float64[Tensor, " channels"]
    variance: Float64[Tensor, " channels"]
    epsilon: float


@dataclass(frozen=True)
class Seen:
    """Pictures, `views` of each of `images` images, and what f makes of them; on the CPU.

    Attributes:
        pixels: as they are stored.
        embedded: f's output, of norm 1, where Eq. 3's distances are measured.
        features: the backbone's output, on which probes work.
        moments: of the input of each BatchNorm layer of f, in their order; none where f has no such layer.
    """

    pixels: UInt8[np.ndarray, "images views 3 height width"]
    embedded: Float[Tensor, "images views dim"]
    features: Float[Tensor, "images views feature_dim"]
    moments: Sequence[LayerMoments]


class _Moments:
    """Moments of a layer's input over batches (Chan, Golub & LeVeque, 1979), so that no small variance is lost."""

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        self.layer, self.count = layer, 0
        self.mean = self.squares = torch.zeros(0, dtype=torch.float64)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        (x,) = given
        variance, mean = torch.var_mean(x.detach(), dim=[0, *range(2, x.dim())], correction=0)
        mean, variance, count = mean.double().cpu(), variance.double().cpu(), x.numel() // x.shape[1]
        if not self.count:
            self.mean, self.squares = torch.zeros_like(mean), torch.zeros_like(mean)
        total, step = self.count + count, mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.squares = self.squares + variance * count + step.square() * (self.count * count / total)
        self.count = total

    def result(self) -> LayerMoments:
        return LayerMoments(self.mean, self.squares / self.count, self.layer.eps)


@torch.no_grad()
def look(
    f: FrozenEmbedding, pixels: UInt8[np.ndarray, "images views 3 height width"], *, device: torch.device | str
) -> Seen:
    """Show pictures to f, which is on the device.

    Args:
        f: of an encoder.
        pixels: at least one.
        device: where f is.
    """
    assert isinstance(f.encoder, EmbeddingOf), type(f.encoder)
    features: list[Tensor] = []

    def keep(layer: nn.Module, given: Any, output: Tensor) -> None:
        features.append(output.cpu())

    layers = [_Moments(part) for part in f.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    hooks = [moments.layer.register_forward_pre_hook(moments) for moments in layers]
    hooks.append(f.encoder.encoder.backbone.register_forward_hook(keep))
    flat = torch.from_numpy(pixels).flatten(0, 1)
    try:
        embedded = torch.cat([f(from_pixels(part.to(device))).cpu() for part in flat.split(BATCH)])
    finally:
        for hook in hooks:
            hook.remove()
    shape = pixels.shape[:2]
    moments = [layer.result() for layer in layers if layer.count]
    return Seen(pixels, embedded.unflatten(0, shape), torch.cat(features).flatten(1).unflatten(0, shape), moments)
