"""Views of a few images as pixels, as codes, and as f sees them: what the figures of views are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.seeding import generator as seeded
from assimilate.figures.found_runs import find_viewmaker
from assimilate.figures.inputs import Kind
from assimilate.jobs.machine import repeatable_kernels
from assimilate.jobs.session import Session
from assimilate.run.recipe import Recipe
from assimilate.views.cached_files import IMAGES
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.viewmaker import load_viewmaker

BATCH = 256
Pixels = UInt8[np.ndarray, "images views 3 height width"]


@dataclass(frozen=True)
class Gallery:
    """Views of some images of a session's training set.

    Attributes:
        session: of the job.
        indices: of the images, ascending.
        num_views: of each image, at most.
        seed: of what is drawn for the figure.
        viewmaker: folder of the run whose network makes the viewmaker views.
    """

    session: Session
    indices: Int64[np.ndarray, " images"]
    num_views: int
    seed: int
    viewmaker: Path | None = None

    @cached_property
    def originals(self) -> UInt8[np.ndarray, "images 3 height width"]:
        """The images."""
        return np.asarray(self.session.dataset.train.images[self.indices])

    def pixels(self, kind: Kind) -> Pixels:
        """Views of the images, up to `num_views` of each."""
        if kind.has_cache:
            return self._cached(kind)
        if kind.shown == "drawn":
            return self.draws(f"{kind.word} view", transform_of(self.session, kind.word))
        if kind.shown == "network":
            return self._perturbed()
        alone = self.originals if kind.shown == "image" else to_pixels(self.reconstruct(kind)).cpu().numpy()
        return alone[:, None]

    def _cached(self, kind: Kind) -> Pixels:
        session, count = kind.maker, min(self.num_views, kind.num_used)
        if session.store.has(kind.cache):
            stored = np.load(kind.cache.path / IMAGES, mmap_mode="r")
            return np.stack([np.asarray(stored[index, :count]) for index in self.indices])
        work = kind.cache.step.rows(session)
        made: dict[int, Any] = {}
        with session.bar(f"{work.title} of {len(self.indices)} images") as progress, repeatable_kernels():
            work.fill(
                lambda index, views, **_: made.update({index: np.array(views[:count])}), self.indices.tolist(), progress
            )
        return np.stack([made[index] for index in self.indices.tolist()])

    def draws(self, purpose: str, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Pixels:
        """`num_views` draws for each image, of a seed that `purpose` names; `draw` gives [0, 1] of uint8."""
        images = torch.from_numpy(self.originals)
        with torch.no_grad():
            made = [draw(images, seeded(self.seed, purpose, number)) for number in range(self.num_views)]
        return (torch.stack(made, dim=1) * 255).round().to(torch.uint8).numpy()

    def _perturbed(self) -> Pixels:
        assert self.viewmaker is not None
        path, given = find_viewmaker(self.viewmaker, self.session.config["dataset"]["name"])
        network, prepare = load_viewmaker(path), given.augmentation()
        return self.draws("viewmaker view", lambda images, rng: network(prepare(images, rng), rng))

    def codes(self, kind: Kind) -> Float[Tensor, "images codes dim"]:
        """Inverted codes of the images, before truncation, on the device."""
        latents = kind.maker.load(kind.latents)
        return torch.from_numpy(np.array(latents[self.indices])).to(kind.maker.device)

    def reconstruct(self, kind: Kind) -> Float[Tensor, "images 3 height width"]:
        """g(w) of the images, clamped to [−1, 1], not rounded to pixels."""
        generator = kind.maker.load(kind.generator)
        with torch.no_grad():
            return torch.cat([generator.synthesize(part).clamp(-1, 1) for part in self.codes(kind).split(BATCH)])

    def anchors(self, kind: Kind, *, own: bool) -> Float[Tensor, "images 3 height width"]:
        """What the views are compared with, in [−1, 1]: what they were made from if `own`, or else the image."""
        if own and kind.shown == "latents" and kind.cache.step.starts_from_reconstruction:
            return self.reconstruct(kind)
        return from_pixels(torch.from_numpy(self.originals))


def transform_of(session: Session, word: str) -> Augmentation:
    """The transformation of the job's images that a word chooses."""
    return Recipe(session.config).transform("analysis.views", word).augmentation()


def load_f(session: Session) -> FrozenEmbedding:
    """The encoder f of the job, which sees all views of an analysis."""
    assert session.chain.reference is not None
    return FrozenEmbedding.of(session.load(session.chain.reference.step)).to(session.device)


def embed(session: Session, embedding: FrozenEmbedding, images: Tensor) -> Float[Tensor, "... dim"]:
    """f of images [..., 3, H, W], uint8 or in [−1, 1], a batch at a time; on the CPU, float32."""
    parts = []
    with torch.no_grad():
        for part in images.flatten(0, -4).split(BATCH):
            part = part.to(session.device)
            parts.append(embedding(from_pixels(part) if part.dtype == torch.uint8 else part).cpu())
    return torch.cat(parts).unflatten(0, images.shape[:-3])


def choose_images(session: Session, wanted: int | None, seed: int) -> Int64[np.ndarray, " images"]:
    """Indices of training images at random, ascending; all of them if `wanted` is None or too many."""
    count = len(session.dataset.train)
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 1]).choice(count, wanted, replace=False))
