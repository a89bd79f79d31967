"""A stand-in for timm with the three functions that are used and one model, so that the path is run without timm."""

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn


class Model(nn.Module):
    """Patches of 4², BatchNorm, a pool: as picky about the image size as a ViT."""

    def __init__(self, stubborn: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.BatchNorm2d(6)
        self.pretrained_cfg = {"input_size": (3, 24, 24)}
        self._stubborn = stubborn

    def train(self, mode: bool = True) -> "Model":
        return super().train(mode or self._stubborn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-2:] == (24, 24), f"Input height {x.shape[-2]} doesn't match model 24."
        return self.norm(self.embed(x)).relu().mean((2, 3))


def fake_timm(
    *, network: bool = True, stubborn: bool = False, forgetful: bool = False, file: str | None = None
) -> ModuleType:
    """`stubborn` models stay in train mode whatever they are told; `forgetful` weights lack one; `file` is read."""
    module: Any = ModuleType("timm")

    def get_pretrained_cfg(name: str, allow_unregistered: bool = True) -> SimpleNamespace:
        if name not in ("tiny", "tiny.a1", "bare"):
            raise RuntimeError(f"Invalid pretrained tag for {name}.")
        weights = {"hf_hub_id": None if name == "bare" else "timm/tiny.a1", "url": None, "file": None}
        return SimpleNamespace(tag="a1", input_size=(3, 24, 24), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), **weights)

    def create_model(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert num_classes == 0
        if pretrained and not network:
            raise OSError("We couldn't connect to the hub.\nmore lines")
        if pretrained and file is not None:
            torch.load(file, weights_only=False)
        model = Model(stubborn)
        if pretrained:
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if forgetful and name == "embed.weight":
                        continue
                    value.fill_(1) if value.dtype == torch.int64 else value.uniform_(0.1, 1)
        return model

    module.get_pretrained_cfg, module.create_model = get_pretrained_cfg, create_model
    return module
