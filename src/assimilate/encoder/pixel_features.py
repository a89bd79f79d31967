"""The backbone of an encoder as a feature space for stored images."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from assimilate.encoder.encoder import Encoder


class PixelFeatures(nn.Module):
    """uint8 images to the backbone's features h; ``mean`` and ``std`` are those of images in [0, 1], a channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature_dim"]:
        return self.backbone((images.float() / 255 - self.mean) / self.std)
