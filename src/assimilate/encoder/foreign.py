"""ResNets that other programs trained, found in their checkpoints by the names and shapes of torchvision's layout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from assimilate.encoder.backbone import make_backbone, resnet_name
from assimilate.encoder.backbones import ResNet, Stem
from assimilate.encoder.encoder import EncoderSpec
from assimilate.files.plain_files import check_weights
from assimilate.graph.settings import choices, listed

# Where training programs keep the state dict in what they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_STEM_KEY, _BLOCK_KEY = "conv1.weight", "layer1.0.conv1.weight"
# The first block of a stage whose name is a number: what nn.Sequential(*network.children()) makes of layer1 to layer4.
_NUMBERED_BLOCK = re.compile(r"^((?:.*\.)?)(\d+)\.0\.conv1\.weight$")
# Dicts within dicts that a state dict is looked for in.
_DEEPEST = 8
_BACKBONE = re.compile(r"^(conv1|bn1|layer[1-4])\.")
# Heads that self-supervised programs train beside a backbone. Anything else might be part of the backbone.
_HEAD = re.compile(r"^(fc|heads?|classifier|linear|prototypes?|mlp|queue\w*|proj\w*|pred\w*)(\.|$)")


@dataclass(frozen=True)
class ForeignResNet:
    """A backbone as it was found.

    Attributes:
        spec: its architecture, without a projector.
        state_dict: of the `Encoder` of that spec.
        prefix: what stood before its names, e.g. "module.encoder_q.".
        left_out: the parts of the file that are not the backbone, e.g. ("fc", "module.encoder_k").
    """

    spec: EncoderSpec
    state_dict: dict[str, Tensor]
    prefix: str
    left_out: tuple[str, ...]


def find_resnet(content: Any, *, stem: str | None = None, prefix: str | None = None) -> ForeignResNet:
    """Reads the architecture of a ResNet in a checkpoint from its names and shapes.

    Args:
        content: a state dict, or a dict that holds one as "state_dict", "model_state_dict" or "model", or dicts of
            such dicts, whose names are joined by dots. Layers may be numbered, as nn.Sequential numbers them.
        stem: None tells it from conv1: 7×7 is "imagenet", 3×3 is "cifar". Weights alone do not tell "cifar_maxpool".
        prefix: what stands before the names of the ResNet, e.g. "module.encoder_q.", with or without the name of the
            dict that holds the state dict; None where there is but one.

    Raises:
        ValueError: there is no ResNet-18, -34 or -50 of torchvision's layout, more than one and no `prefix`, or none
            with that prefix; in one line.
    """
    if prefix:
        prefix = f"{prefix.rstrip('.')}."
    tensors = _state_dict(content, prefix)
    prefixes = _prefixes(tensors)
    if not prefixes:
        raise ValueError(
            f"holds no ResNet in torchvision's layout: no conv1.weight beside a layer1.0.conv1.weight among its "
            f"{len(tensors)} tensors ({', '.join(list(tensors)[:3])}, …)"
        )
    shown = ", ".join(f"input.prefix='{found}'" for found in prefixes)
    if prefix is not None:
        if prefix not in prefixes:
            raise ValueError(f"holds no ResNet at input.prefix={prefix}; there is {shown}")
    elif len(prefixes) > 1:
        raise ValueError(f"holds {len(prefixes)} ResNets; choose one: {shown}")
    else:
        prefix = prefixes[0]
    within = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    backbone = {name: tensor for name, tensor in within.items() if _BACKBONE.match(name)}
    check_weights({f"{prefix}{name}": tensor for name, tensor in backbone.items()}, origin="its state dict")
    beside = {name.split(".")[0] for name in within if name not in backbone}
    if strange := sorted(name for name in beside if not _HEAD.match(name)):
        raise ValueError(
            f"has {', '.join(strange[:4])} beside a ResNet's own layers, which may be part of another architecture; "
            "remove them from the state dict if they are heads"
        )
    spec = _architecture(backbone, stem)
    _check_fit(spec, backbone)
    outside = {_outermost(name, prefix) for name in tensors if not name.startswith(prefix)}
    return ForeignResNet(
        spec, {f"backbone.{name}": tensor for name, tensor in backbone.items()}, prefix, tuple(sorted(beside | outside))
    )


def _state_dict(content: Any, prefix: str | None) -> dict[str, Tensor]:
    """The tensors to look in for the ResNet at `prefix`, or for any, their layers named."""
    if not isinstance(content, Mapping):
        raise ValueError(f"holds a {type(content).__name__}, not a state dict")
    wrapper = next((name for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    inner = content if wrapper is None else content[wrapper]
    flat = _by_layer({str(name): value for name, value in inner.items() if isinstance(value, Tensor)})
    tensors = flat if _prefixes(flat) else _by_layer(_nested(inner))
    if wrapper is not None:
        beside = {name: value for name, value in content.items() if name != wrapper}
        whole = _by_layer(_nested(content))
        # Only their whole names tell model from a model_ema beside it: they go before those within the wrapper.
        are_several = bool(_prefixes(_by_layer(_nested(beside))))
        is_whole, is_within = prefix in _prefixes(whole), prefix in _prefixes(tensors)
        if (is_whole and are_several) or (not is_within and (is_whole or are_several)):
            return whole
    if not tensors:
        keys = ", ".join(map(str, list(inner)[:4]))
        raise ValueError(f"holds no state dict ({keys or 'it is empty'}; looked for {', '.join(_WRAPPERS)})")
    return tensors


def _prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """What stands before the names of each ResNet."""
    found = [name.removesuffix(_BLOCK_KEY) for name in tensors if name.endswith(_BLOCK_KEY)]
    return [prefix for prefix in found if prefix + _STEM_KEY in tensors]


def _nested(content: Mapping[Any, Any], depth: int = 1) -> dict[str, Tensor]:
    """The tensors of dicts within dicts, their names joined by dots."""
    found: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            found |= {f"{name}.{inner}": tensor for inner, tensor in _nested(value, depth + 1).items()}
    return found


def _by_layer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with conv1, bn1 and layer1 to layer4 in the place of numbers: 0, 1 and four in a row."""
    stages: dict[str, list[int]] = {}
    for name in tensors:
        if found := _NUMBERED_BLOCK.match(name):
            stages.setdefault(found[1], []).append(int(found[2]))
    for prefix, numbers in stages.items():
        first = min(numbers)
        if sorted(numbers) != list(range(first, first + 4)) or f"{prefix}0.weight" not in tensors:
            continue
        layers = {"0": "conv1", "1": "bn1"} | {str(first + stage): f"layer{stage + 1}" for stage in range(4)}
        renamed = {}
        for name, tensor in tensors.items():
            number, dot, rest = name.removeprefix(prefix).partition(".")
            ours = name.startswith(prefix) and number in layers
            renamed[f"{prefix}{layers[number]}{dot}{rest}" if ours else name] = tensor
        tensors = renamed
    return tensors


