"""How an encoder is trained: what decides its weights."""

import pkgutil
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.arrangement import GENERATED, Arrangement, Replacement
from assimilate.assimilation.attached import Callback
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.assimilation.trainer_options import TrainerOptions
from assimilate.data.dataset import Images, Three
from assimilate.data.transform import NoTransform, Transform
from assimilate.encoder.step import Network
from assimilate.graph.called import NAMED_CLASSES
from assimilate.graph.settings import NEUTRAL, Allowed, At, Count, Flag, From, Seed, Settings
from assimilate.graph.source import defines, find_module
from assimilate.views.step import View

if TYPE_CHECKING:
    from assimilate.assimilation.contrastive import ContrastiveModule

# Networks that are fed no normalised images see [0, 1].
NO_MEAN, UNIT_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


class Training(Settings):
    """How an encoder learns from views of the images: SimCLR, A1 or A2, on any loss.

    Attributes:
        epochs: epochs of training.
        batch_size: images in a step, all devices together.
        accumulate_grad_batches: batches of an optimiser step. Gradients are averaged, but each batch contrasts with its
            own 2·batch_size − 2 negatives only, so 2 × 256 is not 512. BatchNorm sees single batches too.
        drop_last: leave out the last batch of an epoch where it is smaller.
        batchnorm: per_view: one forward pass a view; concatenated: one pass for all views, generated ones included;
            per_view_backbone: the backbone view by view, the projector on all (Table 8); per_source: real views in one
            pass, generated ones in another that leaves the running statistics alone (CLSP).
        callbacks: by names of yours, each with the `_target_` of a class and its arguments; they see every training of
            an encoder, f's as well.
    """

    images: Images
    network: Annotated[Network, From("encoder")]
    loss: Annotated[Loss, From("loss")]
    alignment: Annotated[Alignment | None, At("loss")] = None
    optimizer: Annotated[Optimizer, From("optimizer")]
    epochs: Annotated[Count, From("epochs")]
    batch_size: Annotated[
        int, Field(ge=2), From("batch_size"), Allowed("a whole number ≥ 2 (contrastive losses need negatives)")
    ]
    accumulate_grad_batches: Annotated[Count, From("accumulate_grad_batches")]
    drop_last: Annotated[Flag, From("drop_last")]
    batchnorm: Annotated[Literal["per_view", "concatenated", "per_view_backbone", "per_source"], From("batchnorm")]
    precision: Annotated[Literal["32-true", "bf16-mixed", "16-mixed", "64-true"], From("trainer.precision")]
    trainer: Annotated[TrainerOptions, At("trainer")] = TrainerOptions()
    callbacks: Annotated[dict[str, Callback], From("callbacks"), Allowed(NAMED_CLASSES)] = {}  # noqa: RUF012
    mean: Three | None
    std: Three | None
    image_size: Annotated[int, From("dataset.image_size")]
    crop_size: Annotated[int | None, From("data.crop_size")]
    slots: tuple[Transform | Literal["generated"], ...]
    assim: str
    # The LightningModule that trains, by its dotted path, where the view names none.
    trained_by: Annotated[str, NEUTRAL] = Arrangement.trained_by
    view: View | None = None
    generated_transform: Transform | None = None
    views_used: int | None = None
    otherwise: Transform | None = None  # of an image whose view is not replaced
    replaced: Replacement | None = None
    seed: Annotated[Seed, From("seed")]
    called: str = "simclr"

    @model_validator(mode="after")
    def _fits_together(self) -> "Training":
        if self.loss.needs_predictor and self.network.predictor_dim is None:
            raise ValueError(f"loss={self.loss.called} needs encoder.predictor_dim{self.loss.usual}")
        if not self.loss.contrasts and self.view is not None and self.view.needs_contrastive_loss:
            raise ValueError(
                f"view={self.view.name} trains with a contrastive loss: loss={self.loss.called} cannot be combined "
                "with it"
            )
        self.optimizer.schedule.check(self.epochs)
        if self.view is not None and (lacking := self.view.lacking) is not None:
            raise ValueError(f"view={self.view.name} cannot be trained with: its class has no {lacking}")
        module = self.module_path.rpartition(".")[0]
        whose = f"assim={self.assim}" if self.view is None else f"view={self.view.name}"
        if find_module(module) is None:
            raise ValueError(f"{whose} trains by {self.module_path}, and there is no module {module}")
        if not defines(self.module_path):
            raise ValueError(f"{whose} trains by {self.module_path}, and {module} defines no such class")
        return self

    @property
    def probability(self) -> float:
        """That a view is replaced by a generated one."""
        return 1.0 if self.replaced is None else self.replaced.probability

    @property
    def normalization(self) -> tuple[Three, Three]:
        """Mean and std of the network's inputs a channel, for images in [0, 1]."""
        return self.mean or NO_MEAN, self.std or UNIT_STD

    @property
    def whole_images(self) -> Transform:
        """How images look that are no views: as large as the crops, from the centre."""
        return NoTransform(image_size=self.image_size, crop_size=self.crop_size)

    @property
    def module_path(self) -> str:
        """The dotted path of the LightningModule that trains: the view's, or the arrangement's."""
        return (None if self.view is None else self.view.trained_by) or self.trained_by

    def module(self) -> "ContrastiveModule":
        """The LightningModule that trains, with its parameters drawn."""
        view = self.view
        # Views of a cache that are expert views of the image are real ones.
        synthetic = view is not None and not view.real
        mean, std = self.normalization
        return pkgutil.resolve_name(self.module_path)(
            encoder=self.network.plain,
            loss=self.loss,
            alignment=self.alignment,
            optimizer=self.optimizer,
            epochs=self.epochs,
            mean=mean,
            std=std,
            batchnorm=self.batchnorm,
            generated_views=[i for i, slot in enumerate(self.slots) if slot == GENERATED and synthetic],
            init_seed=self.seed,
            **({} if view is None else view.training),
        )
