"""Rays with the encoder that is being trained: the views of a batch, by forward passes alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from assimilate.assimilation.contrastive import StepBatch
from assimilate.assimilation.gathering import is_distributed
from assimilate.assimilation.online import Found, OnlineSearchTraining
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import from_pixels, to_pixels
from assimilate.views.line_engine import FIRST_SHARE, SMALLEST_GUESS
from assimilate.views.secant import Secants

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
    for ray in range(len(codes)):
        secants.start(ray, guess, at_zero=0.0, reach=LONGEST * guess)
    best: tuple[Tensor, ...] = ()
    for _ in range(passes):
        lengths, running = torch.from_numpy(secants.t.copy()), torch.from_numpy(~secants.over)
        t = lengths.to(codes.dtype).to(codes.device, non_blocking=True)
        images = generator.synthesize(torch.addcmul(codes, t[:, None, None], directions))
        finite = torch.isfinite(images).flatten(1).all(dim=1)
        pixels = to_pixels(images)
        seen = see(from_pixels(pixels, codes.dtype)).double()
        distances = torch.where(finite, torch.linalg.vector_norm(seen - anchors, dim=1), torch.nan).cpu()
        error = (distances - wanted).abs().nan_to_num(torch.inf)
        better = running & (error < best[0]) if best else running
        now = (error, distances, lengths, pixels)
        best = tuple(_where(better.to(new.device), new, old) for new, old in zip(now, best or now, strict=True))
        secants.tell(distances.numpy())
    error, distances, lengths, pixels = best
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


def _where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)


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