def _outermost(name: str, prefix: str) -> str:
    """The part of `name` that tells it from `prefix`: "module.encoder_k" of "module.encoder_k.bn1.bias"."""
    words, shared = name.split("."), prefix.split(".")
    depth = 0
    while depth < min(len(words), len(shared)) - 1 and words[depth] == shared[depth]:
        depth += 1
    return ".".join(words[: depth + 1])


def _architecture(backbone: Mapping[str, Tensor], stem: str | None) -> EncoderSpec:
    bottleneck = "layer1.0.conv3.weight" in backbone
    indices = [
        {int(found[1]) for name in backbone if (found := re.match(rf"layer{stage}\.(\d+)\.", name))}
        for stage in (1, 2, 3, 4)
    ]
    num_blocks = tuple(len(found) for found in indices)
    name = resnet_name(bottleneck=bottleneck, num_blocks=num_blocks)
    if name is None:
        block = "bottleneck" if bottleneck else "basic"
        raise ValueError(f"is a ResNet of {block} blocks {num_blocks}; known are {listed(list(choices(ResNet)))}")
    conv1 = backbone[_STEM_KEY]
    kernels = {(3, 3): "cifar", (7, 7): "imagenet"}
    kernel = tuple(conv1.shape[2:])
    if conv1.ndim != 4 or kernel not in kernels:
        raise ValueError(f"has a conv1 of shape {tuple(conv1.shape)}; known stems are 3×3 (CIFAR) and 7×7 (ImageNet)")
    told = kernels[kernel]
    if stem is not None and (stem not in get_args(Stem) or stem.split("_")[0] != told):
        raise ValueError(f"has a conv1 of {kernel[0]}×{kernel[1]}: that is stem {told}, not input.stem={stem}")
    return EncoderSpec(backbone=name, width=int(conv1.shape[0]), stem=stem or told, projector="none")


def _check_fit(spec: EncoderSpec, backbone: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):  # shapes only; nothing is drawn
        expected = make_backbone(spec.backbone, width=spec.width, stem=spec.stem).state_dict()
    problems = []
    for name in dict.fromkeys([*expected, *backbone]):
        if name.endswith("num_batches_tracked"):
            continue  # old files lack it, and in eval mode nothing reads it
        if name not in backbone:
            problems.append(f"{name} is missing")
        elif name not in expected:
            problems.append(f"{name} is not expected")
        elif backbone[name].shape != expected[name].shape:
            problems.append(f"{name} is {tuple(backbone[name].shape)} instead of {tuple(expected[name].shape)}")
        elif not backbone[name].is_floating_point():  # quantised: its scale stands elsewhere
            problems.append(
                f"{name} is {str(backbone[name].dtype).removeprefix('torch.')} and no floating-point number"
            )
    if problems:
        more = f" … and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"looks like {spec.backbone} of width {spec.width} with stem {spec.stem}, but does not fit it: "
            f"{'; '.join(problems[:3])}{more}"
        )
