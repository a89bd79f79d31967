"""What SimCLR, A1, A2 and SimSiam share as LightningModules: the encoder, one step, and the optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from assimilate.assimilation.accumulation import window_size
from assimilate.assimilation.objective import LossSpec, LossTerms, compute_loss
from assimilate.assimilation.schedule import OptimizerSpec, learning_rate
from assimilate.encoder.batchnorm import keep_running_statistics, synchronize_batchnorm
from assimilate.encoder.checkpoint import save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec

BATCHNORM_MODES = ("per_view", "concatenated", "per_view_backbone", "per_source")


class StepBatch(NamedTuple):
    """The part of a data module's batch that a step uses: the views, and which images they show."""

    views: tuple[Tensor, ...]
    indices: Tensor


class ContrastiveModule(pl.LightningModule):
    """Trains an encoder with a contrastive loss on batches of two or more views of each image.

    All hyper-parameters are plain containers, so `load_from_checkpoint(path)` needs nothing but the path.

    Args:
        encoder: `EncoderSpec.to_dict()`.
        loss: keys of `LossSpec`.
        optimizer: keys of `OptimizerSpec`.
        mean, std: the normalisation that the data module applies; stored with the encoder.
        batchnorm: "per_view" (one forward a view; E-SSL), "concatenated" (one forward for all views; SupContrast),
            "per_view_backbone" (backbone a view, projector on the concatenation; Table 8) or "per_source" (real views
            in one forward, generated ones in another that leaves the running statistics alone; CLSP).
        generated_views: positions of the views that do not show the image itself, for "per_source".
        init_seed: the seed from which the parameters are drawn.

    Raises:
        ValueError: a key or value that does not exist.
    """

    min_views = 2
    max_views: int | None = None

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any],
        loss: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        mean: Sequence[float],
        std: Sequence[float],
        batchnorm: str = "per_view",
        generated_views: Sequence[int] = (),
        init_seed: int = 0,
    ) -> None:
        super().__init__()
        if batchnorm not in BATCHNORM_MODES:
            raise ValueError(f"batchnorm={batchnorm!r} is unknown; choose one of {', '.join(BATCHNORM_MODES)}")
        self.encoder_spec = EncoderSpec.from_dict(encoder)
        self.loss_spec = LossSpec.from_dict(loss)
        self.optimizer_spec = OptimizerSpec.from_dict(optimizer)
        if (self.loss_spec.name == "simsiam") != (self.encoder_spec.predictor_dim is not None):
            raise ValueError(
                f"loss.name={self.loss_spec.name} does not fit "
                f"encoder.predictor_dim={self.encoder_spec.predictor_dim}: simsiam needs a predictor (512 in "
                "PROTOCOLS 11), and no other loss trains one; take recipe=simsiam"
            )
        self.batchnorm = batchnorm
        self.generated_views = frozenset(generated_views)
        self.mean = (float(mean[0]), float(mean[1]), float(mean[2]))
        self.std = (float(std[0]), float(std[1]), float(std[2]))
        self.save_hyperparameters(
            {
                "encoder": self.encoder_spec.to_dict(),
                "loss": self.loss_spec.to_dict(),
                "optimizer": self.optimizer_spec.to_dict(),
                "mean": self.mean,
                "std": self.std,
                "batchnorm": batchnorm,
                "generated_views": sorted(self.generated_views),
                "init_seed": init_seed,
            },
            logger=False,
        )
        self.encoder = Encoder.from_spec(self.encoder_spec, init_seed=init_seed)
        self.encoder.mean, self.encoder.std = self.mean, self.std

    def setup(self, stage: str) -> None:
        """Under several ranks BatchNorm sees the global batch, so that ranks do not change the result."""
        if stage == "fit" and self.trainer.world_size > 1:
            if self.trainer.strategy.root_device.type == "cpu":
                synchronize_batchnorm(self.encoder)
            else:
                nn.SyncBatchNorm.convert_sync_batchnorm(self.encoder)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """The projector's output for normalised images."""
        return self.encoder(x)

    def embed(self, views: Sequence[Float[Tensor, "batch 3 height width"]]) -> list[Float[Tensor, "batch output_dim"]]:
        """Projections of all views, with BatchNorm statistics per view or over several as the recipe says."""
        views = [view.to(self.dtype) for view in views]
        if self.batchnorm == "per_view":
            return [self.encoder(view) for view in views]
        if self.batchnorm == "concatenated":
            return list(self.encoder(torch.cat(views)).chunk(len(views)))
        if self.batchnorm == "per_source":
            return self._per_source(views)
        features = torch.cat([self.encoder.features(view) for view in views])
        return list(self.encoder.projector(features).chunk(len(views)))

    def _per_source(self, views: Sequence[Tensor]) -> list[Tensor]:
        places = range(len(views))
        real = [place for place in places if place not in self.generated_views]
        generated = [place for place in places if place in self.generated_views]
        if not real:
            raise ValueError("batchnorm=per_source takes its running statistics from real views, but all are generated")
        projections = self.encoder(torch.cat([views[place] for place in real])).chunk(len(real))
        by_place = dict(zip(real, projections, strict=True))
        if generated:
            with keep_running_statistics(self.encoder):
                projections = self.encoder(torch.cat([views[place] for place in generated])).chunk(len(generated))
            by_place |= zip(generated, projections, strict=True)
        return [by_place[place] for place in places]

    def predict(
        self, projections: Sequence[Float[Tensor, "batch output_dim"]]
    ) -> list[Float[Tensor, "batch output_dim"]]:
        """The predictor's output for each view, its BatchNorm per view unless all views share one forward."""
        predictor = self.encoder.predictor
        assert predictor is not None, "only SimSiam predicts"
        if self.batchnorm == "concatenated":
            return list(predictor(torch.cat(list(projections))).chunk(len(projections)))
        return [
            self._predict_generated(z)
            if self.batchnorm == "per_source" and place in self.generated_views
            else predictor(z)
            for place, z in enumerate(projections)
        ]

    def _predict_generated(self, z: Tensor) -> Tensor:
        assert self.encoder.predictor is not None
        with keep_running_statistics(self.encoder.predictor):
            return self.encoder.predictor(z)

    def loss_terms(self, views: Sequence[Float[Tensor, "batch 3 height width"]]) -> LossTerms:
        """The loss of one step's views and its parts."""
        return compute_loss(self.embed(views), self.loss_spec, gather=True)

    def training_step(self, batch: StepBatch, batch_idx: int) -> dict[str, Tensor]:
        """The loss of a batch, and its two terms for the record where views are appended."""
        num_views = len(batch.views)
        if num_views < self.min_views or (self.max_views is not None and num_views > self.max_views):
            wanted = f"exactly {self.min_views}" if self.max_views else f"at least {self.min_views}"
            name = type(self).__name__
            raise ValueError(f"{name} trains on {wanted} views of an image, but the data module gives {num_views}")
        terms = self.loss_terms(batch.views)
        total = terms.total
        accumulate = self.trainer.accumulate_grad_batches
        if accumulate > 1:
            # Lightning divides by `accumulate` even where an epoch's last step has fewer batches.
            shared = window_size(batch_idx, num_batches=int(self.trainer.num_training_batches), accumulate=accumulate)
            total = total * (accumulate / shared)
        if terms.alignment is None:
            return {"loss": total}
        return {"loss": total, "base": terms.base.detach(), "alignment": terms.alignment.detach()}

    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch of the data module at hand."""
        # Not trainer.estimated_stepping_batches: it sets the loader up before Lightning restores the loader's position,
        # which then never happens.
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        assert datamodule is not None, "train with a data module, so that the epoch's length is known"
        num_batches = len(datamodule.train_dataloader())
        return math.ceil(num_batches / self.trainer.accumulate_grad_batches)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD or Adam over all parameters; the learning rate is set anew every step, a predictor's stays."""
        spec = self.optimizer_spec
        rate = learning_rate(spec, self.steps_per_epoch())
        predictor = [] if self.encoder.predictor is None else list(self.encoder.predictor.parameters())
        predicting = {id(parameter) for parameter in predictor}
        groups = [{"params": [parameter for parameter in self.encoder.parameters() if id(parameter) not in predicting]}]
        rates: list[Callable[[int], float]] = [rate]
        if predictor:
            groups.append({"params": predictor})
            rates.append(lambda step: spec.lr)
        # The base rate is 1, so that the multiplier of LambdaLR is the rate itself, exactly.
        if spec.name == "sgd":
            optimizer: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=1.0, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True
            )
        else:
            optimizer = torch.optim.Adam(groups, lr=1.0, weight_decay=spec.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def compile_networks(self, mode: str | None = None) -> None:
        """Runs backbone, projector and predictor through torch.compile in one of its modes; call it before training."""
        for network in (self.encoder.backbone, self.encoder.projector, self.encoder.predictor):
            if network is not None:
                network.compile(mode=mode)

    def save_encoder(self, path: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Writes the trained encoder alone, for `load_encoder` (f of W-search, the probes)."""
        save_encoder(path, self.encoder_spec, self.encoder.state_dict(), mean=self.mean, std=self.std, extra=extra)
