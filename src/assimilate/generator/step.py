"""The generators: what decides the networks of each, trained here or brought by the user."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from assimilate.checked_files import digest_once
from assimilate.data.dataset import Images
from assimilate.data.transform import Expert
from assimilate.errors import UserError
from assimilate.graph.cost import Effort
from assimilate.graph.place import Place
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
    Whole,
    listed,
)
from assimilate.graph.source import source_digest
from assimilate.graph.step import Step

if TYPE_CHECKING:
    from assimilate.generator.protocol import LatentGenerator

# Of a finished artifact.
GENERATOR = "generator.pt"
STYLEGAN2_SIZES = (8, 16, 32, 64, 128, 256)
# Of an image at 32² and full width: rosinality's StyleGAN2 (DESIGN §6).
STYLEGAN2_GFLOP = 8.0
NO_TRAINING = "a generator that is brought is not trained"
Truncation = Annotated[float, Field(gt=0, le=1), Allowed("a number in (0, 1]; 1 switches it off")]


def _shareable(size: int) -> int:
    if size >= 4 and size % 4:
        raise ValueError("no multiple of 4")
    return size


class Generator(Step):
    """Makes images from latents."""

    kind: ClassVar[str] = "generators"
    stage: ClassVar[str] = "train_generator"
    title: ClassVar[str] = "Making the generator"
    image_size: Annotated[int, From("dataset.image_size")]

    @property
    def is_brought(self) -> bool:
        """Whether the user brings it, so that it depends on no images."""
        return True

    @property
    def has_discriminator(self) -> bool:
        """Whether a discriminator comes with it."""
        return False

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The frozen generator of a finished artifact, on the job's device."""
        raise NotImplementedError

    @property
    def width(self) -> float:
        """Of its widest layer, as a share of the published network's; one of the user's own is taken for that."""
        return 1.0

    @property
    def synthesis_gflop(self) -> float:
        """Of one image."""
        return STYLEGAN2_GFLOP * (self.image_size / 32) ** 2 * self.width**2


