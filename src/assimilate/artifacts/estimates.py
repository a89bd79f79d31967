"""How long an artifact may take and how much disk it needs: arithmetic over published FLOP counts, rough by nature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assimilate.artifacts.chain import KNOWN_LATENTS, is_brought
from assimilate.artifacts.store import Artifact
from assimilate.settings.identity import SAMPLED_DATA

# Forward GFLOP of one image at 32² and full width: torchvision's ResNets with the CIFAR stem, and rosinality's
# StyleGAN2 (DESIGN §6); a training step costs three forwards.
BACKBONE_GFLOP = {"resnet18": 1.1, "resnet34": 2.3, "resnet50": 2.6}
GENERATOR_GFLOP = 8.0
# BigBiGAN's generator at 128² and full width (counted with torch's FLOP counter); the area scales it too.
BIGBIGAN_GFLOP = 40.2
# Sustained GFLOP/s: two CPU cores reach 120 on wide layers and a fifth of it on narrow ones; one data-centre GPU.
CPU_GFLOPS = 120.0
GPU_GFLOPS = 25_000.0
NARROW_PENALTY = 4.0


@dataclass(frozen=True)
class Cost:
    """Estimated hours and disk."""

    hours: float
    megabytes: float

    @property
    def text(self) -> str:
        """For people, e.g. "3.2 h, 1,200 MB"."""
        if self.hours >= 1:
            time = f"{self.hours:.1f} h"
        elif self.hours >= 1 / 60:
            time = f"{self.hours * 60:.0f} min"
        else:
            time = f"{max(1, self.hours * 3600):.0f} s"
        return f"{time}, {max(1.0, self.megabytes):,.0f} MB"


def estimate(artifact: Artifact, config: Mapping[str, Any], *, images: int, on_gpu: bool) -> Cost:
    """Cost of building one artifact of this configuration, from so many training images."""
    size = config["dataset"]["image_size"]
    area = ((config["input"]["image_size"] or size) / 32) ** 2
    width = config["encoder"]["width"] / 64
    backbone = BACKBONE_GFLOP.get(config["encoder"]["backbone"], 2.0) * area * width**2
    generator = config["generator"]
    channels = generator.get("max_channels", 512) / 512  # a generator of the user's own is taken for a full StyleGAN2
    synthesis = GENERATOR_GFLOP * area * channels**2
    if generator["name"] == "bigbigan":
        synthesis = BIGBIGAN_GFLOP * area / 16
    narrow = 1.0 if on_gpu else 1 + (NARROW_PENALTY - 1) * max(0.0, 1 - max(width, channels))
    pixels = 3 * size * size / 1e6
    gflop, megabytes = 0.0, 1.0
    if artifact.kind == "datasets":
        gflop, megabytes = images * 0.02, images * 1.2 * pixels
        if artifact.content["kind"] == SAMPLED_DATA:
            gflop = images * synthesis
    elif artifact.kind == "generators":
        # One that is brought is only read.
        steps, batch = (0, 0) if is_brought(artifact) else (generator["num_steps"], generator["batch_size"])
        # Both networks forward and backward, twice, and the lazy regularisers.
        gflop, megabytes = steps * batch * synthesis * 12, 400 * channels**2 + 1
    elif artifact.kind == "latents" and artifact.name == KNOWN_LATENTS:
        pass  # they are linked
    elif artifact.kind == "latents":
        inversion = config["inversion"]
        per_image = inversion["optimization"]["num_steps"] * synthesis * 6
        gflop = inversion["num_steps"] * inversion["batch_size"] * synthesis * 12 + images * per_image
        megabytes = images * 14 * generator.get("latent_dim", 512) * 4 / 1e6
    elif artifact.kind == "encoders" and "checkpoint" in artifact.content:
        megabytes = 100.0  # a ResNet-50; nothing is trained
    elif artifact.kind == "encoders":
        views = len(artifact.content.get("slots", ("expert", "expert")))
        gflop, megabytes = config["epochs"] * images * views * backbone * 3, 90 * width**2 + 1
    elif artifact.kind == "views":
        view = config["view"]
        count = images * artifact.content["n_cached"]
        megabytes = count * pixels
        if view["name"] == "wsearch":
            # Most anchors converge within about a seventh of the steps that they may take.
            steps = max(1, view["search"]["iterations"] / 7)
            gflop = count * steps * (synthesis + backbone) * 2
        elif view["name"] in ("wperturb", "wmix"):
            gflop = count * synthesis
    elif artifact.kind == "calibrations":
        gflop = images * 3 * backbone
    elif artifact.kind == "probes":
        probe = config["probe"]
        gflop = (probe["num_draws"] or probe["num_epochs"] or 100) * images * backbone
    hours = gflop * narrow / (GPU_GFLOPS if on_gpu else CPU_GFLOPS) / 3600
    return Cost(hours, megabytes)
