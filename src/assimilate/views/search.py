"""W-search (Section 3.1): latents are moved until f sees every view at distance ε1 from its anchor.

The engine keeps a fixed number of anchors in flight. One that has converged retires and its slot is refilled, with
Adam state and step count of its own, so no anchor waits for the slowest or is cut short by a batch mean. Kernels
always run at the same shapes and randomness depends on (seed, image) alone: what is found for an image is the same
bytes whichever its neighbours are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import FrozenEmbedding, to_pixels
from assimilate.views.equation3 import Distances, Engine, FoundViews, InLatents, OfAnchors, anchor_tiles, pixels_on
from assimilate.views.objective import SearchLoss, least_loss, pairwise_distances, search_loss, spread_bound
from assimilate.views.search_state import SearchState

# Of the noise that moves a view which is at its anchor, where Eq. 3 has no gradient at all (λ = 0, one view, …).
KICK_STD = 1e-3


@dataclass(frozen=True, kw_only=True)
class SearchSettings(InLatents):
    """Everything of Eq. 3 and its solver; the defaults are those of conf/view/wsearch.yaml.

    Attributes:
        optimizer: "adam" (betas .9, .999) or "sgd" without momentum.
        lr: step size.
        iterations: most steps; 0 keeps the start.
        tolerance: an anchor has converged when its total loss is at most this; None: not asked.
        tolerance_relative: and when √boundary is at most this share of ε1; None: not asked.
        initial_noise: std of the noise on the start, in W+.
        noise_first_view: whether view 0 starts noisy as well.
        stop: "anchor": each on its own; "batch": `width` anchors at a time start together and go on until the mean of
            their losses is at most the tolerance, gradients being those of that mean (reference code).
        space: "wplus": a code a layer; "w": one code for all layers, which starts at the mean of the inverted ones.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 0.01
    iterations: int = 1000
    tolerance: float | None = 1e-3
    tolerance_relative: float | None = None
    initial_noise: float = 0.001
    noise_first_view: bool = False
    stop: Literal["anchor", "batch"] = "anchor"
    space: Literal["wplus", "w"] = "wplus"

    @property
    def one_code(self) -> bool:
        """Whether all layers share a code."""
        return self.space == "w"

    @property
    def together(self) -> bool:
        """Whether anchors stop together."""
        return self.stop == "batch"

    missed: ClassVar[str] = "used up view.search.iterations before they reached the tolerance; their views are kept"

    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "SearchEngine":
        """W-search's."""
        return SearchEngine(generator, embedding, self, device=device)

    @property
    def asks_convergence(self) -> bool:
        """With a tolerance."""
        return self.tolerance is not None or self.tolerance_relative is not None

    def doubts(self) -> list[str]:
        epsilon1, tolerance, found = self.epsilon1, self.tolerance, []
        least = least_loss(epsilon1, self.epsilon2, self.uniformity_weight, self.num_views)
        if tolerance is not None and least > tolerance:
            found.append(
                f"no anchor can converge: at distance ε1 of it {self.num_views} views spread to "
                f"{spread_bound(epsilon1, self.num_views):.4f} at most, ε2 asks for {self.epsilon2:.4f}, so the loss "
                f"stays above {least:.2g} and view.search.tolerance={tolerance:g} is never met: every anchor takes all "
                "view.search.iterations. A smaller view.epsilon2 or view.lambda helps"
            )
        if tolerance is not None and self.tolerance_relative is None and 0 < epsilon1**2 <= tolerance:
            found.append(
                f"view.search.tolerance={tolerance:g} lets views stay at the anchor: ε1 off by a square of "
                f"{epsilon1**2:.2g}. A smaller view.search.tolerance, or view.search.tolerance_relative=0.05, helps"
            )
        return found

    def within(self, distances: Distances, spread: OfAnchors) -> Bool[np.ndarray, " anchors"] | None:
        total, boundary = self.stored_losses(distances, spread)
        within = np.ones(len(boundary), dtype=bool)
        if self.tolerance is not None:
            if total is None:
                return None
            within &= total <= self.tolerance
        if self.tolerance_relative is not None:
            within &= np.sqrt(boundary) <= self.tolerance_relative * self.epsilon1
        return within if self.asks_convergence else None


@dataclass
class _Anchor:
    index: int
    start: Tensor  # [views, codes, dim]
    origin: Tensor  # [all codes, dim] or NaN, see `SearchState`
    embedding: Tensor  # [dim]
    original: Tensor  # [dim]


