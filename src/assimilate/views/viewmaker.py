"""Viewmaker (Tamkin et al., 2021): a network that learns bounded perturbations of an image."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from assimilate.encoder.checkpoint import read_torch_file

Images = Float[Tensor, "batch 3 height width"]
NUM_BLOCKS = 3
# Keeps the division finite where the output is 0; part of the method's definition.
SIZE_EPSILON = 1e-4


@dataclass(frozen=True)
class ViewmakerSpec:
    """A Viewmaker network.

    Attributes:
        distortion_budget: mean absolute size of the perturbation of an image in [0, 1], before clamping.
        width: channels of the first layer; 32 is the published network.

    Raises:
        ValueError: a value out of range.
    """

    distortion_budget: float = 0.05
    width: int = 32

    def __post_init__(self) -> None:
        if not self.distortion_budget > 0:
            raise ValueError(f"view.distortion_budget={self.distortion_budget} must be above 0 (the paper uses 0.05)")
        if self.width < 1:
            raise ValueError(f"view.width={self.width} must be at least 1 (the published network has 32)")


class Viewmaker(nn.Module):
    """Perturbs images in [0, 1] so that the mean absolute change of each is the budget, then clamps.

    Downsamples twice, so sides must divide by 4. Noise enters as one more channel of the image and of each residual
    block's input: the same image gets another view at every call.
    """

    def __init__(self, spec: ViewmakerSpec) -> None:
        super().__init__()
        self.spec = spec
        w = spec.width
        self.down = nn.Sequential(
            _convolution(4, w, 9), _norm(w), nn.ReLU(inplace=True),
            _convolution(w, 2 * w, 3, stride=2), _norm(2 * w), nn.ReLU(inplace=True),
            _convolution(2 * w, 4 * w, 3, stride=2), _norm(4 * w), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.blocks = nn.ModuleList(_Residual(4 * w + number) for number in range(1, NUM_BLOCKS + 1))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            _convolution(4 * w + NUM_BLOCKS, 2 * w, 3), _norm(2 * w), nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2),
            _convolution(2 * w, w, 3), _norm(w), nn.ReLU(inplace=True),
            _convolution(w, 3, 9),
        )  # fmt: skip

    @classmethod
    def from_spec(cls, spec: ViewmakerSpec, *, init_seed: int) -> "Viewmaker":
        """A network whose initial weights are a function of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed)
            return cls(spec)

    def perturbation(self, images: Images, rng: torch.Generator) -> Images:
        """δ = tanh(y)·budget / (mean|tanh y| + 1e-4), the mean taken over each image.

        Args:
            images: in [0, 1].
            rng: of the noise, on the CPU.

        Raises:
            ValueError: a side does not divide by 4.
        """
        if images.shape[-1] % 4 or images.shape[-2] % 4:
            raise ValueError(f"view=viewmaker halves images twice: {images.shape[-2]}x{images.shape[-1]} cannot be")
        y = self.down(_with_noise(images, rng))
        for block in self.blocks:
            y = block(_with_noise(y, rng))
        y = self.up(y)
        direction = torch.tanh(y if y.dtype == torch.float64 else y.float())
        size = direction.abs().mean(dim=(1, 2, 3), keepdim=True)
        return direction * (self.spec.distortion_budget / (size + SIZE_EPSILON))

    def forward(self, images: Images, rng: torch.Generator) -> Images:
        """Views in [0, 1] of images in [0, 1]; see `perturbation`."""
        return (images + self.perturbation(images, rng)).clamp(0, 1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, channels, 3), _norm(channels), nn.ReLU(inplace=True),
            _convolution(channels, channels, 3), _norm(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _convolution(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, padding_mode="reflect")


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def _with_noise(x: Tensor, rng: torch.Generator) -> Tensor:
    noise = torch.rand((len(x), 1, *x.shape[2:]), generator=rng)
    return torch.cat([x, noise.to(x, non_blocking=True)], dim=1)


def load_viewmaker(path: Path) -> Viewmaker:
    """What a training with a Viewmaker left, on the CPU.

    Raises:
        ValueError: the file is damaged or no Viewmaker's.
    """
    content = read_torch_file(path)
    if not {"spec", "state_dict"} <= content.keys():
        raise ValueError(f"{path} holds no Viewmaker")
    network = Viewmaker.from_spec(ViewmakerSpec(**content["spec"]), init_seed=0)
    network.load_state_dict(content["state_dict"])
    return network.eval()


class Perturbing:
    """Draws views by a trained network (a ViewSource).

    Args:
        network: on the CPU.
        images: uint8 [N, 3, H, W].
    """

    def __init__(self, network: Viewmaker, images: NDArray[np.uint8]) -> None:
        self._network, self._images = network, images

    @property
    def num_views(self) -> int:
        """Any number: no two draws are the same."""
        return sys.maxsize

    @torch.no_grad()
    def gather(
        self, indices: Int64[Tensor, " batch"], num_sampled: int, rng: torch.Generator
    ) -> UInt8[Tensor, "batch num_sampled 3 height width"]:
        """New views of each image."""
        repeated = np.repeat(np.asarray(self._images[indices.numpy()]), num_sampled, axis=0)
        made = self._network(torch.from_numpy(repeated).float() / 255, rng)
        return (made * 255).round().to(torch.uint8).unflatten(0, (len(indices), num_sampled))
