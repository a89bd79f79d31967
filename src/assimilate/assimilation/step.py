"""The training of an encoder as a step."""

from typing import Annotated, Any, Literal

from pydantic import Field

from assimilate.assimilation.loss import Alignment, Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.data.dataset import Images, Three
from assimilate.data.transform import Transform
from assimilate.encoder.step import Encoder, Network
from assimilate.graph.cost import Effort
from assimilate.graph.settings import Allowed, At, Count, From, Seed
from assimilate.views.step import View

GENERATED = "generated"


class Trained(Encoder):
    """An encoder that learns from views of the images: SimCLR, A1 or A2, on any loss."""

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
    drop_last: Annotated[bool, From("drop_last")]
    batchnorm: Annotated[Literal["per_view", "concatenated", "per_view_backbone", "per_source"], From("batchnorm")]
    precision: Annotated[Literal["32-true", "bf16-mixed", "16-mixed", "64-true"], From("trainer.precision")]
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
    probability: Annotated[float, Field(gt=0, le=1), Allowed("a probability above 0, up to 1")] = 1.0
    seed: Annotated[Seed, From("seed")]
    called: str = "simclr"

    @property
    def loss_settings(self) -> dict[str, Any]:
        """The loss as the training module takes it."""
        aligned = {} if self.alignment is None else self.alignment.model_dump()
        return {"name": self.loss.word, **self.loss.model_dump(), **aligned}

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """Optimiser and schedule as the training module takes them."""
        schedule = self.optimizer.schedule
        settings = {name: getattr(self.optimizer, name) for name in type(self.optimizer).model_fields}
        return {"name": self.optimizer.word, **settings, "schedule": schedule.word, **schedule.model_dump()}

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
