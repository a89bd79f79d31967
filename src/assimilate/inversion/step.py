"""The latents of the training images: inverted here, brought by the user, or known."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from assimilate.data.dataset import Dataset, Images
from assimilate.encoder.step import Encoder
from assimilate.generator.step import Generator
from assimilate.graph.settings import (
    NEUTRAL,
    Allowed,
    Count,
    File,
    From,
    NotNegative,
    Positive,
    Probability,
    Seed,
    Settings,
    When,
    Whole,
)
from assimilate.graph.step import Step

Weight = Annotated[NotNegative, Allowed("a number ≥ 0 (0: off)")]
# Side of the smallest images that VGG19 can look at, down to relu5_1.
VGG_SMALLEST = 16


class Latents(Step):
    """A latent for each training image, before truncation."""

    kind: ClassVar[str] = "latents"
    title: ClassVar[str] = "Inverting images"
    generator: Generator


class KnownLatents(Latents):
    """Those of images that the generator made."""

    dataset: Dataset

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "known"


class Optimization(Settings):
    """The optimisation of each latent by itself."""

    num_steps: Whole
    lr: Positive
    lr_schedule: Literal["constant", "cosine"]
    mse_weight: Weight
    perceptual_weight: Weight
    in_domain_weight: Weight
    keep: Literal["best", "last"] = "best"
    tile: Count


class InDomain(Latents):
    """In-domain inversion (Zhu et al. 2020): an encoder, then an optimisation from where it points."""

    images: Images
    reference: Annotated[Encoder | None, When("perceptual", "encoder")] = None
    image_size: Annotated[int, From("dataset.image_size")]
    flip: Annotated[Probability, From("dataset.flip")]
    checkpoint: File | None = None
    latents: File | None = None
    seed: Seed
    perceptual: Literal["vgg19", "discriminator", "encoder", "none"]
    perceptual_norm: Literal["l1", "l2"] = "l1"
    checkpoint_every: Annotated[Count, NEUTRAL, Allowed("a whole number of steps ≥ 1")]
    max_channels: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    num_steps: Count
    batch_size: Count
    lr: Positive
    mse_weight: Weight
    perceptual_weight: Weight
    adversarial_weight: Weight
    r1_weight: Weight
    r1_every: Annotated[Count, Allowed("a whole number of steps ≥ 1")]
    optimization: Optimization

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "imported" if self.latents is not None else "indomain"

    def content(self) -> Mapping[str, Any]:
        """How the generator makes images."""
        return dict(self.generator.synthesis)

    def unused(self) -> Mapping[str, str]:
        """All but the latents of the user's where there are some; the encoder's training where its weights are."""
        if self.latents is not None:
            kept = {"latents", "generator", "images"}
            return {name: "inversion.latents are taken" for name in type(self).model_fields if name not in kept}
        if self.checkpoint is not None:
            kept = {"checkpoint", "generator", "images", "perceptual", "perceptual_norm", "reference", "optimization"}
            return {name: "inversion.checkpoint is taken" for name in type(self).model_fields if name not in kept}
        if self.perceptual == "none":
            return {"perceptual_norm": "inversion.perceptual=none compares no feature maps"}
        return {}
