"""The latents of the training images: inverted here, brought by the user, or known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from assimilate.data.dataset import Dataset, Images
from assimilate.encoder.step import Encoder
from assimilate.errors import UserError
from assimilate.generator.architecture import IMAGE_SIZES
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.place import Place
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
    listed,
)
from assimilate.graph.step import Step

# Of a finished artifact.
LATENTS = "latents.npy"
ERRORS = "errors.npy"
Weight = Annotated[NotNegative, Allowed("a number ≥ 0 (0: off)")]
# Side of the smallest images that VGG19 can look at, down to relu5_1.
VGG_SMALLEST = 16


class LackingDiscriminator(UserError):
    """The inversion is to use the discriminator of a generator that has none."""


class Latents(Step):
    """A latent for each training image, before truncation."""

    kind: ClassVar[str] = "latents"
    stage: ClassVar[str] = "invert"
    title: ClassVar[str] = "Inverting images"
    generator: Generator
    # Whether nothing has to be found: the images were made from them.
    is_known: ClassVar[bool] = False

    def load(self, folder: Path, at: Place) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Latents before truncation [images, codes, dim], behind a memory map."""
        result: np.ndarray[Any, np.dtype[np.float32]] = np.load(folder / LATENTS, mmap_mode="r")
        return result

    def lacking_discriminator(self) -> str | None:
        """What to tell a user whose generator has no discriminator; None where none is needed."""
        return None


class KnownLatents(Latents):
    """Those of images that the generator made."""

    is_known: ClassVar[bool] = True
    dataset: Dataset

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "known"


class Optimization(Settings):
    """The optimisation of each latent by itself.

    Attributes:
        num_steps: steps of each latent; the reference's CIFAR-10 script has 100.
        lr: learning rate of Adam.
        lr_schedule: learning rate over the steps.
        mse_weight: weight of the pixels' squared error.
        perceptual_weight: weight of the distance between feature maps.
        in_domain_weight: weight of MSE(w0, e(g(w))), which the reference code has instead of Appendix B's adversarial
            term.
        keep: best: the codes of the lowest loss seen; last: those of the last step, as the reference code.
        tile: images optimised at once; always that many, so part of the latents' identity.
    """

    num_steps: Whole
    lr: Positive
    lr_schedule: Literal["constant", "cosine"]
    mse_weight: Weight
    perceptual_weight: Weight
    in_domain_weight: Weight
    keep: Literal["best", "last"] = "best"
    tile: Count


class InDomain(Latents):
    """In-domain inversion (Zhu et al. 2020): an encoder, then an optimisation from where it points.

    Attributes:
        checkpoint: bring your own encoder: a checkpoint with `e`.
        latents: bring your own latents: float32 .npy [N, L, D], before truncation, in the order of the training images.
        seed: seed of the encoder's training.
        perceptual: the network whose feature maps are compared; vgg19's weights are downloaded.
        perceptual_norm: l1: the reference code's; l2: mean square, Eq. 5's ‖·‖₂. Of encoder and optimisation alike.
        checkpoint_every: steps between two checkpoints, so what a kill may cost.
        max_channels: widest layer of the encoder; null: as wide as the StyleGAN2, 512 for another generator.
        num_steps: training steps of the encoder; the reference took its checkpoint at 980,000.
        batch_size: images in a step.
        lr: learning rate of Adam.
        mse_weight: weight of the pixels' squared error.
        perceptual_weight: weight of the distance between feature maps.
        adversarial_weight: weight of the adversarial term. The discriminator keeps training with the Adam and the rate
            that it had; a checkpoint without d_optim gets a new Adam at lr, and the run says so.
        r1_weight: weight of the gradient penalty on real images.
        r1_every: steps between two penalties, each with so many times the weight.
        optimization: optimisation of each image's latent, starting from the encoder's.
    """

    images: Images
    reference: Annotated[Encoder | None, When("perceptual", "encoder")] = None
    image_size: Annotated[int, From("dataset.image_size")]
    truncation: Annotated[float | None, From("generator.truncation")] = None
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

    def require(self) -> None:
        """Images that the perceptual network can read, and a discriminator, if one is to be used."""
        self._check_perceptual()
        if not self.generator.has_discriminator and (lacking := self.lacking_discriminator()):
            raise LackingDiscriminator(lacking)

    def effort(self, images: int) -> Effort:
        """The encoder's training, then the optimisation of every image."""
        each = self.optimization.num_steps * self.generator.synthesis_gflop * 6
        training = self.num_steps * self.batch_size * self.generator.synthesis_gflop * 12
        floats = 14 * getattr(self.generator, "latent_dim", 512)
        return Effort(training + images * each, images * floats * 4 / 1e6, self.generator.width)

    def lacking_discriminator(self) -> str | None:
        """What to tell a user whose generator has no discriminator; None if the inversion needs none."""
        if self.latents is not None:
            return None
        trained = self.checkpoint is None
        needing = []
        if trained and self.adversarial_weight > 0:
            needing.append(f"inversion.adversarial_weight={self.adversarial_weight:g}")
        if self.perceptual == "discriminator":
            needing.append("inversion.perceptual=discriminator")
        if not needing:
            return None
        helping = ["inversion.adversarial_weight=0"] if trained else []
        helping.append("inversion.perceptual=none|vgg19|encoder")
        return f"{', '.join(needing)}: the generator comes without a discriminator (d); give {' '.join(helping)}"

    @model_validator(mode="after")
    def _halves_to_four(self) -> "InDomain":
        if self.latents is None and self.checkpoint is None and self.image_size not in IMAGE_SIZES:
            raise ValueError(
                f"dataset.image_size={self.image_size} cannot be used: allowed is "
                f"{listed([str(size) for size in IMAGE_SIZES])}: the encoder of the inversion halves down to 4 "
                "(other sizes need latents of your own, inversion.latents=)"
            )
        return self

    def _check_perceptual(self) -> None:
        if self.latents is None and self.perceptual == "vgg19" and self.image_size < VGG_SMALLEST:
            raise UserError(
                f"inversion.perceptual=vgg19 halves images four times: dataset.image_size={self.image_size} cannot be "
                f"used, allowed is {VGG_SMALLEST} and more; or give inversion.perceptual=discriminator|encoder|none"
            )

    def unused(self) -> Mapping[str, str]:
        """All but the latents of the user's where there are some; the encoder's training where its weights are."""
        if self.latents is not None:
            kept = {"latents", "generator", "images", "truncation"}
            return {name: "inversion.latents are taken" for name in type(self).model_fields if name not in kept}
        if self.checkpoint is not None:
            kept = {
                "checkpoint",
                "generator",
                "images",
                "perceptual",
                "perceptual_norm",
                "reference",
                "optimization",
                "truncation",
            }
            return {name: "inversion.checkpoint is taken" for name in type(self).model_fields if name not in kept}
        if self.perceptual == "none":
            return {"perceptual_norm": "inversion.perceptual=none compares no feature maps"}
        return {}