class StyleGAN2(Generator):
    """StyleGAN2 in the rosinality layout (PROTOCOLS 4).

    Attributes:
        checkpoint: one of your own, in rosinality's layout (g_ema, d, args, …); null: it is trained.
        seed: seed of its training.
        max_channels: channels of the widest layer; 512 is the published network, 32 trains on two cores.
        channel_multiplier: multiplies the channels of layers at 64² and above.
        channel_base: narrow networks: at most channel_base/resolution channels, since the full size costs most; null:
            no limit.
        latent_dim: dimension of z and w.
        num_mapping_layers: layers of the mapping from z to w.
        truncation: w = mean + truncation·(w − mean), wherever a latent is synthesised (PROTOCOLS 5).
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
        augment: leak: real images become expert views (data.expert) with augment_probability, and the generator learns
            to make them (Appendix I's "-aug"); diffaugment: colour, translation and cutout on real and generated images
            alike, for few images (Zhao et al. 2020), which does not leak.
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

    images: Annotated[Images | None, Field(default=None)]
    flip: Annotated[Probability, From("dataset.flip")]
    expert: Annotated[Expert | None, At("data.expert")] = None
    checkpoint: File | None = None
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

    @model_validator(mode="after")
    def _doubles_from_four(self) -> "StyleGAN2":
        if self.image_size not in STYLEGAN2_SIZES:
            raise ValueError(
                f"dataset.image_size={self.image_size} cannot be used: allowed is "
                f"{listed([str(size) for size in STYLEGAN2_SIZES])}: StyleGAN2 doubles from 4 (a run without generated "
                "views, assim=simclr, or a generator of your own, generator._target_=, takes other sizes)"
            )
        return self

    @property
    def is_brought(self) -> bool:
        """Whether there is a checkpoint of the user's."""
        return self.checkpoint is not None

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "imported" if self.is_brought else "stylegan2"

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The averaged network, truncated."""
        from assimilate.generator.checkpoint import load_stylegan2
        from assimilate.generator.truncated import TruncatedStyleGAN2

        state = load_stylegan2(folder / GENERATOR)
        return TruncatedStyleGAN2.from_state(state, truncation=self.truncation).to(at.device)

    @property
    def width(self) -> float:
        """As the published network has 512 channels."""
        return self.max_channels / 512

    def effort(self, images: int) -> Effort:
        """Both networks forward and backward, twice, and the lazy regularisers; a checkpoint is only read."""
        steps = 0 if self.is_brought else self.num_steps
        return Effort(steps * self.batch_size * self.synthesis_gflop * 12, 400 * self.width**2 + 1, self.width)

    @property
    def has_discriminator(self) -> bool:
        """The one that it was trained against; of a checkpoint, this is known when it is read."""
        return True

    def unused(self) -> Mapping[str, str]:
        """All of the training for a checkpoint, and what belongs to an augmentation or measurement that is off."""
        if self.is_brought:
            kept = {"checkpoint", "truncation", "image_size"}
            return {name: NO_TRAINING for name in type(self).model_fields if name not in kept}
        found: dict[str, str] = {}
        if self.augment != "leak":
            found |= dict.fromkeys(("augment_probability", "expert"), f"generator.augment={self.augment} draws none")
        if self.frechet == "none":
            found |= dict.fromkeys(("frechet_every", "frechet_images"), "generator.frechet=none measures no distance")
        if self.frechet != "encoder":
            found["frechet_encoder"] = f"generator.frechet={self.frechet} looks through no encoder"
        return found


class BigBiGAN(Generator):
    """BigBiGAN's generator from a state dict in the layout of its PyTorch port (PROTOCOLS 12).

    Attributes:
        checkpoint: a state dict with the keys of PROTOCOLS 12; it has to be given.
        latent_width: numbers of a latent, 6 chunks; a checkpoint of another width is refused.
        latent_limit: sampled latents are N(0, I) truncated at ± this; null: N(0, I). GenRep's anchors have 2 (PROTOCOLS
            12).
        truncation: z is multiplied by it wherever an image is made; GenRep's "tr2.0" is 1.
    """

    checkpoint: File | None
    latent_width: Count
    latent_limit: Annotated[
        Positive | None, NEUTRAL, Allowed("null (a normal distribution) or a number > 0")
    ]  # of sampling
    truncation: Annotated[Truncation, NEUTRAL]

    def require(self) -> None:
        """Its weights: it is not trained here."""
        if self.checkpoint is None:
            raise UserError(
                "generator=bigbigan is not trained here: give generator.checkpoint=/path/to/a/BigBiGAN/state_dict.pth "
                "(keys as in PROTOCOLS 12), or sample from another generator with generator="
            )

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "bigbigan"

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The network, truncated."""
        from assimilate.generator.bigbigan_checkpoint import load_bigbigan
        from assimilate.generator.truncated_bigbigan import TruncatedBigBiGAN

        made = TruncatedBigBiGAN(
            load_bigbigan(folder / GENERATOR), truncation=self.truncation, latent_limit=self.latent_limit
        )
        return made.to(at.device)

    @property
    def synthesis_gflop(self) -> float:
        """Of one image: 40.2 at 128² and full width (counted with torch's FLOP counter)."""
        return 40.2 * (self.image_size / 128) ** 2


class Own(Generator):
    """A generator of the user's own code: `generator._target_` names a class or function of theirs."""

    target: str
    arguments: Annotated[dict[str, Any], NEUTRAL]
    contents: dict[str, Any]  # the arguments, files by what is in them

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """What the target returns."""
        from assimilate.generator.own import make_own_generator

        called = {"_target_": self.target, "arguments": self.arguments}
        return make_own_generator(called, image_size=self.image_size, device=at.device)

    def content(self) -> Mapping[str, Any]:
        """The source behind the target."""
        source = source_digest(self.target)
        return {} if source is None else {"source": source}

    @property
    def is_brought(self) -> bool:
        """It is."""
        return True

    @property
    def label(self) -> str:
        """The target's name."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.target.rpartition(".")[2])


def by_content(arguments: Mapping[str, Any], prefix: str = "generator") -> dict[str, Any]:
    """The arguments of a generator of the user's own, files by what is in them."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        key = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            found[name] = by_content(value, key)
        elif isinstance(value, str) and (name == "checkpoint" or Path(value).expanduser().is_file()):
            if not Path(value).expanduser().is_file():
                raise UserError(f"{key}={value}: there is no such file")
            found[name] = {"sha256": digest_once(Path(value).expanduser())}
        else:
            found[name] = value
    return found
