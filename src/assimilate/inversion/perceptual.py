"""The perceptual term of Eq. 5: distance between feature maps of a frozen network."""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.files.plain_files import load_plain
from assimilate.generator.checkpoint import load_strictly
from assimilate.generator.discriminator import Discriminator

FeatureExtractor = Callable[[Float[Tensor, "batch 3 size size"]], Sequence[Float[Tensor, "batch _ _ _"]]]
"""Images in [-1, 1] to feature maps, each image on its own."""

_VGG_SLICES = (2, 7, 12, 21, 30)
_SIZES = {"l1": torch.abs, "l2": torch.square}


def perceptual_distance(
    first: Sequence[Float[Tensor, "batch _ _ _"]], second: Sequence[Float[Tensor, "batch _ _ _"]], norm: str = "l1"
) -> Float[Tensor, " batch"] | float:
    """Return, for each image, the sum over maps of the mean difference; 0.0 where there are no maps.

    ``norm`` is l1, the mean absolute difference of the reference code, or l2: the mean square, which is what Eq. 5's
    ‖·‖₂ is called where it stands for pixels.
    """
    differences = (one - other for one, other in zip(first, second, strict=True))
    return sum((_SIZES[norm](each).flatten(1).mean(dim=1) for each in differences), 0.0)


def no_features(images: Float[Tensor, "batch 3 size size"]) -> Sequence[Float[Tensor, "batch _ _ _"]]:
    """``perceptual=none``: no maps, so the term vanishes."""
    return ()


class DiscriminatorFeatures(nn.Module):
    """``perceptual=discriminator``: the maps behind every block of a frozen copy of the GAN's own discriminator.

    Needs no download.
    """

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = copy.deepcopy(discriminator).eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> list[Float[Tensor, "batch _ _ _"]]:
        return self.discriminator.features(images)


def vgg19_weights() -> Path:
    """Return the file of torchvision's VGG19, in torch.hub's folder; it is downloaded there if it is not there yet.

    Raises ValueError if it cannot be had.
    """
    url = torchvision.models.VGG19_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name ends in the first digits of the file's SHA-256.
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"inversion.perceptual=vgg19: the weights cannot be had ({' '.join(str(error).split())}); put {path.name} "
            f"into {path.parent}, or set inversion.perceptual=discriminator, which needs no download"
        ) from None
    return path


class Vgg19Features(nn.Module):
    """``perceptual=vgg19``, the paper's: ImageNet VGG19 behind relu1_1, 2_1, 3_1, 4_1 and 5_1.

    It is fed with [-1, 1] as it is, without ImageNet's normalisation. Images have at least 16 pixels a side,
    of which four poolings leave one.

    Raises ValueError as ``vgg19_weights`` does, and if the file is damaged or no VGG19's.
    """

    def __init__(self) -> None:
        super().__init__()
        path = vgg19_weights()
        prefix = "features."
        try:
            content = load_plain(path)
            if not isinstance(content, dict):
                raise ValueError(f"holds a {type(content).__name__}; needed is a state dict")
            # The weights of the classifier, most of the file, are of no use here.
            kept = {
                str(key).removeprefix(prefix): value for key, value in content.items() if str(key).startswith(prefix)
            }
            with torch.device("meta"):
                layers = torchvision.models.vgg19(weights=None).features
            load_strictly(layers.to_empty(device="cpu"), kept, origin="VGG19")
        except ValueError as error:
            raise ValueError(
                f"inversion.perceptual=vgg19: {path}: {error}; remove that file to download it again, or set "
                "inversion.perceptual=discriminator, which needs none"
            ) from None
        self.slices = nn.ModuleList(layers[begin:end] for begin, end in pairwise((0, *_VGG_SLICES)))
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        self.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> list[Float[Tensor, "batch _ _ _"]]:
        maps = []
        for part in self.slices:
            images = part(images)
            maps.append(images)
        return maps


class ResNetFeatures(nn.Module):
    """``perceptual=encoder``: the maps behind the stages of a torchvision ResNet, such as the project's own encoder.

    Images are moved to [0, 1] and normalised by ``mean`` and ``std`` first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> list[Float[Tensor, "batch _ _ _"]]:
        values = ((images + 1.0) / 2.0 - self.mean) / self.std
        maps = []
        for name, layer in self.backbone.named_children():
            if name == "avgpool":
                break
            values = layer(values)
            if name.startswith("layer"):
                maps.append(values)
        assert maps, "the backbone has no layer1, layer2, …"
        return maps
