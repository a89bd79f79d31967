"""Online W-search (Appendix E, Figure 6): generated views that follow the encoder while it learns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from assimilate.assimilation.contrastive import ContrastiveModule, StepBatch
from assimilate.assimilation.online_rays import mean_over_ranks, rays_of
from assimilate.data.augmentation import Augmentation, normalize
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.batchnorm import keep_running_statistics
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import to_pixels
from assimilate.views.objective import Hinge, search_loss


@dataclass(frozen=True)
class OnlineSpec:
    """One step of the search for every batch.

    Attributes:
        objective: "cosine": mean (cos(f(g(w)), f(x)) − threshold)⁺, which pushes views away until they are that far
            (Appendix E); "eq3": the search's own objective.
        threshold: of the cosine.
        step_size: η of w ← w − η·sign(∇w).
        initial_noise: std of the noise on the start, in W+; 0 in Appendix E. Without it several views of an image are
            one and the same.
        epsilon1, epsilon2, uniformity_weight, hinge: of Eq. 3.
        solver: "gradient": that step; "ray": along random directions to ε1, which is measured (`online_rays`).
        passes: of rays, points of each.
        measure_every: of rays, steps between measurements of ε1.

    Raises:
        ValueError: a name or value that does not exist.
    """

    objective: Literal["cosine", "eq3"] = "cosine"
    threshold: float = 0.5
    step_size: float = 0.1
    initial_noise: float = 0.0
    epsilon1: float = 0.3
    epsilon2: float = 0.5
    uniformity_weight: float = 0.01
    hinge: Hinge = "image"
    solver: Literal["gradient", "ray"] = "gradient"
    passes: int = 4
    measure_every: int = 100

    def __post_init__(self) -> None:
        if self.objective not in ("cosine", "eq3"):
            raise ValueError(f"view.objective={self.objective!r} is unknown; choose cosine or eq3")
        if not self.step_size > 0:
            raise ValueError(f"view.step_size={self.step_size} must be above 0 (the paper uses 0.1)")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OnlineSpec":
        """Read a mapping that may hold more than these keys."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


