"""Forward and backward of narrow networks in channels_last against the ordinary format, in a process of its own: what
goes wrong here ends it. Prints one line of JSON: the largest relative difference, and what went through."""

import copy
import json
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from assimilate.encoder.backbone import make_backbone, subsample_before_narrow_pointwise
from assimilate.encoder.encoder import Encoder, EncoderSpec


class Shortcut(nn.Module):
    """One strided 1×1 convolution, as a foreign network may have it."""

    def __init__(self, channels: int, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 2 * channels, 1, stride)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images).square().sum((1, 2, 3))


def gradients(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    network.zero_grad()
    network(images).square().mean().backward()
    return [images.grad, *(parameter.grad.clone() for parameter in network.parameters())]  # type: ignore[union-attr]


def difference(network: nn.Module, images: torch.Tensor, *, reference: nn.Module | None = None) -> float:
    """In norm, relative: of all gradients in channels_last against those of the reference in the ordinary format and
    in float64, which oneDNN does not compute."""
    # Batch statistics of few and similar values would magnify each rounding.
    network.eval().to(memory_format=torch.channels_last)
    expected = gradients((reference or copy.deepcopy(network)).eval().double(), images.double())
    worst = 0.0
    for _ in range(2):
        found = gradients(network, images.contiguous(memory_format=torch.channels_last))
        # What was written past its end, the allocator meets now.
        junk = [torch.empty(size) for size in range(1, 2000, 37)]
        del junk
        worst = max(worst, *(float((a - b).norm() / (b.norm() + 1e-6)) for a, b in zip(found, expected, strict=True)))
    return worst


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    worst: dict[str, float] = {}
    for width in range(1, 17):
        for size, stride in ((8, 2), (64, (1, 2)), (96, 2)):
            network = Shortcut(width, stride)
            reference = copy.deepcopy(network)
            subsample_before_narrow_pointwise(network)
            key = f"convolution {width} {size} {stride}"
            worst[key] = difference(network, torch.randn(2, width, size, size), reference=reference)
        encoder = Encoder.from_spec(EncoderSpec(width=width, hidden_dim=8, output_dim=8))
        worst[f"resnet18 {width}"] = difference(encoder, torch.randn(2, 3, 16, 16))
    imagenet = make_backbone("resnet18", width=5, stem="imagenet")
    worst["resnet18 imagenet"] = difference(imagenet, torch.randn(2, 3, 96, 96))
    worst["resnet50"] = difference(make_backbone("resnet50", width=3), torch.randn(2, 3, 32, 32))
    print(json.dumps(worst))


if __name__ == "__main__":
    main()
