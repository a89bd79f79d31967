"""What a run will need after hours, looked at before them: the files that the inversion reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_inversion_inputs(config: Mapping[str, Any], num_images: int) -> None:
    """Read what the user brings for the inversion, and get the perceptual network's weights.

    Of a generator that is brought, the latents' shape is known once it is imported, which happens first: here it is
    checked against one that is trained.

    Args:
        config: the resolved configuration of a run with an inversion.
        num_images: training images.

    Raises:
        ValueError: a file cannot be read or does not fit, or VGG19 cannot be had.
    """
    inversion, size = config["inversion"], config["dataset"]["image_size"]
    trained = "arguments" not in config["generator"] and config["generator"].get("checkpoint") is None
    # PROTOCOLS 4: 2·log2(size) − 2 codes.
    num_codes = 2 * int(size).bit_length() - 4 if trained else None
    latent_dim = config["generator"]["latent_dim"] if trained else None
    if inversion["latents"] is not None:
        from assimilate.inversion.given_latents import read_given_latents

        path = Path(inversion["latents"]).expanduser()
        read_given_latents(path, num_images=num_images, num_codes=num_codes, latent_dim=latent_dim)
        return
    if inversion["checkpoint"] is not None:
        from assimilate.inversion.checkpoint import load_inversion_encoder

        path = Path(inversion["checkpoint"]).expanduser()
        load_inversion_encoder(path, image_size=size, num_codes=num_codes, latent_dim=latent_dim)
    if inversion["perceptual"] == "vgg19":
        from assimilate.inversion.perceptual import Vgg19Features

        Vgg19Features()