class OnlineSearchTraining(ContrastiveModule):
    """Moves the latents of each batch one signed gradient step before the encoder sees their images.

    At the generated positions the data module gives the images themselves, untransformed: they are the anchors.

    Args:
        online: keys of `OnlineSpec`.
        others: those of `ContrastiveModule`; `generated_views` are the positions of the searched views.

    Raises:
        ValueError: no view is generated, or a value out of range.
    """

    def __init__(self, *, online: Mapping[str, Any], generated_views: Sequence[int], **others: Any) -> None:
        super().__init__(generated_views=generated_views, **others)
        if not generated_views:
            raise ValueError("view=online: no view of a step is generated, choose assim=a1 or assim=a2")
        self.online_spec = OnlineSpec.from_dict(online)
        self.save_hyperparameters({"online": asdict(self.online_spec)}, logger=False)
        self.seed = int(others.get("init_seed", 0))
        self._source: tuple[LatentGenerator, NDArray[np.float32], Augmentation] | None = None
        self._frozen: nn.Module | None = None
        if self.online_spec.solver == "ray":
            # ε1 as it was last measured, and the mean length of the last step's rays; part of the checkpoint.
            self.register_buffer("ray_state", torch.full((2,), torch.nan, dtype=torch.float64))

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
        """Search one step, then the loss of the views that were found."""
        place = (self.trainer.current_epoch, batch_idx, self.trainer.global_rank)
        rng = seeded(self.seed, "online", *place)
        if self.online_spec.solver == "ray":
            due = self.trainer.global_step % self.online_spec.measure_every == 0
            views, before, after = self.on_rays(batch, rng, measure=due)
        else:
            views, before, after = self.searched(batch, rng)
        outputs = super().training_step(StepBatch(views, batch.indices), batch_idx)
        return {**outputs, "distance_before": before, "distance_after": after}

    def searched(
        self, batch: StepBatch, rng: torch.Generator
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, ""], Float[Tensor, ""]]:
        """The views of a step with the generated ones searched for, and their mean distances before and after.

        Args:
            batch: normalised views; at the generated positions, the images themselves.
            rng: on the CPU.
        """
        assert self._source is not None, "attach a generator before training"
        generator, latents, transform = self._source
        places = sorted(self.generated_views)
        count, num_views = len(batch.indices), len(places)
        codes = self._codes(latents, batch.indices, num_views, rng)
        with torch.no_grad():
            anchors = self._see(self._unnormalized(batch.views[places[0]]))
        with torch.enable_grad():
            codes.requires_grad_(True)
            h = self._see(generator.synthesize(codes).clamp(-1, 1)).unflatten(0, (count, num_views))
            (gradient,) = torch.autograd.grad(self._objective(h, anchors), codes)
        with torch.no_grad():
            moved = codes.detach() - self.online_spec.step_size * gradient.sign()
            images = generator.synthesize(moved).clamp(-1, 1)
            if not bool(torch.isfinite(images).all()):  # rounded to pixels, NaN would be black
                raise ValueError(
                    "view=online: searched views are not finite: another generator.checkpoint, other "
                    "inversion.latents or a smaller view.step_size helps"
                )
            after = self._see(images).unflatten(0, (count, num_views))
            made = normalize(transform(to_pixels(images), rng), self.mean, self.std)
        by_place = dict(zip(places, made.unflatten(0, (count, num_views)).unbind(1), strict=True))
        distances = [(seen.detach() - anchors[:, None]).norm(dim=-1).mean() for seen in (h, after)]
        return tuple(by_place.get(place, view) for place, view in enumerate(batch.views)), distances[0], distances[1]

    @torch.no_grad()
    def on_rays(
        self, batch: StepBatch, rng: torch.Generator, *, measure: bool
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, ""], Float[Tensor, ""]]:
        """The views of a step with the generated ones on rays, ε1, and their mean distance.

        ε1: the mean distance at which the encoder sees the batch's images from their first view that is not generated.

        Args:
            batch: as for `searched`.
            rng: on the CPU.
            measure: whether to measure ε1 anew; it is as well where it never was.

        Raises:
            ValueError: every view is generated, f sees no distance, or an image is not finite.
        """
        assert self._source is not None, "attach a generator before training"
        generator, latents, transform = self._source
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
        codes = self._codes(latents, batch.indices, len(places), rng)
        directions = torch.randn(codes.shape, generator=rng).to(self.device, non_blocking=True)
        found = rays_of(
            self._see, generator, codes, directions, wanted=epsilon1, guess=length, passes=self.online_spec.passes
        )
        reached = mean_over_ranks(found.lengths[found.reached], self.device)
        state.copy_(torch.tensor([epsilon1, reached if reached == reached else length]))
        made = normalize(transform(found.pixels, rng), self.mean, self.std)
        by_place = dict(zip(places, made.unflatten(0, (len(batch.indices), len(places))).unbind(1), strict=True))
        views = tuple(by_place.get(place, view) for place, view in enumerate(batch.views))
        return views, state[0].float(), found.distances.mean().float()

    def _codes(
        self, latents: NDArray[np.float32], indices: Int64[Tensor, " batch"], num_views: int, rng: torch.Generator
    ) -> Float[Tensor, "views codes dim"]:
        codes = torch.from_numpy(np.array(latents[indices.cpu().numpy()])).repeat_interleave(num_views, dim=0)
        if self.online_spec.initial_noise > 0:
            codes = codes + self.online_spec.initial_noise * torch.randn(codes.shape, generator=rng)
        return codes.to(self.device, non_blocking=True)

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

    def _objective(self, h: Float[Tensor, "batch views dim"], anchors: Float[Tensor, "batch dim"]) -> Tensor:
        spec = self.online_spec
        if spec.objective == "cosine":
            return ((h * anchors[:, None]).sum(-1) - spec.threshold).relu().mean()
        return search_loss(
            h,
            anchors,
            epsilon1=spec.epsilon1,
            epsilon2=spec.epsilon2,
            uniformity_weight=spec.uniformity_weight,
            hinge=spec.hinge,
        ).total.mean()
