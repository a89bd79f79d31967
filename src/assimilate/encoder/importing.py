"""Encoders that the user brings: a file of ours, a ResNet in torchvision's layout, or a model of timm."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assimilate.encoder.checkpoint import is_encoder_file, load_encoder, save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec, Normalization
from assimilate.encoder.foreign import find_resnet
from assimilate.encoder.timm_backbone import TIMM, describe_timm, pretrained_state
from assimilate.files.checked_files import digest_once
from assimilate.files.plain_files import check_weights, load_plain
from assimilate.graph.place import Place


@dataclass
class Given:
    """Weights that somebody else trained.

    Attributes:
        encoder: the network that holds them.
        facts: whose they are, recorded.
        text: the same for people.
        statistics: mean and std that come with them; None where none do.
    """

    encoder: Encoder
    facts: dict[str, Any]
    text: str
    statistics: tuple[Normalization, Normalization] | None


def copy_encoder(source: Path, target: Path) -> None:
    """Write an encoder file of ours anew.

    Raises:
        ValueError: it is none, or its weights are of another architecture.
    """
    encoder = load_encoder(source)
    save_encoder(target, encoder.spec, encoder.state_dict(), mean=encoder.mean, std=encoder.std)


def import_given(
    given: str,
    reading: Mapping[str, Any],
    target: Path,
    at: Place,
    *,
    statistics: tuple[Normalization, Normalization] | None,
) -> dict[str, Any]:
    """Write the encoder of `checkpoint=` to a file, and say whose it is and how it reads images.

    Args:
        given: a path, or timm/<model>.<tag>.
        reading: the group `input`.
        target: the file.
        at: the job.
        statistics: mean and std of the data set, for weights that bring none; None: images are not normalised.

    Returns:
        What is recorded of it.

    Raises:
        ValueError: it cannot be read, is of no architecture that we know, or cannot read the data set's images.
    """
    try:
        found = (_timm if given.startswith(TIMM) else _file)(given, reading)
    except ValueError as error:
        raise ValueError(f"checkpoint={given}: {error}") from error
    encoder = found.encoder
    if reading["image_size"] is not None:
        encoder.spec = EncoderSpec.from_dict({**encoder.spec.to_dict(), "input_size": int(reading["image_size"])})
    if reading["mean"] is not None:
        (mean, std), whose = (_three(reading["mean"]), _three(reading["std"])), "input.mean and input.std"
    elif found.statistics is not None:
        (mean, std), whose = found.statistics, "the mean and std that come with the weights"
    elif statistics is not None:
        (mean, std), whose = statistics, "the data set's mean and std"
    else:
        mean, std, whose = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nothing: pixels in [0, 1] (data.normalize=false)"
    size = at.dataset.train.image_size
    try:
        with torch.no_grad():
            encoder.eval().features(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"checkpoint={given}: {encoder.spec.name} cannot read images of "
            f"{encoder.spec.input_size or size}² ({str(error).splitlines()[0]}); give input.image_size="
        ) from error
    resized = encoder.spec.input_size
    seen = f"{size}²" if resized in (None, size) else f"{size}² resized to {resized}² (bicubic)"
    text = f"{found.text}; images of {seen}, normalised by {whose}"
    at.say(f"  weights: {text}")
    if encoder.spec.stem == "imagenet" and (resized or size) < 64:
        at.say(
            f"  note: an ImageNet stem shrinks {resized or size}² to {-(-(resized or size) // 32)}² before pooling; "
            "input.image_size=224 enlarges the images, for so much more work"
        )
    save_encoder(target, encoder.spec, encoder.state_dict(), mean=mean, std=std, extra=found.facts)
    return {**found.facts, "text": text, "mean": mean, "std": std, "image_size": resized or size}


def _timm(given: str, reading: Mapping[str, Any]) -> Given:
    for key in ("stem", "prefix"):
        if reading.get(key) is not None:
            raise ValueError(
                f"input.{key}={reading[key]} is for ResNets of torchvision's layout in a file, not for timm's"
            )
    found = describe_timm(given.removeprefix(TIMM))
    spec = EncoderSpec(backbone=TIMM + found.name, stem="own", projector="none", input_size=found.image_size)
    encoder = Encoder.from_spec(spec)
    state = check_weights(dict(pretrained_state(found)), origin=found.source)
    encoder.load_state_dict({f"backbone.{name}": tensor for name, tensor in state.items()})
    facts = {"kind": "timm", "name": spec.backbone, "source": found.source}
    return Given(encoder, facts, f"{spec.backbone} (from {found.source})", (found.mean, found.std))


def _file(given: str, reading: Mapping[str, Any]) -> Given:
    path = Path(given).expanduser()
    content = load_plain(path)
    sha256 = digest_once(path)
    facts: dict[str, Any] = {"name": path.name, "sha256": sha256}
    origin = f"{path.name} (sha256 {sha256[:12]})"
    if is_encoder_file(content):
        for key in ("stem", "prefix"):
            if reading.get(key) is not None:
                raise ValueError(f"input.{key}={reading[key]} would be ignored: this file is an encoder of assimilate")
        encoder = load_encoder(path)
        spec = encoder.spec
        text = f"{origin}: an encoder of assimilate, {spec.backbone} of width {spec.width}, stem {spec.stem}"
        return Given(encoder, {**facts, "kind": "assimilate"}, text, (encoder.mean, encoder.std))
    found = find_resnet(content, stem=reading["stem"], prefix=reading.get("prefix"))
    encoder = Encoder.from_spec(found.spec)
    encoder.load_state_dict(found.state_dict)
    text = f"{origin}: {found.spec.name} of width {found.spec.width}, stem {found.spec.stem}"
    text += f", read from {found.prefix}*" if found.prefix else ""
    text += f", without {', '.join(found.left_out)}" if found.left_out else ""
    facts |= {"kind": "torchvision", "prefix": found.prefix, "left_out": list(found.left_out)}
    return Given(encoder, facts, text, None)


def _three(values: Any) -> Normalization:
    return (float(values[0]), float(values[1]), float(values[2]))
