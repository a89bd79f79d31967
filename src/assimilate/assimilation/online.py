"""Online W-search (Appendix E, Figure 6): generated views that follow the encoder while it learns.

They move a step down a gradient, or lie on rays and are found by forward passes alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from assimilate.assimilation.contrastive import ContrastiveModule, StepBatch
from assimilate.assimilation.gathering import is_distributed
from assimilate.data.augmentation import Augmentation, normalize
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.batchnorm import keep_running_statistics
from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.wiring import as_plain, from_plain
from assimilate.views.embedding import from_pixels, to_pixels
from assimilate.views.line_engine import FIRST_SHARE, SMALLEST_GUESS
from assimilate.views.online import OnlineSolver
from assimilate.views.secant import Secants

# The views of a step, and the mean distances of the generated ones from their anchors before and after.
Found = tuple[tuple[Tensor, ...], Float[Tensor, ""], Float[Tensor, ""]]


class OnlineSearchTraining(ContrastiveModule, ABC):
    """Finds the views of each batch with the encoder that it trains; a subclass for each solver has `find`.

    At the generated positions the data module gives the images themselves, untransformed: they are the anchors.

    Args:
        online: the solver.
        others: those of `ContrastiveModule`; `generated_views` are the positions of the searched views.

    Raises:
        ValueError: no view is generated, or a value out of range.
    """

    def __init__(
        self, *, online: OnlineSolver | Mapping[str, Any], generated_views: Sequence[int], **others: Any
    ) -> None:
        super().__init__(generated_views=generated_views, **others)
        if not generated_views:
            raise ValueError("view=online: no view of a step is generated, choose assim=a1 or assim=a2")
        self.solver: Any = from_plain("online", online, OnlineSolver)
        self.save_hyperparameters({"online": as_plain(self.solver)}, logger=False)
        self.seed = int(others.get("init_seed", 0))
        self._source: tuple[LatentGenerator, NDArray[np.float32], Augmentation] | None = None
        self._frozen: nn.Module | None = None

    def attach(
        self,
        generator: LatentGenerator,
        latents: NDArray[np.float32],
        transform: Augmentation,
        frozen: nn.Module | None = None,
    ) -> None:
        """What is needed to train and is no part of the checkpoint.

        Args:
            generator: frozen.
            latents: inverted codes of the data set, [N, codes, dim], before truncation.
            transform: what is done to a generated image before the encoder sees it.
            frozen: f, from images in [−1, 1] to unit vectors; None: the encoder as it learns, in train mode.
        """
        self._source = generator, latents, transform
        # Not registered: neither trained nor saved, and DDP is not to see it.
        object.__setattr__(self, "_frozen", frozen)

    def on_fit_start(self) -> None:
        """Bring generator and f to the device."""
        for network in (self._source[0] if self._source else None, self._frozen):
            if isinstance(network, nn.Module):
                network.to(self.device)

    def training_step(self, batch: StepBatch, batch_idx: int) -> dict[str, Tensor]:
        """Find the views, then take the loss of them."""
        place = (self.trainer.current_epoch, batch_idx, self.trainer.global_rank)
        views, before, after = self.find(batch, seeded(self.seed, "online", *place))
        outputs = super().training_step(StepBatch(views, batch.indices), batch_idx)
        return {**outputs, "distance_before": before, "distance_after": after}

    @abstractmethod
    def find(self, batch: StepBatch, rng: torch.Generator) -> Found:
        """The views of a step with the generated ones found.

        Args:
            batch: normalised views; at the generated positions, the images themselves.
            rng: on the CPU.
        """

    def _placed(self, views: Sequence[Tensor], pixels: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
        """A step's views with uint8 images [batch · generated, 3, H, W] in the generated positions."""
        assert self._source is not None
        places = sorted(self.generated_views)
        made = normalize(self._source[2](pixels, rng), self.mean, self.std).unflatten(0, (-1, len(places)))
        by_place = dict(zip(places, made.unbind(1), strict=True))
        return tuple(by_place.get(place, view) for place, view in enumerate(views))

    def _codes(self, indices: Int64[Tensor, " batch"]) -> Float[Tensor, "views codes dim"]:
        """Of every generated view, on the CPU."""
        assert self._source is not None, "attach a generator before training"
        codes = torch.from_numpy(np.array(self._source[1][indices.cpu().numpy()]))
        return codes.repeat_interleave(len(self.generated_views), dim=0)

    def _unnormalized(self, view: Tensor) -> Float[Tensor, "batch 3 height width"]:
        mean, std = (
            torch.tensor(values).to(view.device, non_blocking=True).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        return (view * std + mean) * 2 - 1

    def _see(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """f of images in [−1, 1]."""
        if self._frozen is not None:
            return self._frozen(images)
        with keep_running_statistics(self.encoder):
            return F.normalize(self.encoder(normalize((images + 1) / 2, self.mean, self.std)), dim=1)


class OnlineSteps(OnlineSearchTraining):
    """Moves the latents of each batch one signed gradient step before the encoder sees their images."""

    def find(self, batch: StepBatch, rng: torch.Generator) -> Found:
        shape, codes = (len(batch.indices), len(self.generated_views)), self._codes(batch.indices)
        if self.solver.initial_noise > 0:
            codes = codes + self.solver.initial_noise * torch.randn(codes.shape, generator=rng)
        codes = codes.to(self.device, non_blocking=True)
        assert self._source is not None
        generator = self._source[0]
        with torch.no_grad():
            anchors = self._see(self._unnormalized(batch.views[min(self.generated_views)]))
        with torch.enable_grad():
            codes.requires_grad_(True)
            h = self._see(generator.synthesize(codes).clamp(-1, 1)).unflatten(0, shape)
            (gradient,) = torch.autograd.grad(self.solver.objective.loss(h, anchors), codes)
        with torch.no_grad():
            moved = codes.detach() - self.solver.step_size * gradient.sign()
            images = generator.synthesize(moved).clamp(-1, 1)
            if not bool(torch.isfinite(images).all()):  # rounded to pixels, NaN would be black
                raise ValueError(
                    "view=online: searched views are not finite: another generator.checkpoint, other "
                    "inversion.latents or a smaller view.step_size helps"
                )
            after = self._see(images).unflatten(0, shape)
            views = self._placed(batch.views, to_pixels(images), rng)
        distances = [(seen.detach() - anchors[:, None]).norm(dim=-1).mean() for seen in (h, after)]
        return views, distances[0], distances[1]


TOLERANCE = 0.05
# No ray is longer than this many times the last length.
LONGEST = 16.0


@dataclass(frozen=True)
class BatchRays:
    """The views of a batch, the best point of each ray.

    Attributes:
        pixels: the views, as they are rounded.
        distances: of f of them to f of the reconstructions.
        lengths: t of each.
        reached: which are within `TOLERANCE` of the wanted distance.
    """

    pixels: UInt8[Tensor, "views 3 height width"]
    distances: Float64[Tensor, " views"]
    lengths: Float64[Tensor, " views"]
    reached: Bool[Tensor, " views"]


@torch.no_grad()
def rays_of(
    see: Callable[[Tensor], Tensor],
    generator: LatentGenerator,
    codes: Float[Tensor, "views codes dim"],
    directions: Float[Tensor, "views codes dim"],
    *,
    wanted: float,
    guess: float,
    passes: int,
) -> BatchRays:
    """Views at codes + t·directions, with t by a bracketed secant; `passes` + 1 forward passes of the whole batch.

    Rays that are there stay and are evaluated on, so that every rank does the same number of passes.

    Args:
        see: f of images in [−1, 1], the batch as one.
        generator: of the codes.
        codes: of the anchors, before truncation.
        directions: of root mean square 1.
        wanted: distance from the reconstruction, > 0.
        guess: the first t, > 0; NaN: a share of how far the codes are from the mean code.
        passes: points of each ray, ≥ 1.

    Raises:
        ValueError: an image is not finite.
    """
    anchors = see(generator.synthesize(codes).clamp(-1, 1)).double()
    if not guess > 0:
        spread = (codes - generator.latent_mean.to(codes.device)).square().mean().sqrt()
        guess = max(FIRST_SHARE * float(spread), SMALLEST_GUESS)
    secants = Secants(len(codes), wanted=wanted, tolerance=TOLERANCE, passes=passes)
    secants.start(slice(None), guess, at_zero=0.0, reach=LONGEST * guess)

    def evaluate(lengths: Tensor) -> tuple[Tensor, ...]:
        t = lengths.to(codes.dtype).to(codes.device, non_blocking=True)
        images = generator.synthesize(torch.addcmul(codes, t[:, None, None], directions))
        finite = torch.isfinite(images).flatten(1).all(dim=1)
        pixels = to_pixels(images)
        seen = see(from_pixels(pixels, codes.dtype)).double()
        return torch.where(finite, torch.linalg.vector_norm(seen - anchors, dim=1), torch.nan).cpu(), pixels

    error, lengths, distances, pixels = secants.run(evaluate, to_the_end=True)
    if bool(error.isinf().any()):
        raise ValueError("view=online: views on rays are not finite: other inversion.latents may help")
    return BatchRays(pixels, distances, lengths, torch.from_numpy(secants.found.copy()))


def mean_over_ranks(values: Tensor, device: torch.device) -> float:
    """The mean of all ranks' values; NaN where none has any."""
    sums = torch.tensor([float(values.sum()), float(len(values))], dtype=torch.float64).to(device)
    if is_distributed():
        dist.all_reduce(sums)
    total, count = sums.tolist()
    return total / count if count else float("nan")


class OnlineRays(OnlineSearchTraining):
    """Finds the views of each batch on rays from their codes, at the distance of expert views."""

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        # ε1 as it was last measured, and the mean length of the last step's rays; part of the checkpoint.
        self.register_buffer("ray_state", torch.full((2,), torch.nan, dtype=torch.float64))

    def find(self, batch: StepBatch, rng: torch.Generator) -> Found:
        """With ε1 measured where it is due."""
        return self.on_rays(batch, rng, measure=self.trainer.global_step % self.solver.measure_every == 0)

    @torch.no_grad()
    def on_rays(self, batch: StepBatch, rng: torch.Generator, *, measure: bool) -> Found:
        """The views of a step with the generated ones on rays, ε1, and their mean distance.

        ε1: the mean distance at which the encoder sees the batch's images from their first view that is not generated.

        Args:
            batch: as for `find`.
            rng: on the CPU.
            measure: whether to measure ε1 anew; it is as well where it never was.

        Raises:
            ValueError: every view is generated, f sees no distance, or an image is not finite.
        """
        places, state = sorted(self.generated_views), self.ray_state
        assert isinstance(state, Tensor)
        epsilon1, length = state.tolist()
        if measure or epsilon1 != epsilon1:
            real = [place for place in range(len(batch.views)) if place not in self.generated_views]
            if not real:
                raise ValueError(
                    "view=online view.solver=ray measures ε1 on a view of the image itself: a step needs one, as "
                    "assim=a1 and assim=a2 have"
                )
            seen, other = (self._see(self._unnormalized(batch.views[place])) for place in (places[0], real[0]))
            epsilon1 = mean_over_ranks((seen.double() - other.double()).norm(dim=1), self.device)
            if not epsilon1 > 0:
                raise ValueError(f"view=online: the encoder sees images at distance {epsilon1} from their expert views")
        codes = self._codes(batch.indices)
        directions = torch.randn(codes.shape, generator=rng)
        codes, directions = (each.to(self.device, non_blocking=True) for each in (codes, directions))
        assert self._source is not None
        found = rays_of(
            self._see, self._source[0], codes, directions, wanted=epsilon1, guess=length, passes=self.solver.passes
        )
        reached = mean_over_ranks(found.lengths[found.reached], self.device)
        state.copy_(torch.tensor([epsilon1, reached if reached == reached else length]))
        views = self._placed(batch.views, found.pixels, rng)
        return views, state[0].float(), found.distances.mean().float()
