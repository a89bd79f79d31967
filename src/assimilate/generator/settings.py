"""Settings of adversarial training; the defaults are rosinality's."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from assimilate.data.transform import Expert
from assimilate.encoder.step import Network
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.graph.settings import (
    NEUTRAL,
    Allowed,
    At,
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

Truncation = Annotated[float, Field(gt=0, le=1), Allowed("a number in (0, 1]; 1 switches it off")]


def _shareable(size: int) -> int:
    if size >= 4 and size % 4:
        raise ValueError("no multiple of 4")
    return size


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of ``train_stylegan2``; times are counted in steps of one discriminator and one generator update.

    ``r1_every`` and ``path_length_every`` make a regulariser lazy: it is applied every so many steps, with as much more
    weight, and Adam's rates are corrected for the additional updates. ``ema_decay`` is per step. A real image is
    flipped with ``flip_probability`` and, where an augmentation is given, augmented with ``augmentation_probability``.
    """

    num_steps: int = 800_000
    batch_size: int = 16
    lr: float = 0.002
    r1_weight: float = 10.0
    r1_every: int = 16
    path_length_weight: float = 2.0
    path_length_every: int = 4
    path_length_decay: float = 0.01
    path_length_batch_shrink: int = 2
    mixing_probability: float = 0.9
    ema_decay: float = 0.5 ** (32 / 10_000)
    flip_probability: float = 0.5
    augmentation_probability: float = 0.5
    checkpoint_every: int = 1_000
    log_every: int = 50

    def path_length_batch(self, batch: int) -> int:
        """Return how many images the path length takes where the other terms take ``batch``."""
        return max(1, batch // self.path_length_batch_shrink)


class StyleGAN2Settings(Settings):
    """A StyleGAN2: its architecture, its training, and what is recorded of that.

    Attributes:
        seed: seed of its training.
        max_channels: channels of the widest layer; 512 is the published network, 32 trains on two cores.
        channel_multiplier: multiplies the channels of layers at 64² and above.
        channel_base: narrow networks: at most channel_base/resolution channels, since the full size costs most; null:
            no limit.
        latent_dim: dimension of z and w.
        num_mapping_layers: layers of the mapping from z to w.
        truncation: w = mean + truncation·(w − mean), wherever a latent is synthesised.
        num_steps: training steps. 800,000 is the reference code's default; the paper does not state its own.
        batch_size: images in a step.
        lr: learning rate of both networks' Adam.
        r1_weight: weight of the gradient penalty on real images.
        r1_every: steps between two penalties, each with so many times the weight.
        path_length_weight: weight of the path length regulariser.
        path_length_every: steps between two of them.
        path_length_batch_shrink: it takes a batch so many times smaller.
        mixing_probability: probability that an image mixes the styles of two latents.
        ema_half_life_steps: half-life of the moving average of the weights, which is the generator that is used.
        augment: leak: real images are augmented as expert views are (data.expert) with augment_probability, so the
            generator learns to make augmented images (Appendix I's "-aug"); diffaugment: colour, translation and cutout
            on real and generated images alike, for few images (Zhao et al. 2020), which does not leak.
        augment_probability: probability that a real image is augmented.
        checkpoint_every: steps between two checkpoints, so what a kill may cost.
        sample_every: steps between two grids of the same 64 latents, samples/<step>.png; 0: off.
        save_every_images: images seen between two snapshots, snapshots/<images>.pt, fit for generator.checkpoint= and
            as large as the generator with its optimisers; 0: off.
        frechet: measure the Fréchet distance to the training images, in the features of this network.
        frechet_every: steps between two measurements.
        frechet_images: generated, and at most as many real.
        frechet_encoder: a file of ours (encoder.pt); null: this run's network with random weights.
    """

    image_size: Annotated[int, From("dataset.image_size")]
    flip: Annotated[Probability, From("dataset.flip")]
    expert: Annotated[Expert | None, At("data.expert")] = None
    seed: Seed
    max_channels: Count
    channel_multiplier: Count
    channel_base: Count | None
    latent_dim: Count
    num_mapping_layers: Count
    truncation: Annotated[Truncation, NEUTRAL]
    num_steps: Count
    batch_size: Annotated[Count, AfterValidator(_shareable), Allowed("a whole number ≥ 1, below 4 or a multiple of 4")]
    lr: Positive
    r1_weight: Annotated[NotNegative, Allowed("a number ≥ 0 (0: off)")]
    r1_every: Annotated[Count, Allowed("a whole number of steps ≥ 1")]
    path_length_weight: Annotated[NotNegative, Allowed("a number ≥ 0 (0: off)")]
    path_length_every: Annotated[Count, Allowed("a whole number of steps ≥ 1")]
    path_length_batch_shrink: Count
    mixing_probability: Probability
    # Beyond 1e15, the decay of a step rounds to 1.
    ema_half_life_steps: Annotated[float, Field(gt=0, le=1e15), Allowed("a number of steps > 0, at most 1e15")]
    augment: Literal["none", "leak", "diffaugment"] = "none"
    augment_probability: Probability = 0.5
    checkpoint_every: Annotated[Count, NEUTRAL, Allowed("a whole number of steps ≥ 1")]
    sample_every: Annotated[Whole, NEUTRAL, Allowed("a whole number ≥ 0 (0: off)")] = 0
    save_every_images: Annotated[Whole, NEUTRAL, Allowed("a whole number ≥ 0 (0: off)")] = 0
    frechet: Annotated[Literal["none", "inception", "encoder"], NEUTRAL] = "none"
    frechet_every: Annotated[Count, NEUTRAL] = 10000
    frechet_images: Annotated[int, NEUTRAL, Field(ge=2), Allowed("a whole number ≥ 2")] = 10000
    frechet_encoder: Annotated[File | None, NEUTRAL] = None
    # Through whose random weights frechet=encoder looks where no file is given.
    network: Annotated[Network | None, NEUTRAL, From("encoder"), When("frechet", "encoder")] = None

    # What each word of `augment` and `frechet` means; no other place asks.
    @property
    def leaks(self) -> bool:
        """Whether real images become expert views now and then."""
        return self.augment == "leak"

    @property
    def augments_all(self) -> bool:
        """Whether real and generated images go through DiffAugment."""
        return self.augment == "diffaugment"

    @property
    def measures(self) -> bool:
        """Whether a Fréchet distance is measured."""
        return self.frechet != "none"

    @property
    def measures_by_encoder(self) -> bool:
        """Whether it is measured in an encoder's features; else in those of Inception-v3."""
        return self.frechet == "encoder"

    @property
    def architecture(self) -> Architecture:
        """The sizes of both networks."""
        return Architecture(
            image_size=self.image_size,
            latent_dim=self.latent_dim,
            num_mapping_layers=self.num_mapping_layers,
            channels=stylegan2_channels(
                self.image_size,
                channel_multiplier=self.channel_multiplier,
                max_channels=self.max_channels,
                channel_base=self.channel_base,
            ),
        )

    @property
    def training(self) -> TrainingSettings:
        """How it is trained."""
        return TrainingSettings(
            **self.model_dump(include={each.name for each in fields(TrainingSettings)}),
            ema_decay=0.5 ** (1 / self.ema_half_life_steps),
            flip_probability=self.flip,
            augmentation_probability=self.augment_probability,
        )
