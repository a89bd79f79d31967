"""ResNet backbones in torchvision's layout, at any width and with the stems of the protocols."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from assimilate.encoder import backbones
from assimilate.encoder.strided_pointwise import subsample_before_narrow_pointwise
from assimilate.encoder.timm_backbone import TIMM
from assimilate.errors import UserError
from assimilate.graph.plain import from_plain
from assimilate.graph.settings import choices
from assimilate.graph.wiring import Wiring, find_class


class ResNetBackbone(ResNet):
    """A torchvision ResNet without its classifier, whose first stage has `width` planes (torchvision: 64).

    Parameter names are torchvision's, so its state dicts load at width 64 with stem "imagenet".
    BatchNorm starts from weight 1 and bias 0.

    Args:
        num_blocks: of each stage.
        bottleneck: whether blocks are bottlenecks, which make features four times as wide.
        width: planes of the first stage; the features have 8·width·expansion dimensions.
        stem: "cifar" (3×3, stride 1, no max-pool), "cifar_maxpool" (the same with max-pool; Table 8) or
            "imagenet" (7×7, stride 2, max-pool).
        initialization: of the convolutions. "fan_out": torchvision's kaiming-normal; "default": PyTorch's own, uniform
            in ±1/√fan_in (Viewmaker's small ResNet; PROTOCOLS 17); "default_stem": fan_out, but PyTorch's own for the
            first convolution (htdt and dkobak, which replace torchvision's; PROTOCOLS 14).
    """

    def __init__(
        self, num_blocks: tuple[int, ...], *, bottleneck: bool, width: int, stem: str, initialization: str
    ) -> None:
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck if bottleneck else BasicBlock
        # torchvision's constructor fixes 64 planes; its _make_layer and forward serve any number.
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes = width
        self.dilation = 1
        self.groups = 1
        self.base_width = 64
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        has_maxpool = stem in ("imagenet", "cifar_maxpool")
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if has_maxpool else nn.Identity()
        self.layer1 = self._make_layer(block, width, num_blocks[0])
        self.layer2 = self._make_layer(block, 2 * width, num_blocks[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, num_blocks[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, num_blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Identity()
        self.feature_dim = 8 * width * block.expansion
        for module in self.modules():
            kept = initialization == "default" or (initialization == "default_stem" and module is self.conv1)
            if isinstance(module, nn.Conv2d) and not kept:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature_dim"]:
        return super().forward(x)


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
        network.feature_dim = _measured_dim(network)  # type: ignore[assignment]
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


def _measured_dim(network: nn.Module) -> int:
    training = network.training
    try:
        with torch.no_grad():
            features = network.eval()(torch.zeros(2, 3, 64, 64))
    except Exception as error:  # it is the user's code, which may raise anything
        raise ValueError(
            f"encoder.backbone: {type(network).__name__} has no attribute feature_dim, and cannot see images of 64² "
            f"({type(error).__name__}: {' '.join(str(error).split())}); give it that attribute"
        ) from error
    network.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"encoder.backbone: {type(network).__name__} gives no features [batch, dim] for images [batch, 3, h, w]"
        )
    return int(features.shape[1])
