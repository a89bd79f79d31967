"""The generators: what decides the networks of each, trained here or brought by the user."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from assimilate.data.dataset import Images
from assimilate.errors import UserError
from assimilate.files.checked_files import digest_once
from assimilate.generator.architecture import IMAGE_SIZES, num_codes
from assimilate.generator.settings import StyleGAN2Settings, Truncation
from assimilate.generator.target import find_target
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import NEUTRAL, Allowed, Count, File, From, Positive, listed
from assimilate.graph.source import source_digest
from assimilate.graph.step import Step

if TYPE_CHECKING:
    from assimilate.generator.protocol import LatentGenerator
    from assimilate.generator.state import GeneratorState

DESCRIPTION = "generator.json"
# Of an image at 32² and full width: rosinality's StyleGAN2.
STYLEGAN2_GFLOP = 8.0
NO_TRAINING = "a generator that is brought is not trained"


class Generator(Step):
    """Makes images from latents."""

    kind: ClassVar[str] = "generators"
    stage: ClassVar[str] = "train_generator"
    title: ClassVar[str] = "Making the generator"
    brought_by: ClassVar[tuple[str, ...]] = ("generator.checkpoint", "generator._target_")
    slow_imports: ClassVar[tuple[str, ...]] = ("assimilate.generator.making",)
    # Whether a discriminator comes with it.
    has_discriminator: ClassVar[bool] = False
    image_size: Annotated[int, From("dataset.image_size")]

    @property
    def _making(self) -> ModuleType:
        from assimilate.generator import making  # and with it torch

        return making

    @property
    def is_brought(self) -> bool:
        """Whether the user brings it, so that it depends on no images."""
        return True

    @abstractmethod
    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The frozen generator of a finished artifact, on the job's device."""

    def load_state(self, folder: Path) -> "GeneratorState | None":
        """The networks that were trained together, with their optimisers; None where there is but a generator."""
        return None

    @property
    def code_shape(self) -> tuple[int, int] | None:
        """Codes of an image and numbers of each; None where that is known once it is read."""
        return None

    @property
    def is_recorded(self) -> bool:
        """Whether its training leaves records beside it."""
        return False

    @property
    def width(self) -> float:
        """Of its widest layer, as a share of the published network's; one of the user's own is taken for that."""
        return 1.0

    @property
    def synthesis_gflop(self) -> float:
        """Of one image."""
        return STYLEGAN2_GFLOP * (self.image_size / 32) ** 2 * self.width**2


