"""Generators that nobody trains here: what of their configuration decides their content. Torch-free, for plans."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.artifacts import digest_file
from assimilate.errors import UserError
from assimilate.identity import OWN

BIGBIGAN = "bigbigan"


def file_content(path: str, key: str) -> dict[str, str]:
    """What a file counts as in an artifact's key, wherever it lies.

    Raises:
        UserError: it is not there.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{key}={path}: there is no such file")
    return {"sha256": digest_file(file)}


def brought_generator(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """(name, content) of the artifact of a generator that is brought; None for one that is trained.

    Args:
        config: the group `generator`, resolved; one of the user's own as `own_generator` in config.py leaves it.

    Raises:
        UserError: a checkpoint is not there, or generator=bigbigan has none.
    """
    if config["name"] == OWN:
        target = config["_target_"]
        name = re.sub(r"\W+", "_", target.rpartition(".")[2])
        return name, {"target": target, "arguments": _by_content(config["arguments"])}
    checkpoint = config.get("checkpoint")
    if config["name"] == BIGBIGAN:
        if checkpoint is None:
            raise UserError(
                "generator=bigbigan is not trained here: give generator.checkpoint=/path/to/a/BigBiGAN/state_dict.pth "
                "(keys as in PROTOCOLS 12), or sample from another generator with generator="
            )
        content = {"layout": BIGBIGAN, "checkpoint": file_content(checkpoint, "generator.checkpoint")}
        return BIGBIGAN, content
    if checkpoint is not None:
        return "imported", {"checkpoint": file_content(checkpoint, "generator.checkpoint")}
    return None


def _by_content(arguments: Mapping[str, Any], prefix: str = "generator") -> dict[str, Any]:
    """The arguments of a user's generator, files by what is in them."""
    content: dict[str, Any] = {}
    for name, value in arguments.items():
        key = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            content[name] = _by_content(value, key)
        elif isinstance(value, str) and (name == "checkpoint" or Path(value).expanduser().is_file()):
            content[name] = file_content(value, key)
        else:
            content[name] = value
    return content
