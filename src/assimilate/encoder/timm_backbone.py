"""Backbones of timm (PyTorch Image Models), an optional extra: imported only when one is asked for."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

TIMM = "timm/"
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class TimmWeights:
    """What timm says of one set of pretrained weights.

    Attributes:
        name: "<architecture>.<tag>", as timm spells it.
        source: where timm takes the weights from: a model of the Hugging Face hub, or a file's address.
        image_size: side of the square images that they were made for.
        mean, std: per channel, for images in [0, 1].
    """

    name: str
    source: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def import_timm() -> Any:
    """The module.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(
            "a timm/… model needs timm: pip install timm, or from the checkout make extras EXTRAS=timm"
        ) from error


def describe_timm(name: str) -> TimmWeights:
    """Looks the pretrained weights of `name` ("resnet18", "resnet18.a1_in1k") up; a name without tag gets timm's own.

    Raises:
        ValueError: timm is not installed, or knows no such model, or no weights for it.
    """
    timm = import_timm()
    try:
        found = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ValueError(f"timm/{name}: {_reason(error)}; timm.list_pretrained() names what there is") from error
    source = found.hf_hub_id or found.url or found.file
    if not source:
        raise ValueError(
            f"timm/{name}: timm has no pretrained weights for it; timm.list_pretrained() names what there is"
        )
    architecture = name.split(".")[0]
    mean, std = found.mean, found.std
    return TimmWeights(
        name=f"{architecture}.{found.tag}" if found.tag else architecture,
        source=str(source),
        image_size=int(found.input_size[-1]),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )


def pretrained_state(weights: TimmWeights) -> dict[str, Tensor]:
    """The pretrained state dict of a `TimmBackbone` of this name: from timm's cache, else downloaded.

    Raises:
        ValueError: the weights cannot be had, or do not fill the model.
    """
    timm = import_timm()

    def create(seed: int, *, pretrained: bool) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = timm.create_model(weights.name, pretrained=pretrained, num_classes=0)
        return model.state_dict()

    try:
        with _weights_only():
            state = create(0, pretrained=True)
    except Exception as error:  # the hub, the network and the disk each have errors of their own
        raise ValueError(
            f"timm/{weights.name}: its weights cannot be had from {weights.source} ({type(error).__name__}: "
            f"{_reason(error)}); they are downloaded once, so run this where there is a network, or give a state dict "
            "of them as checkpoint=/path/to/file.pth"
        ) from error
    # timm loads what it finds and only logs what it did not: a tensor that is still its seed's draw is untrained.
    drawn, other = create(0, pretrained=False), create(1, pretrained=False)
    left = [
        name for name in state if torch.equal(state[name], drawn[name]) and not torch.equal(drawn[name], other[name])
    ]
    if left:
        raise ValueError(f"timm/{weights.name}: {len(left)} of its tensors were left at random by timm ({left[0]}, …)")
    return {f"model.{name}": tensor for name, tensor in state.items()}


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Some of timm's ways of loading do not ask torch for it."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


class TimmBackbone(nn.Module):
    """A timm model without its classifier, its parameters drawn anew (see `pretrained_state` for others).

    Raises:
        ValueError: timm is not installed, knows no such model, or the model gives no pooled features.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        timm = import_timm()
        try:
            self.model = timm.create_model(name, pretrained=False, num_classes=0)
        except RuntimeError as error:
            raise ValueError(f"timm/{name}: {_reason(error)}; timm.list_models() names what there is") from error
        # num_features is not what every architecture's pooled output has: it is asked for.
        size = self.model.pretrained_cfg.get("input_size", (3, 224, 224))[-1]
        training = self.model.training
        with torch.no_grad():
            pooled = self.model.eval()(torch.zeros(1, 3, size, size))
        self.model.train(training)
        if not isinstance(pooled, Tensor) or pooled.ndim != 2:
            raise ValueError(f"timm/{name} gives no pooled features, so nothing can be probed")
        self.feature_dim = int(pooled.shape[1])

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature_dim"]:
        """The pooled features."""
        return self.model(x)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