class StyleGAN2(StyleGAN2Settings, Generator):
    """StyleGAN2 in the rosinality layout.

    Attributes:
        checkpoint: one of your own, in rosinality's layout (g_ema, d, args, …); null: it is trained.
    """

    has_discriminator: ClassVar[bool] = True  # of a checkpoint, this is known when it is read
    images: Annotated[Images | None, Field(default=None)]
    checkpoint: File | None = None

    @model_validator(mode="after")
    def _doubles_from_four(self) -> "StyleGAN2":
        if self.image_size not in IMAGE_SIZES:
            raise ValueError(
                f"dataset.image_size={self.image_size} cannot be used: allowed is "
                f"{listed([str(size) for size in IMAGE_SIZES])}: StyleGAN2 doubles from 4 (a run without generated "
                "views, assim=simclr, or a generator of your own, generator._target_=, takes other sizes)"
            )
        return self

    @property
    def is_brought(self) -> bool:
        """Whether there is a checkpoint of the user's."""
        return self.checkpoint is not None

    @property
    def label(self) -> str:
        return "imported" if self.is_brought else "stylegan2"

    def build(self, into: Path, at: Place) -> Built:
        if self.checkpoint is not None:
            return self._making.take_stylegan2(self.checkpoint.path, into, at, image_size=self.image_size)
        ranks = at.settings.trainer.devices
        self._making.check_settings(self.training, ranks)
        if ranks == 1:
            self.fit(into, at)
        else:
            at.fit_on_ranks(self)
        return self._making.keep_trained(into, ranks=ranks)

    def fit(self, into: Path, at: Place) -> None:
        self._making.fit_stylegan2(self, into, at)

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The averaged network, truncated."""
        state = self.load_state(folder)
        return self._making.TruncatedStyleGAN2.from_state(state, truncation=self.truncation).to(at.device)

    def load_state(self, folder: Path) -> "GeneratorState":
        """All networks, on the CPU."""
        return self._making.load_stylegan2(folder / self._making.GENERATOR)

    @property
    def code_shape(self) -> tuple[int, int] | None:
        """Known before it is read where it is trained here."""
        return None if self.is_brought else (num_codes(self.image_size), self.latent_dim)

    @property
    def is_recorded(self) -> bool:
        """Whether samples, snapshots or distances are asked for."""
        return not self.is_brought and bool(self.sample_every or self.save_every_images or self.measures)

    @property
    def width(self) -> float:
        """As the published network has 512 channels."""
        return self.max_channels / 512

    def effort(self, images: int) -> Effort:
        """Both networks forward and backward, twice, and the lazy regularisers; a checkpoint is only read."""
        steps = 0 if self.is_brought else self.num_steps
        gflop = steps * self.batch_size * self.synthesis_gflop * 12
        return Effort(gflop, 400 * self.width**2 + 1, self.width, steps)

    def unused(self) -> Mapping[str, str]:
        """All of the training for a checkpoint, and what belongs to an augmentation or measurement that is off."""
        if self.is_brought:
            kept = {"checkpoint", "truncation", "image_size"}
            return {name: NO_TRAINING for name in type(self).model_fields if name not in kept}
        found: dict[str, str] = {}
        if not self.leaks:
            found |= dict.fromkeys(("augment_probability", "expert"), f"generator.augment={self.augment} draws none")
        if not self.measures:
            found |= dict.fromkeys(("frechet_every", "frechet_images"), "generator.frechet=none measures no distance")
        if self.frechet_encoder is not None:
            found["network"] = "generator.frechet_encoder is looked through"
        if not self.measures_by_encoder:
            found["frechet_encoder"] = f"generator.frechet={self.frechet} looks through no encoder"
        return found


class BigBiGAN(Generator):
    """BigBiGAN's generator from a state dict in the layout of its PyTorch port.

    Attributes:
        checkpoint: a state dict with the keys of its PyTorch port; it has to be given.
        latent_width: numbers of a latent, 6 chunks; a checkpoint of another width is refused.
        latent_limit: sampled latents are N(0, I) truncated at ± this; null: N(0, I). GenRep's anchors have 2.
        truncation: z is multiplied by it wherever an image is made; GenRep's "tr2.0" is 1.
    """

    checkpoint: File | None
    latent_width: Count
    latent_limit: Annotated[
        Positive | None, NEUTRAL, Allowed("null (a normal distribution) or a number > 0")
    ]  # of sampling
    truncation: Annotated[Truncation, NEUTRAL]

    def require(self) -> None:
        if self.checkpoint is None:
            raise UserError(
                "generator=bigbigan is not trained here: give generator.checkpoint=/path/to/a/BigBiGAN/state_dict.pth "
                "(with the keys of its PyTorch port), or sample from another generator with generator="
            )

    def build(self, into: Path, at: Place) -> Built:
        assert self.checkpoint is not None, "required"
        path, size, making = self.checkpoint.path, self.image_size, self._making
        network = making.load_bigbigan(path, image_size=size, latent_dim=self.latent_width)
        making.save_bigbigan(into / making.GENERATOR, network)
        return Built({"imported": True})

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """The network, truncated."""
        network, limit = self._making.load_bigbigan(folder / self._making.GENERATOR), self.latent_limit
        return self._making.TruncatedBigBiGAN(network, truncation=self.truncation, latent_limit=limit).to(at.device)

    @property
    def synthesis_gflop(self) -> float:
        """Of one image: 40.2 at 128² and full width (counted with torch's FLOP counter)."""
        return 40.2 * (self.image_size / 128) ** 2


class Own(Generator):
    """A generator of the user's own code: `generator._target_` names a class or function of theirs."""

    target: str
    arguments: Annotated[dict[str, Any], NEUTRAL]
    contents: dict[str, Any]  # the arguments, files by what is in them

    def require(self) -> None:
        find_target(self.target, self.arguments)

    def foresee(self, at: Place) -> None:
        """What the target returns is a generator of such images."""
        self._make(at)

    def build(self, into: Path, at: Place) -> Built:
        made = self._make(at)
        facts = {
            "target": self.target,
            "arguments": self.arguments,
            "image_size": made.image_size,
            "num_codes": made.num_codes,
            "latent_dim": made.latent_dim,
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        (into / DESCRIPTION).write_text(text, encoding="utf-8")
        return Built({"imported": True})

    def load(self, folder: Path, at: Place) -> "LatentGenerator":
        """What the target returns."""
        return self._make(at)

    def _make(self, at: Place) -> "LatentGenerator":
        return self._making.make_own_generator(
            self.target, self.arguments, image_size=self.image_size, device=at.device
        )

    def content(self) -> Mapping[str, Any]:
        source = source_digest(self.target)
        return {} if source is None else {"source": source}

    @property
    def label(self) -> str:
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
