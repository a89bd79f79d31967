"""Images that a generator makes as a data set: what decides them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from assimilate.data.dataset import LATENTS, Dataset
from assimilate.data.images import ImageArrays, save_prepared
from assimilate.errors import UserError
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place, RowWork
from assimilate.graph.settings import Allowed, Count, From, Positive, Seed

# File stem of the images that a generator makes.
SAMPLES = "train_images"
# Sampled images between two flushes: what a kill may cost.
SAMPLES_FLUSHED = 512


class Sampled(Dataset):
    """Images of latents that are drawn, so that the latent of each is known (Table 4).

    Attributes:
        num_images: how many are sampled.
        seed: image i is a function of (seed, i) alone.
        tile: images made at once, always that many.
    """

    latents_are_known: ClassVar[bool] = True
    published: ClassVar[bool] = True
    slow_imports: ClassVar[tuple[str, ...]] = ("assimilate.generator.sampling", *Generator.slow_imports)
    generator: Generator
    num_images: Count
    seed: Seed
    tile: Count
    truncation: Annotated[float | None, From("generator.truncation")] = None
    latent_limit: Annotated[
        Positive | None, From("generator.latent_limit"), Allowed("null (a normal distribution) or a number > 0")
    ] = None

    def require(self) -> None:
        self.generator.require()
        if not self.generator.is_brought:
            raise UserError(
                f"dataset={self.name} is sampled from a generator that is trained already: give generator.checkpoint="
            )

    def available(self) -> int:
        return self.num_images

    def effort(self, images: int) -> Effort:
        """A forward pass of the generator each."""
        return replace(
            super().effort(images), gflop=images * self.generator.synthesis_gflop, width=self.generator.width
        )

    def build(self, into: Path, at: Place) -> Built:
        at.fill_rows(self, self.rows(at), into)
        images = np.load(into / f"{SAMPLES}.npy", mmap_mode="r")
        limit = self.latent_limit
        drawn = "N(0, I)" if limit is None else f"N(0, I) truncated at ±{limit:g}"
        note = f"{self.name}: {len(images):,} images sampled from {self.generator.label}"
        if self.truncation is not None:
            note += f", latents from {drawn}, truncation {self.truncation:g}"
        dataset = save_prepared(
            into,
            name=self.name,
            train=ImageArrays(images, None),
            test=None,
            class_names=(),
            mean=self.mean,
            std=self.std,
            notes=[note + "; no labels, and their latents are known."],
        )
        kept = {f"{SAMPLES}.npy", f"{LATENTS}.npy", "dataset.json"}
        return self.built(dataset, at, leftovers=frozenset(path.name for path in into.iterdir()) - kept)

    def rows(self, at: Place) -> RowWork:
        """How the images are sampled; loads the generator.

        Raises:
            UserError: it makes images of another size.
        """
        from assimilate.generator.sampling import SamplingSettings, sample_images

        generator, size = at.load(self.generator), self.image_size
        if generator.image_size != size:
            raise UserError(f"dataset.image_size={size}: the generator makes images of {generator.image_size}²")
        settings = SamplingSettings(tile=self.tile, seed=self.seed)
        return RowWork(
            title=f"Sampling {self.name}",
            count=self.count(),
            image_shape=(3, size, size),
            fields={LATENTS: ((generator.num_codes, generator.latent_dim), "<f4")},
            fill=lambda write, pending, progress: sample_images(
                generator, write, pending, settings, device=at.device, progress=progress
            ),
            images=SAMPLES,
            tile=settings.tile,
            flush_every=SAMPLES_FLUSHED,
        )
