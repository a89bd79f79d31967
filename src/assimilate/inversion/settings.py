"""Settings of inversion; the defaults of the networks' own settings are the reference code's."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from assimilate.generator.architecture import IMAGE_SIZES
from assimilate.graph.settings import (
    BESIDE,
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
    listed,
)
from assimilate.inversion.compared import Perceptual

Weight = Annotated[NotNegative, Allowed("a number ≥ 0 (0: off)")]


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of ``train_inversion_encoder``. Loss = mse + perceptual + adversarial_weight·softplus(−D)."""

    num_steps: int = 1_000_000
    batch_size: int = 8
    lr: float = 1e-4
    mse_weight: float = 1.0
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.05
    r1_weight: float = 10.0
    r1_every: int = 16
    perceptual_norm: str = "l1"
    flip_probability: float = 0.5
    checkpoint_every: int = 1_000
    log_every: int = 50

    def identity(self) -> dict[str, Any]:
        """What decides the trained weights."""
        neutral = ("num_steps", "checkpoint_every")
        # It came later: at l1 the loss is what it always was, and half-done work goes on under its name.
        later = {"perceptual_norm": "l1"}
        return {key: value for key, value in asdict(self).items() if key not in neutral and later.get(key) != value}


@dataclass(frozen=True)
class OptimizationSettings:
    """Settings of ``optimize_codes``. Loss = mse + perceptual + in_domain_weight·MSE(e(x), e(g(w))), not adversarial.

    ``tile`` images are optimised together, each by itself; kernels always see that many, so results do not depend on
    how many there are in all. ``keep`` is best, the codes of the lowest loss seen, or last, those of the last step.
    """

    num_steps: int = 1_000
    lr: float = 0.01
    lr_schedule: str = "constant"
    mse_weight: float = 1.0
    perceptual_weight: float = 1.0
    in_domain_weight: float = 2.0
    tile: int = 64
    perceptual_norm: str = "l1"
    keep: str = "best"


class InDomainSettings(Settings):
    """In-domain inversion: what the user brings, the encoder's training, and the optimisation after it.

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
    """

    image_size: Annotated[int, From("dataset.image_size")]
    truncation: Annotated[float | None, From("generator.truncation")] = None
    flip: Annotated[Probability, From("dataset.flip")]
    checkpoint: File | None = None
    latents: File | None = None
    seed: Seed
    perceptual: Annotated[Perceptual, BESIDE]
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

    @model_validator(mode="after")
    def _halves_to_four(self) -> Self:
        if self.trains and self.image_size not in IMAGE_SIZES:
            raise ValueError(
                f"dataset.image_size={self.image_size} cannot be used: allowed is "
                f"{listed([str(size) for size in IMAGE_SIZES])}: the encoder of the inversion halves down to 4 "
                "(other sizes need latents of your own, inversion.latents=)"
            )
        return self

    @model_validator(mode="after")
    def _shareable(self) -> Self:
        if self.trains and self.adversarial_weight > 0 and self.batch_size > 4 and self.batch_size % 4:
            raise ValueError(
                f"inversion.batch_size={self.batch_size} cannot be used: allowed is a multiple of 4, or a number below "
                "4: the discriminator compares groups of four"
            )
        return self

    @property
    def training(self) -> EncoderSettings:
        """How the encoder is trained."""
        shared = self.model_dump(include={each.name for each in fields(EncoderSettings)})
        return EncoderSettings(**shared, flip_probability=self.flip)

    @property
    def trains(self) -> bool:
        """Whether an encoder is trained."""
        return self.latents is None and self.checkpoint is None
