"""Views of a program at the strengths at which f sees them at ε1: the secant of the rays, an image at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf
from statistics import median

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.graph.place import Progress
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.equation3 import AtEpsilon1, FoundViews
from assimilate.views.objective import pairwise_distances
from assimilate.views.secant import Secants

# The first guess of the first guess, as a share of the largest strength, and where there is none.
FIRST_SHARE, FIRST_GUESS = 0.25, 1.0
# No strength exceeds this many times the median.
LONGEST = 16.0
Views = Callable[[Tensor, Tensor, torch.Generator], Tensor]


class ProgramViews:
    """Views of images by a program; those of an image depend on (seed, image) and the strengths alone.

    Args:
        views: as `Program.views`.
        images: the data set's, uint8 [N, 3, H, W].
        num_views: of an image.
        seed: with the image's index, the only source of randomness.
        device: where the images are handed over.
    """

    def __init__(
        self, views: Views, images: NDArray[np.uint8], *, num_views: int, seed: int, device: str = "cpu"
    ) -> None:
        self.images, self.num_views, self.device = images, num_views, torch.device(device)
        self._views, self._seed = views, seed

    @torch.no_grad()
    def at(self, index: int, strengths: Sequence[float]) -> UInt8[Tensor, "views 3 height width"]:
        """The views of an image, on the device.

        Raises:
            ValueError: they have another shape, or are not finite.
        """
        image = self.image(index).expand(self.num_views, -1, -1, -1).clone()
        strength = torch.tensor(strengths, dtype=torch.float32, device=self.device)
        made = self._views(image, strength, seeded(self._seed, "program", index))
        if not isinstance(made, Tensor) or made.shape != image.shape or not made.is_floating_point():
            found = f"{made.dtype} {list(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(f"views of image {index} are {found}; needed is a float tensor {list(image.shape)}")
        if not bool(torch.isfinite(made).all()):
            raise ValueError(f"views of image {index} are not finite")
        return to_pixels(made)

    def image(self, index: int) -> Float[Tensor, "1 3 height width"]:
        """An image in [−1, 1], on the device."""
        return from_pixels(torch.from_numpy(np.array(self.images[index : index + 1])).to(self.device))


@dataclass(frozen=True, kw_only=True)
class TunedProgram(AtEpsilon1):
    """A program's views, each at ε1 from its image, at no more than `LONGEST` times the median strength."""

    def run(
        self,
        made: ProgramViews,
        embedding: FrozenEmbedding,
        indices: Sequence[int],
        emit: Callable[[FoundViews], None],
        progress: Progress,
    ) -> None:
        """Find the views of `indices`.

        Args:
            made: the program's.
            embedding: f, on the device of `made`.
            indices: of the images.
            emit: receives the views of an image once they are found.
            progress: called as images are finished.

        Raises:
            ValueError: no view reaches ε1 where the first guess is measured, or views cannot be used.
        """
        guess, longest = self._usual(made, embedding)
        for done, index in enumerate(indices, start=1):
            emit(self._found(made, embedding, index, guess, longest))
            progress(done, len(indices), {})

    def _usual(self, made: ProgramViews, embedding: FrozenEmbedding) -> tuple[float, float]:
        """The median of the strengths that reach ε1 on some images of the whole data set, and the largest allowed."""
        order = torch.randperm(len(made.images), generator=seeded(self.seed, "program calibration"))[: self.calibration]
        first = FIRST_GUESS if isinf(self.most) else FIRST_SHARE * self.most
        strengths: list[float] = []
        for index in order.tolist():
            found = self._found(made, embedding, index, first, self.most)
            reached = (found.distances.double() - self.epsilon1).abs() <= self.tolerance * self.epsilon1
            assert found.strengths is not None
            strengths += found.strengths[reached].tolist()
        if not strengths:
            start = min(self._start(made, embedding, index) for index in order.tolist())
            advice = "another view.epsilon1, a larger strength (`most`) or more view.passes may help"
            if start > self.epsilon1:
                advice = f"at strength 0 they are at {start:.4g} or more already: a larger view.epsilon1 helps"
            raise ValueError(f"no view of {len(order)} images reaches ε1 = {self.epsilon1:.4g}: {advice}")
        return median(strengths), min(self.most, LONGEST * median(strengths))

    @torch.no_grad()
    def _start(self, made: ProgramViews, embedding: FrozenEmbedding, index: int) -> float:
        """How far the nearest view of strength 0 is from its image."""
        seen = embedding(from_pixels(made.at(index, [0.0] * made.num_views)))
        return float(torch.linalg.vector_norm(seen - embedding(made.image(index)), dim=1).min())

    @torch.no_grad()
    def _found(
        self, made: ProgramViews, embedding: FrozenEmbedding, index: int, guess: float, longest: float
    ) -> FoundViews:
        """The views of an image, all of them made anew until the last has reached ε1: always the same shape.

        At strength 0 they may be off their image. The secant takes that distance as 0: the bracket holds as long as it
        is below ε1.
        """
        anchor = embedding(made.image(index).expand(made.num_views, -1, -1, -1)).cpu()
        secants = Secants(made.num_views, wanted=self.epsilon1, tolerance=self.tolerance, passes=self.passes)
        secants.start(slice(None), guess, at_zero=0.0, reach=longest)

        def evaluate(strengths: Tensor) -> tuple[Tensor, ...]:
            pixels = made.at(index, strengths.tolist())
            seen = embedding(from_pixels(pixels)).cpu()
            return torch.linalg.vector_norm(seen.double() - anchor.double(), dim=1), seen, pixels.cpu()

        _, strengths, distances, seen, pixels = secants.run(evaluate)
        return FoundViews(
            index=index,
            images=pixels,
            latents=seen.new_empty(len(seen), 0, 0),
            distances=distances.float(),
            distances_original=distances.float(),
            spread=float(pairwise_distances(seen[None]).sum() / max(1, len(seen) * (len(seen) - 1))),
            steps=int(secants.passes.sum()),
            converged=bool(secants.found.all()),
            strengths=strengths.float(),
        )
