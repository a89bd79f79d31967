"""Backbones as a user has them: a component, and a module that knows nothing of assimilate."""

import torch
from torch import nn

from assimilate.encoder.backbones import Backbone
from assimilate.graph.settings import Count


class Patches(Backbone):
    patch: Count = 4
    dim: Count

    def build(self):
        patches = nn.Conv2d(3, self.dim, self.patch, self.patch)
        return nn.Sequential(patches, nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Plain(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.linear = nn.Linear(3, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3)))
