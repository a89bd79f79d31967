"""The training of an encoder as a step."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.arrangement import GENERATED as GENERATED
from assimilate.assimilation.arrangement import Replacement
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.assimilation.trainer_options import TrainerOptions
from assimilate.data.dataset import Images, Three
from assimilate.data.transform import Transform
from assimilate.encoder.step import Encoder, Network
from assimilate.graph.cost import Effort
from assimilate.graph.settings import Allowed, At, Count, Flag, From, Seed, Settings
from assimilate.views.step import View

OWN_SETTINGS = "view.encoder.training"


class TrainingOfF(Settings):
    """How the training of f differs from the run's; its images and views are the run's.

    Attributes:
        loss: the base loss of the data set's SimCLR row, and so of the encoder f that W-search loads.
        seed: seed of f's training.
        training: settings that f does not take from the run, e.g. view.encoder.training.encoder.width=16; null: none.
    """

    absent: ClassVar[str] = "it is about the training of f, and this run trains no f"
    loss: Annotated[str, From("simclr_loss")]
    seed: Annotated[Seed, From("view.encoder.seed")] = 0
    training: Annotated[dict[str, Any] | None, From(OWN_SETTINGS)] = None


class Trained(Encoder):
    """An encoder that learns from views of the images: SimCLR, A1 or A2, on any loss.

    Attributes:
        epochs: epochs of training.
        batch_size: images in a step, all devices together.
        accumulate_grad_batches: batches of an optimiser step. Gradients are averaged, but each batch contrasts with its
            own 2·batch_size − 2 negatives only, so 2 × 256 is not 512. BatchNorm sees single batches too.
        drop_last: leave out the last batch of an epoch where it is smaller.
        batchnorm: per_view: one forward pass a view; concatenated: one pass for all views, generated ones included;
            per_view_backbone: the backbone view by view, the projector on all (Table 8); per_source: real views in one
            pass, generated ones in another that leaves the running statistics alone (CLSP).
    """

    images: Images
    network: Annotated[Network, From("encoder")]
    loss: Annotated[Loss, From("loss")]
    alignment: Annotated[Alignment | None, At("loss")] = None
    optimizer: Annotated[Optimizer, From("optimizer")]
    epochs: Annotated[Count, From("epochs")]
    batch_size: Annotated[
        int,
        Field(ge=2),
        From("batch_size"),
        Allowed("a whole number ≥ 2 (contrastive losses need negatives)"),
    ]
    accumulate_grad_batches: Annotated[Count, From("accumulate_grad_batches")]
    drop_last: Annotated[Flag, From("drop_last")]
    batchnorm: Annotated[Literal["per_view", "concatenated", "per_view_backbone", "per_source"], From("batchnorm")]
    precision: Annotated[Literal["32-true", "bf16-mixed", "16-mixed", "64-true"], From("trainer.precision")]
    trainer: Annotated[TrainerOptions, At("trainer")] = TrainerOptions()
    mean: Three | None
    std: Three | None
    image_size: Annotated[int, From("dataset.image_size")]
    crop_size: Annotated[int | None, From("data.crop_size")]
    slots: tuple[Transform | Literal["generated"], ...]
    assim: str
    view: View | None = None
    generated_transform: Transform | None = None
    views_used: int | None = None
    otherwise: Transform | None = None  # of an image whose view is not replaced
    replaced: Replacement | None = None
    seed: Annotated[Seed, From("seed")]
    called: str = "simclr"

    @model_validator(mode="after")
    def _fits_together(self) -> "Trained":
        if self.loss.needs_predictor and self.network.predictor_dim is None:
            raise ValueError(
                f"{self.loss.word} needs encoder.predictor_dim (512 in PROTOCOLS 11): take recipe=simsiam for the run "
                "(loss), or view_encoder=simsiam for f (simclr_loss)"
            )
        if not self.loss.contrasts and self.view is not None and self.view.needs_contrastive_loss:
            raise ValueError(
                f"view={self.view.name} trains with a contrastive loss: loss={self.loss.word} cannot be combined "
                "with it"
            )
        self.optimizer.schedule.check(self.epochs)
        return self

    @property
    def probability(self) -> float:
        """That a view is replaced by a generated one."""
        return 1.0 if self.replaced is None else self.replaced.probability

    @property
    def gflop(self) -> float:
        """Of one image, forward."""
        return self.network.gflop(self.crop_size or self.image_size)

    @property
    def width(self) -> float:
        """As the published network has 64 channels."""
        return self.network.width / 64

    def effort(self, images: int) -> Effort:
        """A training step costs three forward passes a view."""
        gflop = self.epochs * images * len(self.slots) * self.gflop * 3
        return Effort(gflop, 90 * self.width**2 + 1, self.width)

    @property
    def label(self) -> str:
        """The arrangement and the view: "a2-wsearch"."""
        return self.called
