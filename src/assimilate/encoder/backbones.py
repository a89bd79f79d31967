"""What an encoder sees images with: one class a backbone, chosen by encoder.backbone, its settings beside it."""

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from assimilate.graph.called import Called
from assimilate.graph.settings import Count, Part, Text

if TYPE_CHECKING:
    from torch import nn

Stem = Literal["cifar", "cifar_maxpool", "imagenet"]
Initialization = Literal["fan_out", "default_stem", "default"]


class Backbone(Part):
    """A network from normalised images [batch, 3, height, width] to features [batch, dim].

    Subclasses are chosen by encoder.backbone, a word or a dotted path; their settings stand beside it, or with
    `_target_` below it.
    """

    role: ClassVar[str] = "backbone"

    @abstractmethod
    def build(self) -> "nn.Module":
        """The network, its parameters drawn from torch's global generator.

        Its attribute `feature_dim` is the features' dimension; where it has none, that is measured on 64² images.
        """

    def gflop(self, image_size: int) -> float:
        """Of one image, forward, in 10⁹ operations; a ResNet-18's where a subclass does not say."""
        return 1.1 * (image_size / 32) ** 2 * self.share**2

    @property
    def share(self) -> float:
        """Of the published network's width."""
        return 1.0

    @property
    def text(self) -> str:
        """For people."""
        return self.called


class ResNet(Backbone):
    """torchvision's ResNet, at any width and with the stems of the protocols.

    Attributes:
        width: channels of the first stage; 64 is the published network.
        stem: cifar: 3×3, stride 1, no max-pool; cifar_maxpool: the same with max-pool; imagenet: 7×7, stride 2,
            max-pool.
        initialization: fan_out: torchvision's; default_stem: torchvision's, but PyTorch's for conv1; default:
            PyTorch's.
    """

    # Blocks of each stage, and whether they are bottlenecks; GFLOP at 32² with the CIFAR stem.
    num_blocks: ClassVar[tuple[int, int, int, int]]
    bottleneck: ClassVar[bool] = False
    gflop_at_32: ClassVar[float]
    width: Count = 64
    stem: Stem = "cifar"
    initialization: Initialization = "fan_out"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Width and stem stand in it whatever they are."""
        return {"width": self.width, "stem": self.stem, **super().identity}

    def build(self) -> "nn.Module":
        """A `ResNetBackbone`."""
        from assimilate.encoder.resnet import ResNetBackbone

        return ResNetBackbone(
            self.num_blocks,
            bottleneck=self.bottleneck,
            width=self.width,
            stem=self.stem,
            initialization=self.initialization,
        )

    def gflop(self, image_size: int) -> float:
        return self.gflop_at_32 * (image_size / 32) ** 2 * self.share**2

    @property
    def share(self) -> float:
        """As the published network has 64 channels."""
        return self.width / 64

    @property
    def text(self) -> str:
        """With its width."""
        return f"{super().text} of width {self.width}"


class ResNet18(ResNet, word="resnet18"):
    """512-d features at width 64."""

    num_blocks, gflop_at_32 = (2, 2, 2, 2), 1.1


class ResNet34(ResNet, word="resnet34"):
    """512-d features at width 64."""

    num_blocks, gflop_at_32 = (3, 4, 6, 3), 2.3


class ResNet50(ResNet, word="resnet50"):
    """2048-d features at width 64."""

    num_blocks, gflop_at_32, bottleneck = (3, 4, 6, 3), 2.6, True


class Timm(Backbone, word="timm"):
    """A model of timm's without its classifier, its parameters drawn anew.

    Attributes:
        model: its name in timm, e.g. convnext_tiny.
    """

    model: Text

    def build(self) -> "nn.Module":
        """A `TimmBackbone`."""
        from assimilate.encoder.timm_backbone import TimmBackbone

        return TimmBackbone(self.model)


class AnyModule(Called, Backbone, adapts=True):
    """Any torch.nn.Module from images to features: encoder.backbone={_target_:my.Net,depth:3}.

    Attributes:
        factory: dotted path of the class.
        arguments: its own, by name.
    """

    makes: ClassVar[str | None] = "torch.nn.Module"

    def build(self) -> "nn.Module":
        return self.call()
