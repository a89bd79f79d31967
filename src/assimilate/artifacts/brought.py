"""Generators that nobody trains here: what of their configuration decides their content. Torch-free, for plans."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.artifacts.given import file_content
from assimilate.graph.source import source_digest
from assimilate.errors import UserError
from assimilate.settings.identity import OWN

BIGBIGAN = "bigbigan"
# Name of what is read from a file of the user's instead of being made here: a StyleGAN2, latents, the encoder f.
IMPORTED = "imported"
# Side of the smallest images that VGG19 can look at, down to relu5_1.
VGG_SMALLEST = 16


class LackingDiscriminator(UserError):
    """The inversion is to use the discriminator of a generator that has none."""


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
        content = {"target": target, "arguments": _by_content(config["arguments"])}
        source = source_digest(target)
        return name, content if source is None else {**content, "source": source}
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
        return IMPORTED, {"checkpoint": file_content(checkpoint, "generator.checkpoint")}
    return None


def lacking_discriminator(inversion: Mapping[str, Any]) -> str | None:
    """What to tell a user whose generator has no discriminator; None if the inversion needs none.

    Args:
        inversion: the group `inversion`, resolved, without latents of the user's.
    """
    trained = inversion["checkpoint"] is None
    needing, helping = [], []
    if trained and inversion["adversarial_weight"] > 0:
        needing.append(f"inversion.adversarial_weight={inversion['adversarial_weight']}")
    if inversion["perceptual"] == "discriminator":
        needing.append("inversion.perceptual=discriminator")
    if not needing:
        return None
    if trained:
        helping.append("inversion.adversarial_weight=0")
    helping.append("inversion.perceptual=none|vgg19|encoder")
    return f"{', '.join(needing)}: the generator comes without a discriminator (d); give {' '.join(helping)}"


def unfit_perceptual(inversion: Mapping[str, Any], image_size: int) -> str | None:
    """What to tell a user whose images are too small for the perceptual network; None if they are not.

    Args:
        inversion: the group `inversion`, resolved, without latents of the user's.
        image_size: of the data set.
    """
    if inversion["perceptual"] != "vgg19" or image_size >= VGG_SMALLEST:
        return None
    return (
        f"inversion.perceptual=vgg19 halves images four times: dataset.image_size={image_size} cannot be used, allowed "
        f"is {VGG_SMALLEST} and more; or give inversion.perceptual=discriminator|encoder|none"
    )


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
