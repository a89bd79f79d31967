"""Views of a few images as pixels, as codes, and as f sees them: what the figures of views are made of."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.figures.inputs import Kind
from assimilate.jobs.session import Session
from assimilate.run.analysis_checks import DRAWN, ORIGINAL, RECONSTRUCTION, VIEWMAKER, WITH_LATENTS
from assimilate.run.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from assimilate.generator.protocol import LatentGenerator
    from assimilate.views.embedding import FrozenEmbedding

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]
    Indices = np.ndarray[Any, np.dtype[np.int64]]

BATCH = 256


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
    indices: "Indices"
    num_views: int
    seed: int
    viewmaker: Path | None = None

    @cached_property
    def originals(self) -> "Pixels":
        """The images, uint8 [M, 3, H, W]."""
        return np.asarray(self.session.dataset.train.images[self.indices])

    def pixels(self, kind: Kind) -> "Pixels":
        """Views of the images, uint8 [M, up to num_views, 3, H, W]."""
        if kind.name == ORIGINAL:
            return self.originals[:, None]
        if kind.name == RECONSTRUCTION:
            from assimilate.views.embedding import to_pixels

            pictures: Pixels = to_pixels(self.reconstruct(kind)).cpu().numpy()
            return pictures[:, None]
        if kind.name in DRAWN:
            return self._drawn(kind.name)
        if kind.name == VIEWMAKER:
            return self._perturbed()
        return self._cached(kind)

    def _cached(self, kind: Kind) -> "Pixels":
        from assimilate.jobs.machine import repeatable_kernels
        from assimilate.views.cache import IMAGES

        session, count = kind.maker, min(self.num_views, kind.num_used)
        if session.store.has(kind.cache):
            stored = np.load(kind.cache.path / IMAGES, mmap_mode="r")
            return np.stack([np.asarray(stored[index, :count]) for index in self.indices])
        work = kind.cache.step.rows(session)
        made: dict[int, Pixels] = {}
        with session.terminal.bar(f"{work.title} of {len(self.indices)} images") as progress, repeatable_kernels():
            work.fill(
                lambda index, views, **_: made.update({index: np.array(views[:count])}),
                self.indices.tolist(),
                progress,
            )
        return np.stack([made[index] for index in self.indices.tolist()])

    def _drawn(self, name: str) -> "Pixels":
        import torch

        from assimilate.data.seeding import generator as seeded

        transform = Recipe(self.session.config).transform("view", name).augmentation()
        images = torch.from_numpy(self.originals)
        drawn = [transform(images, seeded(self.seed, f"{name} view", number)) for number in range(self.num_views)]
        result: Pixels = (torch.stack(drawn, dim=1) * 255).round().to(torch.uint8).numpy()
        return result

    def _perturbed(self) -> "Pixels":
        import torch

        from assimilate.assimilation.adversarial import load_viewmaker
        from assimilate.data.seeding import generator as seeded
        from assimilate.figures.found_runs import find_viewmaker

        assert self.viewmaker is not None
        path, transform = find_viewmaker(self.viewmaker, self.session.config["dataset"]["name"])
        network = load_viewmaker(path)
        prepare = Recipe(self.session.config).transform("view.transform", transform).augmentation()
        images = torch.from_numpy(self.originals)
        made = []
        for number in range(self.num_views):
            rng = seeded(self.seed, "viewmaker view", number)
            with torch.no_grad():
                made.append(network(prepare(images, rng), rng))
        result: Pixels = (torch.stack(made, dim=1) * 255).round().to(torch.uint8).numpy()
        return result

    def generator_of(self, kind: Kind) -> "LatentGenerator":
        """g of a kind of view that has one."""
        assert kind.maker.chain.generator is not None
        generator: LatentGenerator = kind.maker.load(kind.maker.chain.generator.step)
        return generator

    def codes(self, kind: Kind) -> "Tensor":
        """Inverted codes of the images, before truncation, [M, codes, dim], on the device."""
        import torch

        assert kind.maker.chain.latents is not None
        chosen = np.array(kind.maker.load(kind.maker.chain.latents.step)[self.indices])
        return torch.from_numpy(chosen).to(kind.maker.device)

    def reconstruct(self, kind: Kind) -> "Tensor":
        """g(w) of the images, clamped to [−1, 1], not rounded to pixels; [M, 3, H, W]."""
        import torch

        generator, codes = self.generator_of(kind), self.codes(kind)
        with torch.no_grad():
            return torch.cat([generator.synthesize(part).clamp(-1, 1) for part in codes.split(BATCH)])

    def anchors(self, kind: Kind, *, own: bool) -> "Tensor":
        """What the views are compared with, in [−1, 1]: what they were made from if `own`, or else the image."""
        import torch

        from assimilate.views.embedding import from_pixels

        if own and kind.name in WITH_LATENTS and kind.cache.step.starts_from_reconstruction:
            return self.reconstruct(kind)
        return from_pixels(torch.from_numpy(self.originals))


def load_f(session: Session) -> "FrozenEmbedding":
    """The encoder f of the job, which sees all views of an analysis."""
    from assimilate.views.embedding import FrozenEmbedding

    assert session.chain.reference is not None
    return FrozenEmbedding.of(session.load(session.chain.reference.step)).to(session.device)


def embed(session: Session, embedding: "FrozenEmbedding", images: "Tensor") -> "Tensor":
    """f of images [..., 3, H, W], uint8 or in [−1, 1], a batch at a time; on the CPU, float32 [..., dim]."""
    import torch

    from assimilate.views.embedding import from_pixels

    flat = images.flatten(0, -4)
    parts = []
    with torch.no_grad():
        for part in flat.split(BATCH):
            part = part.to(session.device)
            parts.append(embedding(from_pixels(part) if part.dtype == torch.uint8 else part).cpu())
    return torch.cat(parts).unflatten(0, images.shape[:-3])


def choose_images(session: Session, wanted: int | None, seed: int) -> "Indices":
    """Indices of training images at random, ascending; all of them if `wanted` is None or too many."""
    count = len(session.dataset.train)
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 1]).choice(count, wanted, replace=False))