@dataclass
class _Retired:
    anchor: _Anchor
    images: Tensor
    latents: Tensor
    steps: int
    converged: bool


class SearchEngine(Engine[SearchSettings]):
    """W-search; see `Engine`."""

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: SearchSettings, *, device: str = "cpu"
    ) -> None:
        super().__init__(generator, embedding, settings, device=device)
        self._dtype = torch.float32
        self._num_codes = generator.num_codes
        self._see = settings.built(self._seen)
        self.view_steps = 0  # forward and backward passes of one view, padding not counted

    def _find(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[FoundViews]:
        width, num_views = self._settings.width, self._settings.num_views
        self._dtype = torch.from_numpy(latents[:0].copy()).dtype
        queue = self._anchors(latents, images, indices)
        num_codes = 1 if self._settings.one_code else latents.shape[1]
        shape = (width, num_views, num_codes, latents.shape[2])
        state = SearchState.empty(shape, latents.shape[1], self._embedding_dim(images), self._device, self._dtype)
        slots: list[_Anchor | None] = [None] * width
        waiting: list[_Retired] = []
        while True:
            # Those that stop together start together.
            refill = not self._settings.together or all(anchor is None for anchor in slots)
            for slot in range(width):
                if refill and slots[slot] is None and (anchor := next(queue, None)) is not None:
                    slots[slot] = anchor
                    state.fill(slot, anchor.start, anchor.embedding, anchor.origin)
            if all(anchor is None for anchor in slots):
                break
            waiting += self._step(state, slots)
            while len(waiting) >= width:
                tile, waiting = waiting[:width], waiting[width:]
                yield from self._deliver(tile)
        if waiting:
            yield from self._deliver(waiting)

    # -------------------------------------------------------------------------------------------- one iteration

    def _step(self, state: SearchState, slots: list[_Anchor | None]) -> Iterator[_Retired]:
        settings = self._settings
        flat = state.latents.flatten(0, 1).requires_grad_(True)
        with settings.autocast(self._device):
            images, embedded = self._see(flat)
        images = images.to(self._dtype)
        at_anchor = state.at_anchor()
        loss = search_loss(
            embedded.to(self._dtype).unflatten(0, state.latents.shape[:2]),
            state.anchors,
            epsilon1=settings.epsilon1,
            epsilon2=settings.epsilon2,
            uniformity_weight=settings.uniformity_weight,
            hinge=settings.hinge,
            at_anchor=at_anchor,
        )
        busy = [slot for slot, anchor in enumerate(slots) if anchor is not None]
        with torch.no_grad():
            finite = torch.isfinite(images).flatten(1).all(dim=1).unflatten(0, state.latents.shape[:2]).all(dim=1)
            # Read from the device once: a second time, after the backward pass, it would idle until the next forward.
            told = torch.stack([self._converged(loss.total, loss.boundary), finite, *at_anchor.unbind(1)])
            converged, sound, *still = told.tolist()
            leaving = self._leaving(loss, converged, busy, state.slot_steps)
        if len(leaving) < len(busy):  # otherwise no gradient is needed
            # Anchors do not meet in a sum. A mean over the batch makes the step of SGD depend on its size.
            wanted = loss.total[busy].mean() if settings.together else loss.total.sum()
            (gradient,) = torch.autograd.grad(wanted, flat)
            self.view_steps += (len(busy) - len(leaving)) * settings.num_views
        else:
            gradient = torch.zeros_like(flat)
        steps = state.slot_steps
        with torch.no_grad():
            for slot in leaving:
                anchor = slots[slot]
                assert anchor is not None
                seen = images.detach().unflatten(0, state.latents.shape[:2])[slot]
                if not sound[slot]:  # rounded to pixels, NaN would be black
                    raise ValueError(
                        f"views of image {anchor.index} are not finite: a smaller view.search.lr, another "
                        "generator.checkpoint or other inversion.latents helps"
                    )
                pixels = to_pixels(seen)
                latents = self._all_codes(state.latents[slot].detach()).clone()
                yield _Retired(anchor, pixels, latents, steps[slot], bool(converged[slot]))
                slots[slot] = None
            self._update(state, gradient.unflatten(0, state.latents.shape[:2]), still, slots)

    def _seen(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [−1, 1] of latents [views, codes, dim], and f of them."""
        images = self._generator.synthesize(self._all_codes(flat)).clamp(-1, 1)
        return images, self._embedding(images)

    def _all_codes(self, latents: Tensor) -> Tensor:
        return latents.expand(-1, self._num_codes, -1) if self._settings.one_code else latents

    def _leaving(self, loss: SearchLoss, converged: list[bool], busy: list[int], steps: list[int]) -> list[int]:
        """The slots whose search ends here, before a step is taken."""
        settings = self._settings
        if not settings.together or not busy:
            return [slot for slot in busy if converged[slot] or steps[slot] >= settings.iterations]
        over = bool(self._converged(loss.total[busy].mean(), loss.boundary[busy].mean()))
        return busy if over or steps[busy[0]] >= settings.iterations else []

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

    def _update(
        self, state: SearchState, gradient: Tensor, still: list[list[bool]], slots: list[_Anchor | None]
    ) -> None:
        """One step of every view; `still` [views][slots] are those at their anchor, which may need a kick to move."""
        settings = self._settings
        getattr(state, settings.optimizer)(gradient, settings.lr)
        state.latents = settings.projected(state.latents.detach())
        for slot, anchor in enumerate(slots):
            if anchor is None:
                continue
            for view in range(settings.num_views):
                if still[view][slot] and settings.epsilon1 > 0:
                    draw = seeded(settings.seed, "kick", anchor.index, view, state.slot_steps[slot])
                    noise = torch.randn(state.latents.shape[2:], generator=draw, dtype=self._dtype)
                    codes = state.latents[slot, view]
                    kicked = settings.projected(codes + KICK_STD * noise.to(self._device, non_blocking=True))
                    state.latents[slot, view] = torch.where((gradient[slot, view] == 0).all(), kicked, codes)
            state.slot_steps[slot] += 1

    # -------------------------------------------------------------------------------------------- fixed-shape tiles

    def _embedding_dim(self, images: NDArray[np.uint8]) -> int:
        tile = torch.zeros((self._settings.width, *images.shape[1:]), device=self._device, dtype=self._dtype)
        with torch.no_grad():
            return int(self._embedding(tile).shape[1])

    def _anchors(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[_Anchor]:
        """Anchors with their embeddings, a tile of fixed width at a time."""
        settings = self._settings
        tiles = anchor_tiles(
            self._generator, self._embedding, latents, images, indices,
            width=settings.width, device=self._device, reconstructed=not settings.of_the_image,
        )  # fmt: skip
        shape = torch.Size((1 if settings.one_code else latents.shape[1], latents.shape[2]))
        for tile in tiles:
            # One copy a tile: one an anchor would wait for the device as often.
            noise = torch.stack([self._noise(index, shape) for index in tile.indices])
            noise = noise.to(self._device, non_blocking=True)
            embeddings = tile.originals if tile.reconstructions is None else tile.reconstructions
            for position, index in enumerate(tile.indices):
                code = tile.codes[position]
                origin = torch.tensor(nan) if tile.reconstructions is None else code
                if settings.one_code:
                    code = code.mean(dim=0, keepdim=True)
                start = code.expand(settings.num_views, -1, -1) + noise[position]
                yield _Anchor(index, settings.projected(start), origin, embeddings[position], tile.originals[position])

    def _noise(self, index: int, shape: torch.Size) -> Tensor:
        settings = self._settings
        draw = seeded(settings.seed, "search", index)
        noise = settings.initial_noise * torch.randn((settings.num_views, *shape), generator=draw, dtype=self._dtype)
        if not settings.noise_first_view:
            noise[0] = 0
        return noise

    def _deliver(self, tile: list[_Retired]) -> list[FoundViews]:
        """The stored pixels, measured."""
        width = self._settings.width
        padded = tile + [tile[-1]] * (width - len(tile))
        pixels = torch.stack([retired.images for retired in padded])
        with torch.no_grad():
            embedded = self._embedding(pixels_on(pixels.flatten(0, 1), self._device, self._dtype)).unflatten(
                0, pixels.shape[:2]
            )
        anchors = torch.stack([retired.anchor.embedding for retired in padded])
        originals = torch.stack([retired.anchor.original for retired in padded])
        to_anchor = torch.linalg.vector_norm(embedded - anchors[:, None], dim=-1).cpu()
        to_original = torch.linalg.vector_norm(embedded - originals[:, None], dim=-1).cpu()
        pairs = max(1, pixels.shape[1] * (pixels.shape[1] - 1))
        spread = (pairwise_distances(embedded).sum(dim=(1, 2)) / pairs).cpu()
        return [
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
            for position, retired in enumerate(tile)
        ]
