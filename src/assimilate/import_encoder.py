"""An encoder that the user brings becomes an artifact like any other: f (view.encoder.checkpoint=) or checkpoint=."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.artifacts.artifact import Artifact
from assimilate.encoder.step import GivenEncoder
from assimilate.graph.built import Built
from assimilate.run.given import TIMM

if TYPE_CHECKING:
    from assimilate.encoder.encoder import Encoder
    from assimilate.jobs.session import Session

Statistics = tuple[float, float, float]
# Networks that are fed no normalised images see [0, 1].
NO_MEAN, UNIT_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def import_reference(session: "Session", staging: Path, target: str) -> Built:
    """Write the user's f to `staging / target`.

    Raises:
        ValueError: it is no encoder of ours, or its weights are of another architecture.
    """
    from assimilate.encoder.checkpoint import load_encoder, save_encoder

    given = Path(session.config["view"]["encoder"]["checkpoint"]).expanduser()
    try:
        encoder = load_encoder(given)
    except ValueError as error:
        raise ValueError(f"view.encoder.checkpoint: {error}") from error
    save_encoder(staging / target, encoder.spec, encoder.state_dict(), mean=encoder.mean, std=encoder.std)
    return Built({"imported": True})


def import_given(session: "Session", artifact: Artifact, staging: Path, target: str) -> Built:
    """Write the encoder of `checkpoint=` to `staging / target`, and say whose it is and how it reads images.

    Raises:
        ValueError: it cannot be read, is of no architecture that we know, or cannot read the data set's images.
    """
    import torch

    from assimilate.encoder.checkpoint import save_encoder
    from assimilate.encoder.encoder import EncoderSpec

    given, wanted = str(session.config["checkpoint"]), session.config["input"]
    read = _timm if given.startswith(TIMM) else _file
    try:
        encoder, weights, statistics = read(given, wanted)
    except ValueError as error:
        raise ValueError(f"checkpoint={given}: {error}") from error
    if wanted["image_size"] is not None:
        encoder.spec = EncoderSpec.from_dict({**encoder.spec.to_dict(), "input_size": int(wanted["image_size"])})
    if wanted["mean"] is not None:
        mean, std, whose = _three(wanted["mean"]), _three(wanted["std"]), "input.mean and input.std"
    elif statistics is not None:
        (mean, std), whose = statistics, "the mean and std that come with the weights"
    elif isinstance(artifact.step, GivenEncoder) and artifact.step.mean is not None:
        mean, std, whose = _three(artifact.step.mean), _three(artifact.step.std), "the data set's mean and std"
    else:
        mean, std, whose = NO_MEAN, UNIT_STD, "nothing: pixels in [0, 1] (data.normalize=false)"
    size = session.dataset.train.image_size
    try:
        with torch.no_grad():
            encoder.eval().features(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"checkpoint={given}: {encoder.spec.backbone} cannot read images of "
            f"{encoder.spec.input_size or size}² ({str(error).splitlines()[0]}); give input.image_size="
        ) from error
    resized = encoder.spec.input_size
    seen = f"{size}²" if resized in (None, size) else f"{size}² resized to {resized}² (bicubic)"
    text = f"{weights.pop('text')}; images of {seen}, normalised by {whose}"
    session.terminal.say(f"  weights: {text}")
    if encoder.spec.stem == "imagenet" and (resized or size) < 64:
        session.terminal.say(
            f"  note: an ImageNet stem shrinks {resized or size}² to {-(-(resized or size) // 32)}² before pooling; "
            "input.image_size=224 enlarges the images, for so much more work"
        )
    save_encoder(staging / target, encoder.spec, encoder.state_dict(), mean=mean, std=std, extra=weights)
    return Built({"weights": {**weights, "text": text, "mean": mean, "std": std, "image_size": resized or size}})


def _timm(given: str, wanted: dict[str, Any]) -> "tuple[Encoder, dict[str, Any], tuple[Statistics, Statistics]]":
    from assimilate.encoder.encoder import Encoder, EncoderSpec
    from assimilate.encoder.timm_backbone import describe_timm, pretrained_state
    from assimilate.plain_files import check_weights

    for key in ("stem", "prefix"):
        if wanted[key] is not None:
            raise ValueError(
                f"input.{key}={wanted[key]} is for ResNets of torchvision's layout in a file, not for timm's"
            )
    found = describe_timm(given.removeprefix(TIMM))
    spec = EncoderSpec(backbone=TIMM + found.name, stem="own", projector="none", input_size=found.image_size)
    encoder = Encoder.from_spec(spec)
    state = check_weights(dict(pretrained_state(found)), origin=found.source)
    encoder.load_state_dict({f"backbone.{name}": tensor for name, tensor in state.items()})
    weights = {
        "kind": "timm",
        "name": spec.backbone,
        "source": found.source,
        "text": f"{spec.backbone} (from {found.source})",
    }
    return encoder, weights, (found.mean, found.std)


def _file(given: str, wanted: dict[str, Any]) -> "tuple[Encoder, dict[str, Any], tuple[Statistics, Statistics] | None]":
    from assimilate.encoder.checkpoint import is_encoder_file, load_encoder
    from assimilate.encoder.encoder import Encoder
    from assimilate.encoder.foreign import find_resnet
    from assimilate.plain_files import load_plain
    from assimilate.run.given import file_content

    path = Path(given).expanduser()
    content = load_plain(path)
    sha256 = file_content(given, "checkpoint")["sha256"]
    weights: dict[str, Any] = {"name": path.name, "sha256": sha256}
    origin = f"{path.name} (sha256 {sha256[:12]})"
    if is_encoder_file(content):
        for key in ("stem", "prefix"):
            if wanted[key] is not None:
                raise ValueError(f"input.{key}={wanted[key]} would be ignored: this file is an encoder of assimilate")
        encoder = load_encoder(path)
        spec = encoder.spec
        text = f"{origin}: an encoder of assimilate, {spec.backbone} of width {spec.width}, stem {spec.stem}"
        return encoder, {**weights, "kind": "assimilate", "text": text}, (encoder.mean, encoder.std)
    found = find_resnet(content, stem=wanted["stem"], prefix=wanted["prefix"])
    encoder = Encoder.from_spec(found.spec)
    encoder.load_state_dict(found.state_dict)
    text = f"{origin}: {found.spec.backbone} of width {found.spec.width}, stem {found.spec.stem}"
    text += f", read from {found.prefix}*" if found.prefix else ""
    text += f", without {', '.join(found.left_out)}" if found.left_out else ""
    weights |= {"kind": "torchvision", "prefix": found.prefix, "left_out": list(found.left_out), "text": text}
    return encoder, weights, None


def _three(values: Any) -> Statistics:
    return (float(values[0]), float(values[1]), float(values[2]))
