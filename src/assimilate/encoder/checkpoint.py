"""Encoder files: plain containers, written atomically, read without running code."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from assimilate.encoder.encoder import Encoder, EncoderSpec, Normalization
from assimilate.files.plain_files import check_weights, load_plain, save_plain

_FORMAT = "assimilate-encoder-1"


def read_torch_file(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Loads a file of plain containers; a pickle that would run code is refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds more than plain containers and tensors.
    """
    try:
        content: dict[str, Any] = load_plain(Path(path), map_location=map_location)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    return content


def save_encoder(
    path: Path,
    spec: EncoderSpec,
    state_dict: Mapping[str, Tensor],
    *,
    mean: Normalization,
    std: Normalization,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes an encoder with the normalisation that its inputs need.

    Args:
        state_dict: of the whole `Encoder` (backbone and projector).
        mean, std: per channel, for images in [0, 1].
        extra: anything plain that should travel with it (data set, epochs, seed).
    """
    content = {
        "format": _FORMAT,
        "encoder": spec.to_dict(),
        "state_dict": {name: tensor.detach().cpu() for name, tensor in state_dict.items()},
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "extra": dict(extra or {}),
    }
    save_plain(Path(path), content)


def load_encoder(path: Path) -> Encoder:
    """Reads an encoder written by `save_encoder`, with its `mean` and `std`: on the CPU, in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no encoder of ours, its weights are not finite or do not fit its
            architecture, or its mean or std is none.
    """
    content = read_torch_file(path)
    if not is_encoder_file(content):
        raise ValueError(f"{path} is no encoder file of assimilate (format {_FORMAT!r} not found in it)")
    try:
        spec, mean, std = content["encoder"], _three(content["mean"]), _three(content["std"])
        weights = check_weights(content["state_dict"], origin=f"{path}: state_dict")
        encoder = Encoder.from_spec(spec)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from error
    if min(std) <= 0:
        raise ValueError(f"{path}: std is {list(std)}; needed are three numbers > 0")
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:]]
        more = f" … and {len(problems) - 2} more" if len(problems) > 2 else ""
        raise ValueError(
            f"{path}: weights do not fit the encoder {content['encoder']}: {' '.join(problems[:2])}{more}"
        ) from error
    encoder.mean, encoder.std = mean, std
    return encoder.eval()


def _three(values: Any) -> Normalization:
    red, green, blue = map(float, values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"its mean or std is {list(values)}; needed are three finite numbers")
    return red, green, blue


def is_encoder_file(content: Any) -> bool:
    """Whether what `read_torch_file` read was written by `save_encoder`."""
    return isinstance(content, dict) and content.get("format") == _FORMAT
