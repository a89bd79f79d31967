"""Contents whose output once differed: a stage's version is higher for them, and all others keep their keys."""

from collections.abc import Mapping
from typing import Any

# What basic views once took from data.expert, and now always are (PROTOCOLS 8).
BASIC_BOX = {"crop_scale": [0.2, 1.0], "crop_ratio": [3 / 4, 4 / 3], "interpolation": "bilinear"}
# Without the last epoch's accuracies, or with kNN on other crops than the curve's.
REVISED_PROBES = ("supcontrast_best", "genrep")


def train_revision(content: Mapping[str, Any], *, draws_one_of_many: bool = False) -> int:
    """1 for an encoder's content that accumulates batches (the last step of an epoch was too small), trains on crops
    (the kNN curve was measured on whole images), or has basic views beside an expert with a box of its own; 1 more if a
    step draws one of several cached views (once by other random numbers); and 1 more for a network narrower than 16
    channels, whose gradients were wrong on some CPUs (oneDNN issue 6035)."""
    own_box = any(content["expert"][key] != value for key, value in BASIC_BOX.items())
    basic = "basic" in (*content["slots"], content.get("generated_transform"))
    amended = content["accumulate_grad_batches"] > 1 or content["crop_size"] is not None or (basic and own_box)
    return int(amended) + int(draws_one_of_many) + int(content["encoder"]["width"] < 16)


def crop_revision(content: Mapping[str, Any]) -> int:
    """1 for crops whose size is no power of two: they were once up to 4e-5 from torchvision's."""
    size = content.get("crop_size") or content.get("image_size") or 1
    return int(size & (size - 1) != 0)


def inversion_revision(content: Mapping[str, Any]) -> int:
    """1 for latents whose encoder is trained against the GAN's discriminator: its Adam once began anew."""
    return int(content.get("adversarial_weight", 0) > 0)


def views_revision(content: Mapping[str, Any]) -> int:
    """1 for a search from the anchor: the view that starts there was kicked in place of Adam's first step."""
    searches = content.get("anchor") == "reconstruction" and content["search"]["iterations"] > 0
    return int(searches)


def probe_revision(config: Mapping[str, Any]) -> int:
    """1 for a probe that reports more than it did, or whose kNN sees other crops; and 1 more where its own crops moved:
    those of GenRep, 7/8 of an image, and those as long as images whose length is no power of two."""
    name = config["probe"]["name"]
    amended = config["data"]["crop_size"] is not None or name in REVISED_PROBES
    images = {"image_size": config["dataset"]["image_size"]}
    return int(amended) + (1 if name == "genrep" else crop_revision(images))
