"""torchvision's ResNet at any width, with the stems and initialisations of the protocols."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

# Of the first convolution, side and stride; and whether max-pooling follows.
STEMS = {"cifar": (3, 1, False), "cifar_maxpool": (3, 1, True), "imagenet": (7, 2, True)}


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
            in ±1/√fan_in (Viewmaker's small ResNet); "default_stem": fan_out, but PyTorch's own for the
            first convolution (htdt and dkobak, which replace torchvision's).
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
        side, stride, has_maxpool = STEMS[stem]
        self.conv1 = nn.Conv2d(3, width, kernel_size=side, stride=stride, padding=side // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
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
