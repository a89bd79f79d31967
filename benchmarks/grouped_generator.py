"""The usual form of StyleGAN2's synthesis, as a reference: one grouped convolution with a weight for every image.

Written straight from the published layout for any checkpoint of it; blur as one 4×4 depthwise convolution.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class GroupedGenerator:
    """Synthesis of a state dict of the rosinality layout, with its registered noise and truncation.

    Args:
        state: `g_ema`.
        latent_mean: of truncation.
        truncation: ψ.
    """

    def __init__(self, state: dict[str, Tensor], latent_mean: Tensor, *, truncation: float) -> None:
        self.state, self.latent_mean, self.truncation = state, latent_mean, truncation

    def synthesize(self, codes: Tensor) -> Tensor:
        """Images of pre-truncation codes [batch, codes, dim]."""
        codes = self.latent_mean + self.truncation * (codes - self.latent_mean)
        state = self.state
        features = state["input.input"].repeat(len(codes), 1, 1, 1)
        features = self._styled("conv1", features, codes[:, 0], 0)
        image = self._to_rgb("to_rgb1", features, codes[:, 1])
        for block in range((codes.shape[1] - 2) // 2):
            layer = 1 + 2 * block
            features = self._styled(f"convs.{2 * block}", features, codes[:, layer], layer, up=True)
            features = self._styled(f"convs.{2 * block + 1}", features, codes[:, layer + 1], layer + 1)
            skip = self._blur(_insert_zeros(image), state[f"to_rgbs.{block}.upsample.kernel"], (2, 1))
            image = self._to_rgb(f"to_rgbs.{block}", features, codes[:, layer + 2]) + skip
        return image

    def _styled(self, name: str, features: Tensor, codes: Tensor, layer: int, *, up: bool = False) -> Tensor:
        state = self.state
        values = self._convolve(f"{name}.conv", features, codes, up=up)
        values = values + state[f"{name}.noise.weight"] * state[f"noises.noise_{layer}"]
        return F.leaky_relu(values + state[f"{name}.activate.bias"].view(1, -1, 1, 1), 0.2) * math.sqrt(2)

    def _to_rgb(self, name: str, features: Tensor, codes: Tensor) -> Tensor:
        return self._convolve(f"{name}.conv", features, codes, demodulate=False) + self.state[f"{name}.bias"]

    def _convolve(
        self, name: str, features: Tensor, codes: Tensor, *, up: bool = False, demodulate: bool = True
    ) -> Tensor:
        weight, affine = self.state[f"{name}.weight"], self.state[f"{name}.modulation.weight"]
        batch, (_, channels_out, channels_in, size, _) = len(codes), weight.shape
        styles = F.linear(codes, affine / math.sqrt(affine.shape[1]), self.state[f"{name}.modulation.bias"])
        own = weight / math.sqrt(channels_in * size**2) * styles.view(batch, 1, channels_in, 1, 1)
        if demodulate:
            own = own * torch.rsqrt(own.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        grouped = features.reshape(1, batch * channels_in, *features.shape[2:])
        if not up:
            own = own.view(batch * channels_out, channels_in, size, size)
            made = F.conv2d(grouped, own, padding=size // 2, groups=batch)
            return made.view(batch, channels_out, *made.shape[2:])
        own = own.transpose(1, 2).reshape(batch * channels_in, channels_out, size, size)
        made = F.conv_transpose2d(grouped, own, stride=2, groups=batch)
        return self._blur(made.view(batch, channels_out, *made.shape[2:]), self.state[f"{name}.blur.kernel"], (1, 1))

    @staticmethod
    def _blur(images: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
        channels = images.shape[1]
        taps = kernel.flip(0, 1).expand(channels, 1, -1, -1)
        return F.conv2d(F.pad(images, (*pad, *pad)), taps, groups=channels)


def _insert_zeros(images: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    spread = images.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = images
    return spread
