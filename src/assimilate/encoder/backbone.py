"""A backbone from what describes it: a word, a name of timm's, or a class with its settings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from assimilate.encoder import backbones
from assimilate.encoder.timm_backbone import TIMM
from assimilate.errors import UserError
from assimilate.graph.settings import choices
from assimilate.graph.wiring import Wiring, find_class, from_plain


def resnet_name(*, bottleneck: bool, num_blocks: tuple[int, ...]) -> str | None:
    """The word of the ResNet of such blocks, so many a stage; None if it is none of ours."""
    for word, cls in choices(backbones.ResNet).items():
        assert issubclass(cls, backbones.ResNet)
        if (cls.bottleneck, cls.num_blocks) == (bottleneck, num_blocks):
            return word
    return None


def make_backbone(
    name: str | Mapping[str, Any], *, width: int = 64, stem: str = "cifar", initialization: str = "fan_out"
) -> nn.Module:
    """Builds a backbone; its parameters come from torch's global generator (see `Encoder.from_spec` for a seed).

    Args:
        name: "resnet18", "resnet34", "resnet50", "timm/<model>", or a class of your own: a mapping of `_target_` and
            its settings.
        width, stem, initialization: of a ResNet; see `ResNetBackbone`.

    Returns:
        A module from images [batch, 3, height, width] to features [batch, feature_dim], with that attribute.

    Raises:
        ValueError: such a backbone or setting does not exist, or it gives no features.
    """
    try:
        network = _described(name, {"width": width, "stem": stem, "initialization": initialization}).build()
    except UserError as error:
        raise ValueError(str(error)) from error
    if not isinstance(getattr(network, "feature_dim", None), int):
        name = f"encoder.backbone: {type(network).__name__}"
        network.feature_dim = measured_dim(  # type: ignore[assignment]
            network,
            torch.zeros(2, 3, 64, 64),
            cannot=f"{name} has no attribute feature_dim, and cannot see images of 64²",
            wrong=f"{name} gives no features [batch, dim] for images [batch, 3, h, w]",
            advice="; give it that attribute",
        )
    subsample_before_narrow_pointwise(network)
    return network


def _described(name: str | Mapping[str, Any], settings: dict[str, Any]) -> backbones.Backbone:
    if isinstance(name, Mapping):
        return from_plain("backbone", name, backbones.Backbone)
    if name.startswith(TIMM):
        if settings["stem"] != "own":
            raise ValueError(
                f"encoder.stem={settings['stem']!r} does not suit {name}: a timm model has a stem of its own ('own')"
            )
        return backbones.Timm(model=name.removeprefix(TIMM))
    chosen = find_class("encoder.backbone", name, backbones.Backbone)
    return Wiring({"encoder": settings}, {}).fill("encoder", chosen)


def measured_dim(network: nn.Module, example: Tensor, *, cannot: str, wrong: str, advice: str = "") -> int:
    """The width of what a network makes of an example batch; it is left in its mode.

    Args:
        cannot: begins the error of a network that fails, and `advice` ends it.
        wrong: the error of one that gives no tensor [batch, dim].

    Raises:
        ValueError: either.
    """
    training = network.training
    try:
        with torch.no_grad():
            found = network.eval()(example)
    except Exception as error:  # it may be the user's code, which may raise anything
        raise ValueError(f"{cannot} ({type(error).__name__}: {' '.join(str(error).split())}){advice}") from error
    network.train(training)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(example):
        raise ValueError(wrong)
    return int(found.shape[1])


# The widest SIMD block of oneDNN in float32: 16 channels with AVX-512; 8 with AVX2.
_SIMD_CHANNELS = 16


def subsample_before_narrow_pointwise(network: nn.Module) -> None:
    """Lets each 1×1 convolution of the network with stride and fewer than 16 input channels read every stride-th pixel
    and go over them with stride 1: the same result, the same parameters and keys.

    In channels_last the weight gradient of such a convolution writes past its workspace on a CPU when its input
    channels are fewer than the SIMD block (uxlfoundation/oneDNN issue 6035; oneDNN 3.13 in torch 2.15, float32, no
    padding, no groups): the process ends, or the gradients are wrong. With 16 channels or more nothing is changed.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and max(module.stride) > 1
            and module.padding in ((0, 0), "valid")
            and module.in_channels < _SIMD_CHANNELS
        ):
            module.register_forward_pre_hook(partial(_subsample, module.stride))
            module.stride = (1, 1)


def _subsample(stride: tuple[int, ...], module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images: Tensor = inputs[0]
    return (images[..., :: stride[0], :: stride[1]], *inputs[1:])
