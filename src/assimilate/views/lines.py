"""Views on lines in W+: how far along a line f sees a view at the wanted distance from its anchor.

A slot holds the work of one image: a generator function that yields one line after the other, each chosen in the light
of what was found on those before, and returns what it makes of them. Every pass evaluates one point of each slot's
line, in a batch of fixed shape; a slot whose work is done is given the next image. So what is found for an image is the
same bytes whichever its neighbours are, and no image waits for the slowest. A pass waits for the device once.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.equation3 import AtEpsilon1, InLatents
from assimilate.views.secant import Secants


@dataclass(frozen=True)
class Line:
    """The views at codes + t·direction, t ≥ 0. All on the CPU.

    Attributes:
        codes: of the anchor, [codes, dim], before truncation.
        direction: [codes, dim].
        anchor: f of it, [dim].
        at_zero: distance of the view to it at t = 0.
        guess: the first t, above 0.
        reach: the largest.
    """

    codes: Float[Tensor, "codes dim"]
    direction: Float[Tensor, "codes dim"]
    anchor: Float[Tensor, " dim"]
    at_zero: float
    guess: float
    reach: float


@dataclass(frozen=True)
class Point:
    """The best point that was met on a line, on the CPU.

    Attributes:
        t: where it is.
        image: as it is stored.
        embedded: f of the stored image.
        distance: float64, of `embedded` to the anchor.
        error: how far that is from the wanted distance; ∞ where no image of the line was finite.
        reached: whether that is within the tolerance.
        passes: points of the line that were evaluated.
    """

    t: float
    image: UInt8[Tensor, "3 height width"]
    embedded: Float[Tensor, " dim"]
    distance: Float[Tensor, ""]
    error: float
    reached: bool
    passes: int


T = TypeVar("T")
Work = Generator[Line, Point, T]


@dataclass(frozen=True, kw_only=True)
class LineEquation(AtEpsilon1, InLatents):
    """Eq. 3 on lines, and how they are searched.

    Attributes:
        width: lines in flight.
        precision: of the generator, "fp32" or "bf16". f measures in fp32, and what it measures is the stored image.
    """

    width: int = 128


class LineSearch:
    """Does the work of any number of images.

    Args:
        generator: synthesises images in about [−1, 1] from W+ latents.
        embedding: f.
        settings: see there.
        device: where to compute.

    Attributes:
        evaluated: points that were evaluated, each a forward pass of one view; padding is not counted.
    """

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: LineEquation, *, device: torch.device
    ) -> None:
        self._generator, self._embedding, self._settings, self._device = generator, embedding, settings, device
        self._see = settings.built(self._seen)
        self.evaluated = 0

    def run(self, works: Iterable[Work[T]]) -> Iterator[T]:
        """Do the works; what each returns, in no particular order."""
        queue, done = iter(works), list[T]()
        slots = _Slots(self._settings, done)
        while slots.refill(queue):
            self.evaluated += slots.num_busy
            slots.tell(*self._evaluate(slots.codes(self._device)))
            while done:
                yield done.pop(0)
        yield from done

    @torch.no_grad()
    def _evaluate(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Stored images of codes [lines, codes, dim] and f of them, on the CPU by way of one copy."""
        pixels, embedded = self._see(codes)
        count = len(pixels)
        together = torch.cat([embedded.contiguous().view(torch.uint8), pixels.reshape(count, -1)], dim=1).cpu()
        size = embedded.shape[1] * embedded.element_size()
        seen = together[:, :size].contiguous().view(embedded.dtype)
        return together[:, size:].view(pixels.shape), seen

    def _seen(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        codes = self._settings.projected(codes)
        with self._settings.autocast(self._device):
            images = self._generator.synthesize(codes)
        finite = torch.isfinite(images).flatten(1).all(dim=1)
        pixels = to_pixels(images.to(codes.dtype))
        embedded = self._embedding(from_pixels(pixels, codes.dtype))
        # Rounded to pixels, NaN would be black.
        return pixels, torch.where(finite[:, None], embedded, nan)


class _Slots(Generic[T]):
    """The lines in flight, the works that they belong to, and the best point of each so far."""

    def __init__(self, settings: LineEquation, done: list[T]) -> None:
        self._settings, self._done = settings, done
        self._works: list[Work[T] | None] = [None] * settings.width
        self._lines: list[Line | None] = [None] * settings.width
        self._changed: set[int] = set()  # slots whose lines are not on the device yet
        self._secants = Secants(
            settings.width, wanted=settings.epsilon1, tolerance=settings.tolerance, passes=settings.passes
        )
        self._error = np.full(settings.width, inf)
        self._t = np.zeros(settings.width)
        self._tensors: dict[str, Tensor] = {}

    @property
    def num_busy(self) -> int:
        """Slots with a line."""
        return sum(line is not None for line in self._lines)

    def refill(self, queue: Iterator[Work[T]]) -> bool:
        """Give free slots to the next works; whether any slot has a line then."""
        for slot in range(len(self._works)):
            while self._works[slot] is None and (work := next(queue, None)) is not None:
                self._advance(slot, work, None)  # a work without a line leaves the slot free
        return self.num_busy > 0

    def _advance(self, slot: int, work: Work[T], point: Point | None) -> None:
        """The next line of a work, or its end."""
        try:
            line = next(work) if point is None else work.send(point)
        except StopIteration as done:
            self._works[slot] = self._lines[slot] = None
            self._done.append(done.value)
            return
        self._works[slot], self._lines[slot] = work, line
        self._secants.start(slot, line.guess, at_zero=line.at_zero, reach=line.reach)
        self._error[slot] = inf
        self._changed.add(slot)

    def codes(self, device: torch.device) -> Float[Tensor, "views codes dim"]:
        """Of the points to evaluate next, in the shape of all slots."""
        slots = sorted(slot for slot in self._changed if self._lines[slot] is not None)
        self._changed.clear()
        if slots:
            lines = [self._lines[slot] for slot in slots]
            self._put("origins", slots, torch.stack([line.codes for line in lines if line]), device)
            self._put("directions", slots, torch.stack([line.direction for line in lines if line]), device)
            self._put("anchors", slots, torch.stack([line.anchor.double() for line in lines if line]))
        origins, directions = self._tensors["origins"], self._tensors["directions"]
        t = torch.from_numpy(self._secants.t).to(origins.dtype).to(device, non_blocking=True)
        return torch.addcmul(origins, t[:, None, None], directions)

    def _put(self, name: str, slots: list[int], rows: Tensor, device: torch.device | str = "cpu") -> None:
        """Write rows into a tensor with one a slot, which is made when it is first needed."""
        if name not in self._tensors:
            self._tensors[name] = torch.zeros((len(self._works), *rows.shape[1:]), dtype=rows.dtype, device=device)
        where = torch.tensor(slots, dtype=torch.int64).to(device, non_blocking=True)
        self._tensors[name][where] = rows.to(device, non_blocking=True)

    def tell(self, images: UInt8[Tensor, "views 3 height width"], embedded: Float[Tensor, "views dim"]) -> None:
        """Take what was evaluated; works whose line is over go on."""
        distances = torch.linalg.vector_norm(embedded.double() - self._tensors["anchors"], dim=1)
        measured = distances.numpy()
        error = np.where(np.isfinite(measured), np.abs(measured - self._settings.epsilon1), inf)
        running = ~self._secants.over
        better = running & ((error < self._error) | (self._secants.passes == 0))
        self._error, self._t = np.where(better, error, self._error), np.where(better, self._secants.t, self._t)
        rows = np.flatnonzero(better).tolist()
        best = {"image": images, "embedded": embedded, "distance": distances}
        for name, each in best.items():
            self._put(name, rows, each[rows])
        self._secants.tell(measured)
        for slot in np.flatnonzero(running & self._secants.over).tolist():
            work = self._works[slot]
            assert work is not None
            point = Point(
                t=float(self._t[slot]),
                **{name: self._tensors[name][slot].clone() for name in best},
                error=float(self._error[slot]),
                reached=bool(self._secants.found[slot]),
                passes=int(self._secants.passes[slot]),
            )
            self._advance(slot, work, point)
