"""The training of an encoder as a step."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from assimilate.assimilation.loss import Alignment, Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.data.dataset import Images
from assimilate.data.transform import Transform
from assimilate.encoder.step import Encoder, Network
from assimilate.graph.settings import Allowed, At, Count, From, Probability, Seed
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
    batchnorm: Annotated[
        Literal["per_view", "concatenated", "per_view_backbone", "per_source"], From("batchnorm")
    ]
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed", "64-true"], From("trainer.precision")
    ]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    image_size: Annotated[int, From("dataset.image_size")]
    crop_size: Annotated[int | None, From("data.crop_size")]
    slots: tuple[Transform | Literal["generated"], ...]
    assim: str
    view: View | None = None
    generated_transform: Transform | None = None
    views_used: int | None = None
    probability: Annotated[float, Field(gt=0, le=1), Allowed("a probability above 0, up to 1")] = 1.0
    seed: Annotated[Seed, From("seed")]
    called: str = "simclr"

    @property
    def label(self) -> str:
        """The arrangement and the view: "a2-wsearch"."""
        return self.called
