"""ResNet backbones in torchvision's layout, at any width and with the stems of the protocols."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from assimilate.encoder.strided_pointwise import subsample_before_narrow_pointwise
from assimilate.encoder.timm_backbone import TIMM, TimmBackbone

_ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
STEMS = ("cifar", "cifar_maxpool", "imagenet")
INITIALIZATIONS = ("fan_out", "default_stem", "default")


def trains_in_channels_last(width: int, image_size: int, *, on_cpu: bool) -> bool:
    """Whether a backbone of `width` planes may be trained in channels_last on images of `image_size` pixels: always.

    For callers from the time when narrow ones on a CPU could not; `strided_pointwise` makes every width safe.
    """
    return width > 0 and image_size > 0


class Backbone(ResNet):
    """A torchvision ResNet without its classifier, whose first stage has `width` planes (torchvision: 64).

    Parameter names are torchvision's, so its state dicts load at width 64 with stem "imagenet".
    BatchNorm starts from weight 1 and bias 0.

    Args:
        name: "resnet18", "resnet34" or "resnet50".
        width: planes of the first stage; the features have 8·width·expansion dimensions.
        stem: "cifar" (3×3, stride 1, no max-pool), "cifar_maxpool" (the same with max-pool; Table 8) or
            "imagenet" (7×7, stride 2, max-pool).
        initialization: of the convolutions. "fan_out": torchvision's kaiming-normal; "default": PyTorch's own, uniform
            in ±1/√fan_in (Viewmaker's small ResNet; PROTOCOLS 17); "default_stem": fan_out, but PyTorch's own for the
            first convolution (htdt and dkobak, which replace torchvision's; PROTOCOLS 14).

    Raises:
        ValueError: unknown name, stem or initialization, or width below 1.
    """

    def __init__(
        self, name: str, *, width: int = 64, stem: str = "cifar", initialization: str = INITIALIZATIONS[0]
    ) -> None:
        if name not in _ARCHITECTURES:
            raise ValueError(f"encoder.backbone={name!r} is unknown; choose one of {', '.join(_ARCHITECTURES)}")
        if stem not in STEMS:
            raise ValueError(f"encoder.stem={stem!r} is unknown; choose one of {', '.join(STEMS)}")
        if initialization not in INITIALIZATIONS:
            known = ", ".join(INITIALIZATIONS)
            raise ValueError(f"encoder.initialization={initialization!r} is unknown; choose one of {known}")
        if width < 1:
            raise ValueError(f"encoder.width={width} must be at least 1 (the paper's networks have 64)")
        # torchvision's constructor fixes 64 planes; its _make_layer and forward serve any number.
        nn.Module.__init__(self)
        block, num_blocks = _ARCHITECTURES[name]
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


def resnet_name(block: str, num_blocks: tuple[int, ...]) -> str | None:
    """The name of the ResNet of "basic" or "bottleneck" blocks, so many a stage; None if it is none of ours."""
    wanted = {"basic": BasicBlock, "bottleneck": Bottleneck}[block]
    return next((name for name, known in _ARCHITECTURES.items() if known == (wanted, num_blocks)), None)


def make_backbone(
    name: str, *, width: int = 64, stem: str = "cifar", initialization: str = INITIALIZATIONS[0]
) -> Backbone | TimmBackbone:
    """Builds a backbone; its parameters come from torch's global generator (see `Encoder.from_spec` for a seed).

    Raises:
        ValueError: see `Backbone` and, for "timm/…", `TimmBackbone`.
    """
    if name.startswith(TIMM):
        if stem != "own":
            raise ValueError(f"encoder.stem={stem!r} does not suit {name}: a timm model has a stem of its own ('own')")
        backbone: Backbone | TimmBackbone = TimmBackbone(name.removeprefix(TIMM))
    else:
        backbone = Backbone(name, width=width, stem=stem, initialization=initialization)
    subsample_before_narrow_pointwise(backbone)
    return backbone
