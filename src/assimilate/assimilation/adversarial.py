"""Training against a Viewmaker: one network lowers the loss, the other raises it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from assimilate.assimilation.contrastive import ContrastiveModule, StepBatch
from assimilate.data.seed import derive_seed
from assimilate.data.seeding import generator as seeded
from assimilate.files.plain_files import save_plain
from assimilate.generator.ranks import Ranks
from assimilate.views.learned import VIEWMAKER
from assimilate.views.viewmaker import Viewmaker, ViewmakerSpec

STATE = "viewmaker_optimizer"


class ViewmakerTraining(ContrastiveModule):
    """Encoder and Viewmaker play the loss of the step against each other.

    The generated views of the data module are the images themselves; the Viewmaker perturbs them here, before they are
    normalised. Each batch has two forwards: one of which the Viewmaker takes a step of Adam up the loss, then a fresh
    one of which the encoder takes its step down. The Viewmaker's gradients are taken by themselves, so that neither
    step touches the other's parameters.

    Args:
        viewmaker: arguments of `ViewmakerSpec`.
        viewmaker_lr: of Adam, constant. (The authors of the paper warm it up and never restore it: a slip.)
        others: those of `ContrastiveModule`; `generated_views` are the positions of the Viewmaker's views.

    Raises:
        ValueError: no view is generated, or a value out of range.
    """

    def __init__(
        self, *, viewmaker: Mapping[str, Any], viewmaker_lr: float, generated_views: Sequence[int], **others: Any
    ) -> None:
        super().__init__(generated_views=generated_views, **others)
        if not generated_views:
            raise ValueError("view=viewmaker: no view of a step is generated, choose assim=a1 or assim=a2")
        if not viewmaker_lr > 0:
            raise ValueError(f"view.lr={viewmaker_lr} must be above 0 (the paper uses 0.001)")
        spec = ViewmakerSpec(**viewmaker)
        self.save_hyperparameters({"viewmaker": asdict(spec), "viewmaker_lr": viewmaker_lr}, logger=False)
        self.seed = int(others.get("init_seed", 0))
        self.viewmaker_lr = viewmaker_lr
        self.viewmaker = Viewmaker.from_spec(spec, init_seed=derive_seed(self.seed, "viewmaker"))
        # The ranks average the Viewmaker's gradients themselves.
        self._ddp_params_and_buffers_to_ignore = [
            f"viewmaker.{name}" for name, _ in (*self.viewmaker.named_parameters(), *self.viewmaker.named_buffers())
        ]
        self._adversary: torch.optim.Adam | None = None
        self._saved_state: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """As `ContrastiveModule`.

        Raises:
            ValueError: 16-mixed: the Viewmaker's gradients would need a loss scale of their own.
        """
        super().setup(stage)
        if stage == "fit" and self.trainer.precision == "16-mixed":
            raise ValueError("view=viewmaker trains in 32-true or bf16-mixed, not in trainer.precision=16-mixed")

    def on_train_start(self) -> None:
        """Make the Viewmaker's optimiser, on the device that its weights are on by now."""
        self._adversary = torch.optim.Adam(self.viewmaker.parameters(), lr=self.viewmaker_lr, fused=True)
        if self._saved_state is not None:
            self._adversary.load_state_dict(self._saved_state)
            self._saved_state = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the Viewmaker's optimiser."""
        if self._adversary is not None:
            checkpoint[STATE] = self._adversary.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep its state until there is an optimiser."""
        self._saved_state = checkpoint.get(STATE)

    def training_step(self, batch: StepBatch, batch_idx: int) -> dict[str, Tensor]:
        """One step of the Viewmaker, then the loss of the encoder's; both losses are recorded."""
        place = (self.trainer.current_epoch, batch_idx, self.trainer.global_rank)
        # The reference updates the encoder first.
        raised = self._raise_loss(batch, seeded(self.seed, "viewmaker's step", *place))
        with torch.no_grad():
            views, change = self.perturbed(batch.views, seeded(self.seed, "encoder's step", *place))
        outputs = super().training_step(StepBatch(views, batch.indices), batch_idx)
        return {**outputs, "viewmaker": raised, "change": change}

    def _raise_loss(self, batch: StepBatch, rng: torch.Generator) -> Float[Tensor, ""]:
        assert self._adversary is not None
        parameters = list(self.viewmaker.parameters())
        views, _ = self.perturbed(batch.views, rng)
        loss = self.loss_terms(views).total
        for parameter, gradient in zip(parameters, torch.autograd.grad(-loss, parameters), strict=True):
            parameter.grad = gradient
        Ranks.current().average_gradients(parameters)
        self._adversary.step()
        self._adversary.zero_grad()
        return loss.detach()

    def perturbed(
        self, views: Sequence[Float[Tensor, "batch 3 height width"]], rng: torch.Generator
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, ""]]:
        """The views of a step with the generated ones perturbed, and the mean absolute change of a pixel in [0, 1].

        Args:
            views: normalised; at the generated positions, the images themselves.
            rng: of the noise, on the CPU.
        """
        device = views[0].device
        mean, std = (
            torch.tensor(values).to(device, non_blocking=True).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        places = sorted(self.generated_views)
        images = torch.cat([views[place] for place in places]).to(self.dtype) * std + mean
        made = self.viewmaker(images, rng)
        change = F.l1_loss(made.detach(), images)
        by_place = dict(zip(places, ((made - mean) / std).chunk(len(places)), strict=True))
        return tuple(by_place.get(place, view) for place, view in enumerate(views)), change

    def save(self, folder: Path) -> None:
        """And the trained Viewmaker, for `views.viewmaker.load_viewmaker`."""
        super().save(folder)
        content = {"spec": asdict(self.viewmaker.spec), "state_dict": self.viewmaker.state_dict()}
        save_plain(folder / VIEWMAKER, content)
