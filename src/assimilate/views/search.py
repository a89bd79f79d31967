"""W-search (Section 3.1): latents are moved until f sees every view at distance ε1 from its anchor.

The engine keeps a fixed number of anchors in flight. One that has converged retires and its slot is refilled, with
Adam state and step count of its own, so nobody waits for the slowest and nobody is cut short by a batch mean. Kernels
always run at the same shapes and randomness depends on (seed, image) alone: what is found for an image is the same
bytes whoever its neighbours are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.progress import Progress, silent
from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.objective import Hinge, pairwise_distances, search_loss

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
# Below this distance to the anchor the norm's gradient is rounding noise (PROTOCOLS 6): such a view is kicked instead.
KICK_BELOW = 1e-4
KICK_STD = 1e-3


@dataclass(frozen=True)
class SearchSettings:
    """Everything of Eq. 3 and its solver; see conf/view/wsearch.yaml.

    Attributes:
        num_views: n, views an anchor.
        epsilon1: wanted distance to the anchor, 0 to 2.
        epsilon2: wanted mean distance among the views.
        uniformity_weight: λ.
        hinge: "image" (Eq. 3) or "view" (reference code).
        anchor: "reconstruction" or "original".
        optimizer: "adam" (betas .9, .999) or "sgd" without momentum.
        lr: step size.
        iterations: most steps; 0 keeps the start.
        tolerance: an anchor has converged when its total loss is at most this; None: not asked.
        tolerance_relative: and when √boundary is at most this share of ε1; None: not asked.
        initial_noise: std of the noise on the start, in W+.
        noise_first_view: whether view 0 starts noisy as well.
        width: anchors in flight.
        seed: with the image's index, the only source of randomness.
    """

    num_views: int
    epsilon1: float
    epsilon2: float
    uniformity_weight: float
    hinge: Hinge
    anchor: str
    optimizer: str
    lr: float
    iterations: int
    tolerance: float | None
    tolerance_relative: float | None
    initial_noise: float
    noise_first_view: bool
    width: int
    seed: int


@dataclass(frozen=True)
class FoundViews:
    """The views of one image, as they are stored."""

    index: int
    images: UInt8[Tensor, "views 3 height width"]
    latents: Float[Tensor, "views codes dim"]
    distances: Float[Tensor, " views"]  # of the stored uint8 images to the anchor
    distances_original: Float[Tensor, " views"]  # and to the image itself
    spread: float  # mean distance between the stored views, 0 for one view
    steps: int
    converged: bool


@dataclass
class _Anchor:
    index: int
    start: Tensor  # [views, codes, dim]
    embedding: Tensor  # [dim]
    original: Tensor  # [dim]


@dataclass
class _Retired:
    anchor: _Anchor
    images: Tensor
    latents: Tensor
    steps: int
    converged: bool


class SearchEngine:
    """Runs Eq. 3 over any number of anchors.

    Args:
        generator: synthesises images in about [−1, 1] from W+ latents.
        embedding: f.
        settings: Eq. 3 and its solver.
        device: where to compute.
    """

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: SearchSettings, *, device: str = "cpu"
    ) -> None:
        self._generator = generator
        self._embedding = embedding.to(device)
        self._settings = settings
        self._device = torch.device(device)
        self.view_steps = 0  # forward and backward passes of one view, padding not counted

    def run(
        self,
        latents: NDArray[np.float32],
        images: NDArray[np.uint8],
        indices: Sequence[int],
        emit: Callable[[FoundViews], None],
        progress: Progress = silent,
    ) -> None:
        """Search for the views of `indices`.

        Args:
            latents: inverted codes of the whole data set, [N, codes, dim], before truncation.
            images: the data set's images, uint8 [N, 3, H, W].
            indices: which of them to work on.
            emit: receives the views of an image once they are found; in no particular order.
            progress: called as images are finished.
        """
        width, num_views = self._settings.width, self._settings.num_views
        queue = self._anchors(latents, images, indices)
        shape = (width, num_views, *latents.shape[1:])
        state = _State.empty(shape, self._embedding_dim(images), self._device)
        slots: list[_Anchor | None] = [None] * width
        waiting: list[_Retired] = []
        finished, exhausted = 0, False
        while True:
            for slot in range(width):
                if slots[slot] is None and not exhausted:
                    anchor = next(queue, None)
                    exhausted = anchor is None
                    if anchor is not None:
                        slots[slot] = anchor
                        state.fill(slot, anchor.start, anchor.embedding)
            if all(anchor is None for anchor in slots):
                break
            for retired in self._step(state, slots):
                waiting.append(retired)
            while len(waiting) >= width:
                tile, waiting = waiting[:width], waiting[width:]
                finished += self._deliver(tile, emit)
                progress(finished, len(indices), {})
        if waiting:
            finished += self._deliver(waiting, emit)
            progress(finished, len(indices), {})

    # -------------------------------------------------------------------------------------------- one iteration

    def _step(self, state: "_State", slots: list[_Anchor | None]) -> Iterator[_Retired]:
        settings = self._settings
        flat = state.latents.flatten(0, 1).requires_grad_(True)
        images = self._generator.synthesize(flat).clamp(-1, 1)
        embedded = self._embedding(images).unflatten(0, state.latents.shape[:2])
        loss = search_loss(
            embedded,
            state.anchors,
            epsilon1=settings.epsilon1,
            epsilon2=settings.epsilon2,
            uniformity_weight=settings.uniformity_weight,
            hinge=settings.hinge,
        )
        with torch.no_grad():
            converged = self._converged(loss.total, loss.boundary).tolist()
        steps = state.slot_steps
        leaving = [
            slot
            for slot, anchor in enumerate(slots)
            if anchor is not None and (converged[slot] or steps[slot] >= settings.iterations)
        ]
        busy = sum(anchor is not None for anchor in slots)
        if len(leaving) < busy:  # otherwise nobody needs a gradient
            (gradient,) = torch.autograd.grad(loss.total.sum(), flat)
            self.view_steps += (busy - len(leaving)) * settings.num_views
        else:
            gradient = torch.zeros_like(flat)
        with torch.no_grad():
            for slot in leaving:
                anchor = slots[slot]
                assert anchor is not None
                pixels = to_pixels(images.detach().unflatten(0, state.latents.shape[:2])[slot])
                latents = state.latents[slot].detach().clone()
                yield _Retired(anchor, pixels, latents, steps[slot], bool(converged[slot]))
                slots[slot] = None
            self._update(state, gradient.unflatten(0, state.latents.shape[:2]), loss.distances, slots)

    def _converged(self, total: Tensor, boundary: Tensor) -> Tensor:
        settings = self._settings
        if settings.tolerance is None and settings.tolerance_relative is None:
            return torch.zeros_like(total, dtype=torch.bool)
        result = torch.ones_like(total, dtype=torch.bool)
        if settings.tolerance is not None:
            result &= total <= settings.tolerance
        if settings.tolerance_relative is not None:
            result &= boundary.sqrt() <= settings.tolerance_relative * settings.epsilon1
        return result

    def _update(self, state: "_State", gradient: Tensor, distances: Tensor, slots: list[_Anchor | None]) -> None:
        settings = self._settings
        stuck = (distances < KICK_BELOW) if settings.epsilon1 > KICK_BELOW else torch.zeros_like(distances).bool()
        moving = ~stuck
        if settings.optimizer == "adam":
            state.adam(gradient, moving, settings.lr)
        else:
            state.latents = state.latents - settings.lr * gradient * moving[:, :, None, None]
        state.latents = state.latents.detach()
        for slot, view in stuck.nonzero().tolist():
            anchor = slots[slot]
            if anchor is not None:
                draw = seeded(settings.seed, "kick", anchor.index, view, state.slot_steps[slot])
                noise = torch.randn(state.latents.shape[2:], generator=draw)
                state.latents[slot, view] += KICK_STD * noise.to(self._device)
        for slot, anchor in enumerate(slots):
            if anchor is not None:
                state.slot_steps[slot] += 1

    # -------------------------------------------------------------------------------------------- fixed-shape tiles

    def _embedding_dim(self, images: NDArray[np.uint8]) -> int:
        tile = torch.zeros((self._settings.width, *images.shape[1:]), device=self._device)
        with torch.no_grad():
            return int(self._embedding(tile).shape[1])

    def _anchors(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[_Anchor]:
        """Anchors with their embeddings, a tile of fixed width at a time (the last one padded)."""
        width, settings = self._settings.width, self._settings
        for begin in range(0, len(indices), width):
            chosen = list(indices[begin : begin + width])
            padded = np.array(chosen + [chosen[-1]] * (width - len(chosen)))
            codes = torch.from_numpy(np.array(latents[padded])).to(self._device)
            with torch.no_grad():
                originals = self._embedding(from_pixels(torch.from_numpy(np.array(images[padded]))).to(self._device))
                if settings.anchor == "original":
                    embeddings = originals
                else:
                    embeddings = self._embedding(self._generator.synthesize(codes).clamp(-1, 1))
            for position, index in enumerate(chosen):
                start = codes[position].expand(settings.num_views, -1, -1) + self._noise(index, codes.shape[1:])
                yield _Anchor(index, start, embeddings[position], originals[position])

    def _noise(self, index: int, shape: torch.Size) -> Tensor:
        settings = self._settings
        draw = seeded(settings.seed, "search", index)
        noise = settings.initial_noise * torch.randn((settings.num_views, *shape), generator=draw)
        if not settings.noise_first_view:
            noise[0] = 0
        return noise.to(self._device)

    def _deliver(self, tile: list[_Retired], emit: Callable[[FoundViews], None]) -> int:
        """Measure the stored pixels and hand them over."""
        width = self._settings.width
        padded = tile + [tile[-1]] * (width - len(tile))
        pixels = torch.stack([retired.images for retired in padded])
        with torch.no_grad():
            embedded = self._embedding(from_pixels(pixels.flatten(0, 1))).unflatten(0, pixels.shape[:2])
        anchors = torch.stack([retired.anchor.embedding for retired in padded])
        originals = torch.stack([retired.anchor.original for retired in padded])
        to_anchor = torch.linalg.vector_norm(embedded - anchors[:, None], dim=-1).cpu()
        to_original = torch.linalg.vector_norm(embedded - originals[:, None], dim=-1).cpu()
        pairs = max(1, pixels.shape[1] * (pixels.shape[1] - 1))
        spread = (pairwise_distances(embedded).sum(dim=(1, 2)) / pairs).cpu()
        for position, retired in enumerate(tile):
            emit(
                FoundViews(
                    index=retired.anchor.index,
                    images=retired.images.cpu(),
                    latents=retired.latents.cpu(),
                    distances=to_anchor[position],
                    distances_original=to_original[position],
                    spread=float(spread[position]),
                    steps=retired.steps,
                    converged=retired.converged,
                )
            )
        return len(tile)


@dataclass
class _State:
    """The slots: latents, the optimiser's moments, and a step count for every view and every slot."""

    latents: Tensor  # [slots, views, codes, dim]
    first: Tensor
    second: Tensor
    view_steps: Tensor  # [slots, views], Adam's t
    anchors: Tensor  # [slots, dim]
    slot_steps: list[int]

    @classmethod
    def empty(cls, shape: tuple[int, ...], dim: int, device: torch.device) -> "_State":
        return cls(
            latents=torch.zeros(shape, device=device),
            first=torch.zeros(shape, device=device),
            second=torch.zeros(shape, device=device),
            view_steps=torch.zeros(shape[:2], device=device),
            anchors=torch.zeros((shape[0], dim), device=device),
            slot_steps=[0] * shape[0],
        )

    def fill(self, slot: int, start: Tensor, anchor: Tensor) -> None:
        self.latents[slot] = start
        self.first[slot] = 0
        self.second[slot] = 0
        self.view_steps[slot] = 0
        self.anchors[slot] = anchor
        self.slot_steps[slot] = 0

    def adam(self, gradient: Tensor, moving: Tensor, lr: float) -> None:
        """One step of Adam (Kingma & Ba) for the views that move; the others keep moments and count."""
        beta1, beta2 = ADAM_BETAS
        mask = moving[:, :, None, None]
        self.view_steps += moving
        self.first = torch.where(mask, torch.lerp(gradient, self.first, beta1), self.first)
        self.second = torch.where(mask, torch.lerp(gradient.square(), self.second, beta2), self.second)
        steps = self.view_steps.clamp_min(1)[:, :, None, None]
        first, second = self.first / (1 - beta1**steps), self.second / (1 - beta2**steps)
        self.latents = torch.where(mask, self.latents - lr * first / (second.sqrt() + ADAM_EPSILON), self.latents)
