"""The four hot paths on random images and random networks, at any width and on any device, for profiles and timings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.contrastive import A2, ContrastiveModule, SimCLR
from assimilate.assimilation.loss import NTXent
from assimilate.assimilation.optimizers import SGD, CosinePerEpoch
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.encoder.encoder import EmbeddingOf, Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.checkpoint import load_stylegan2
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.steps import AdversarialTraining
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.cache import CachedViews
from assimilate.views.embedding import FrozenEmbedding, to_pixels
from assimilate.views.search import SearchSettings

MEAN, STD, TRUNCATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.7


def random_images(count: int, size: int) -> ImageArrays:
    """Labelled noise."""
    rng = np.random.default_rng(0)
    return ImageArrays(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8), rng.integers(0, 10, count))


@dataclass(frozen=True)
class Contrastive:
    """A training of `assim` ("simclr", or "a2" with one cached view of two) for `steps` batches an epoch.

    The networks and the loss are those of dkobak's recipe at the given width.
    """

    assim: str = "simclr"
    width: int = 64
    hidden_dim: int = 1024
    output_dim: int = 128
    size: int = 32
    batch: int = 512
    steps: int = 60
    compiled_augmentation: bool = False

    def module(self) -> ContrastiveModule:
        """The LightningModule, on the CPU."""
        kinds: dict[str, type[ContrastiveModule]] = {"simclr": SimCLR, "a2": A2}
        return kinds[self.assim](
            encoder={
                "width": self.width, "projector": "dkobak", "hidden_dim": self.hidden_dim,
                "output_dim": self.output_dim,
            },
            loss=NTXent(temperature=0.5),
            alignment=Alignment(alpha=0.5, align_anchors=[0, 1]),
            optimizer=SGD(lr=0.12, momentum=0.9, weight_decay=5e-4, schedule=CosinePerEpoch()),
            epochs=100,
            mean=MEAN,
            std=STD,
        )  # fmt: skip

    @property
    def num_views(self) -> int:
        """Views of a step."""
        return 3 if self.assim == "a2" else 2

    def datamodule(self) -> ContrastiveDataModule:
        """The LightningDataModule; its arrays go to the device with the first batch."""
        images = random_images(self.batch * self.steps, self.size)
        expert = make_transform("expert", self.size, flip=0.5, expert={}, compiled=self.compiled_augmentation)
        slots = [ViewSlot("image", expert)] * 2
        source = None
        if self.assim == "a2":
            slots.append(ViewSlot("generated", make_transform("flip", self.size, flip=0.5, expert={})))
            source = CachedViews(np.stack([images.images, images.images[::-1]], axis=1))
        return ContrastiveDataModule(
            images, mean=MEAN, std=STD, slots=slots, batch_size=self.batch, seed=0, view_source=source,
            drop_last=True, placement="device",
        )  # fmt: skip


def architecture(size: int, channels: int) -> Architecture:
    """The published StyleGAN2 at 512 channels; narrower ones have narrower latents too."""
    return Architecture(size, min(512, 8 * channels), 8, stylegan2_channels(size, max_channels=channels))


def generator_training(size: int, channels: int, batch: int, device: torch.device) -> AdversarialTraining:
    """StyleGAN2's adversarial training at its first step."""
    return AdversarialTraining(
        architecture(size, channels), TrainingSettings(num_steps=10**6, batch_size=batch), seed=0, device=device
    )


class SearchWorld:
    """A generator, an f and inverted codes: random networks, or a trained generator from a checkpoint.

    f is a ResNet-18 at random weights whose BatchNorm has the statistics of the generator's images, so that distances
    vary as they do with a trained one.

    Attributes:
        latents: codes [count, codes, dim] before truncation, on the CPU.
        images: what the generator makes of them, uint8 [count, 3, size, size].
        device: where the networks are.
    """

    def __init__(
        self, *, size: int, channels: int, width: int, count: int, device: torch.device, checkpoint: Path | None = None
    ) -> None:
        torch.manual_seed(0)
        self.device = device
        if checkpoint is not None:
            self.generator = TruncatedStyleGAN2.from_state(
                load_stylegan2(checkpoint, image_size=size), truncation=TRUNCATION
            )
        else:
            network = Generator(architecture(size, channels))
            self.generator = TruncatedStyleGAN2(
                network, torch.zeros(network.architecture.latent_dim), truncation=TRUNCATION
            )
        self.generator.to(device)
        dim = self.generator.latent_dim
        with torch.no_grad():
            codes = self.generator.map(torch.randn(count, dim).to(device))
            noise = torch.randn(count, self.generator.num_codes, dim).to(device)
            # Inverted codes differ from layer to layer.
            spread = codes[:, None] + 0.1 * codes.std() * noise
            pixels = torch.cat([to_pixels(self.generator.synthesize(part)) for part in spread.split(64)])
        spec = EncoderSpec(width=width, hidden_dim=min(2048, 32 * width), output_dim=min(2048, 32 * width))
        encoder = Encoder.from_spec(spec, init_seed=0).to(device).train()
        with torch.no_grad():
            for part in pixels.split(256) if len(pixels) > 256 else [pixels] * 20:
                encoder((part.float() / 255 - 0.5) / 0.25)
        self.embedding = FrozenEmbedding(EmbeddingOf(encoder.eval()), mean=MEAN, std=STD).to(device)
        self.latents, self.images = spread.cpu().numpy(), pixels.cpu().numpy()


def search_settings(*, num_views: int, width: int, **changes: Any) -> SearchSettings:
    """Eq. 3 with a relative tolerance of 5% at ε1 = .3 and ε2 = .5, CIFAR-10's values of the paper.

    The step size is one at which the search converges with random networks, to which a small move is a large one: at
    the paper's .01 and above many anchors circle around their distance.
    """
    values: dict[str, Any] = {
        "num_views": num_views, "epsilon1": 0.3, "epsilon2": 0.5, "uniformity_weight": 0.01, "hinge": "image",
        "anchor": "reconstruction", "optimizer": "adam", "lr": 0.005, "iterations": 200, "tolerance": None,
        "tolerance_relative": 0.05, "initial_noise": 0.001, "noise_first_view": True, "width": width, "seed": 0,
    }  # fmt: skip
    return SearchSettings(**(values | changes))


def device_here() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
