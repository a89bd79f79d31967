"""SimCLR, A1 and A2 as LightningModules: the encoder, the method, one step, and the optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from assimilate.assimilation.alignment import Alignment, LossTerms
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.encoder.batchnorm import synchronize_batchnorm
from assimilate.encoder.checkpoint import save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.encoder.step import ENCODER
from assimilate.graph.wiring import as_plain, from_plain

PAPER = Alignment()


class StepBatch(NamedTuple):
    """The part of a data module's batch that a step uses: the views, and which images they show."""

    views: tuple[Tensor, ...]
    indices: Tensor


class ContrastiveModule(pl.LightningModule):
    """Trains an encoder by a method (`Loss.method`) on batches of two or more views of each image.

    Hyper-parameters are saved as plain containers, so `load_from_checkpoint(path)` needs nothing but the path.

    Args:
        encoder: `EncoderSpec.to_dict()`.
        loss: what is minimised.
        optimizer: what moves the weights.
        epochs: length of the learning rate's schedule.
        alignment: of appended views; None where there are none, or the loss takes them itself (Eq. 13). The default is
            Eq. 4's with α = .5.
        mean, std: the normalisation that the data module applies; stored with the encoder.
        batchnorm: see `ViewPasses`.
        generated_views: positions of the views that do not show the image itself, for "per_source".
        init_seed: the seed from which the parameters are drawn.

    Raises:
        ValueError: a key or value that does not exist, or an optimizer's schedule longer than the epochs.
    """

    min_views = 2
    max_views: int | None = None

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any],
        loss: Loss | Mapping[str, Any],
        optimizer: Optimizer | Mapping[str, Any],
        epochs: int,
        alignment: Alignment | Mapping[str, Any] | None = PAPER,
        mean: Sequence[float],
        std: Sequence[float],
        batchnorm: str = "per_view",
        generated_views: Sequence[int] = (),
        init_seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder_spec = EncoderSpec.from_dict(encoder)
        self.loss = from_plain("loss", loss, Loss)
        self.optimizer = from_plain("optimizer", optimizer, Optimizer)
        self.alignment = None if alignment is None else from_plain("loss", alignment, Alignment)
        if epochs < 1:
            raise ValueError(f"epochs={epochs} must be at least 1")
        self.optimizer.schedule.check(epochs)
        self.epochs = epochs
        if self.loss.needs_predictor != (self.encoder_spec.predictor_dim is not None):
            needs = f"needs a predictor{self.loss.usual}" if self.loss.needs_predictor else "trains no predictor"
            raise ValueError(
                f"loss={self.loss.called} does not fit encoder.predictor_dim={self.encoder_spec.predictor_dim}: "
                f"it {needs}"
            )
        self.passes = ViewPasses(batchnorm, frozenset(generated_views))
        self.mean = (float(mean[0]), float(mean[1]), float(mean[2]))
        self.std = (float(std[0]), float(std[1]), float(std[2]))
        self.save_hyperparameters(
            {
                "encoder": self.encoder_spec.to_dict(),
                "loss": as_plain(self.loss),
                "optimizer": as_plain(self.optimizer),
                "epochs": epochs,
                "alignment": as_plain(self.alignment),
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
        self.method = self.loss.method(self.encoder, self.alignment, seed=init_seed)
        self._num_steps = 0

    @property
    def generated_views(self) -> frozenset[int]:
        """Positions of the views that do not show the image itself."""
        return self.passes.generated

    def setup(self, stage: str) -> None:
        """Under several ranks BatchNorm sees the global batch, so that ranks do not change the result."""
        if stage == "fit" and self.trainer.world_size > 1:
            on_cpu = self.trainer.strategy.root_device.type == "cpu"
            for networks in (self.encoder, self.method):
                (synchronize_batchnorm if on_cpu else nn.SyncBatchNorm.convert_sync_batchnorm)(networks)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """The projector's output for normalised images."""
        return self.encoder(x)

    def loss_terms(self, views: Sequence[Float[Tensor, "batch 3 height width"]]) -> LossTerms:
        """The loss of one step's views and its parts."""
        return self.method(self.encoder, [view.to(self.dtype) for view in views], self.passes)

    def on_after_backward(self) -> None:
        """Tell the method that a batch is over."""
        self.method.after_backward()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Move the weights, then what follows them."""
        progress = min(1.0, self.trainer.global_step / self._num_steps)
        super().optimizer_step(*args, **kwargs)
        self.method.after_step(self.encoder, progress=progress)

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
        """The optimiser over all parameters; the learning rate is set anew every step, the method's exceptions stay."""
        steps_per_epoch = self.steps_per_epoch()
        self._num_steps = self.epochs * steps_per_epoch
        rate = self.optimizer.rates(epochs=self.epochs, steps_per_epoch=steps_per_epoch)
        constant = self.method.unscheduled(self.encoder)
        apart = {id(parameter) for parameter in constant}
        trained = [*self.encoder.parameters(), *(p for p in self.method.parameters() if p.requires_grad)]
        groups = [{"params": [parameter for parameter in trained if id(parameter) not in apart]}]
        rates: list[Callable[[int], float]] = [rate]
        if constant:
            groups.append({"params": constant})
            rates.append(lambda step: self.optimizer.lr)
        optimizer = self.optimizer.build(groups)
        if self.trainer.gradient_clip_val and self.trainer.precision.endswith("-mixed"):
            _unfuse(optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def compile_networks(self, mode: str | None = None) -> None:
        """Runs backbone, projector and predictor through torch.compile in one of its modes; call it before training.

        torch 2.11 skips frames of torch.nn and so compiles no `nn.Sequential`, as projectors and predictors are.
        """
        for network in (self.encoder.backbone, self.encoder.projector, self.encoder.predictor):
            if network is not None:
                network.compile(mode=mode)

    def save(self, folder: Path) -> None:
        """Write what the training leaves: the encoder."""
        self.save_encoder(folder / ENCODER)

    def save_encoder(self, path: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Writes the trained encoder alone, for `load_encoder` (f of W-search, the probes)."""
        save_encoder(path, self.encoder_spec, self.encoder.state_dict(), mean=self.mean, std=self.std, extra=extra)


def _unfuse(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser take the step in several kernels: fused ones unscale gradients, which clipping has to see."""
    for group in optimizer.param_groups:
        group["fused"] = False
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


class A1(ContrastiveModule):
    """The ordinary loss on (expert, generated): the data module's slots make the difference to SimCLR.

    Trains on batches of two views [batch, 3, height, width]; see `ContrastiveModule` for its arguments.
    """

    max_views = 2


class A2(ContrastiveModule):
    """Views 0 and 1 are contrasted; every further view is aligned with them with weight α, never a negative.

    The loss says what that means in its own terms (`Loss.aligned`, `Loss.method`). With `FullNTXent` all views contrast
    with all others instead (A2-full, Eq. 13). Trains on batches of three or more views [batch, 3, height, width]; see
    `ContrastiveModule` for its arguments.
    """

    min_views = 3


class SimCLR(ContrastiveModule):
    """The baseline: both views are expert views (or whatever a replacement table puts in their place).

    Trains on batches of two views [batch, 3, height, width]; see `ContrastiveModule` for its arguments.
    """

    max_views = 2


def window_size(batch_idx: int, *, num_batches: int, accumulate: int) -> int:
    """How many batches share the optimiser step of batch `batch_idx`.

    Windows restart with every epoch, so the last one holds what is left: 390 batches in fours end with two.

    Args:
        batch_idx: position in the epoch, from 0.
        num_batches: of an epoch.
        accumulate: batches of a whole window.
    """
    whole = num_batches // accumulate * accumulate
    return accumulate if batch_idx < whole else num_batches - whole
