"""The training of an encoder as a step."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from assimilate.assimilation.arrangement import GENERATED as GENERATED
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.trainer_options import check_options
from assimilate.assimilation.training_settings import Training
from assimilate.encoder.curves import CURVE, HISTORY, read_rows
from assimilate.encoder.step import Encoder, Untrained
from assimilate.errors import UserError
from assimilate.graph.cost import Effort
from assimilate.graph.identity import brings_code
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import Chooses, From, Seed, Settings
from assimilate.graph.source import source_digest

OWN_SETTINGS = "view.encoder.training"
# In fewer the loss of a sound training is still about where it began.
STEPS_OF_A_TRAINING = 50
# What an interrupted training goes on from.
RESUMABLE = ("last.ckpt", "last.previous.ckpt")


class TrainingOfF(Settings):
    """How the training of f differs from the run's; its images and views are the run's.

    Attributes:
        loss: the base loss of the data set's SimCLR row, and so of the encoder f that W-search loads.
        seed: seed of f's training.
        training: settings that f does not take from the run, e.g. view.encoder.training.encoder.width=16; null: none.
    """

    absent: ClassVar[str] = "it is about the training of f, and this run trains no f"
    loss: Annotated[str, From("simclr_loss"), Chooses(Loss)]
    seed: Annotated[Seed, From("view.encoder.seed")] = 0
    training: Annotated[dict[str, Any] | None, From(OWN_SETTINGS)] = None


class Trained(Encoder, Training):
    """An encoder that learns from views of the images: SimCLR, A1 or A2, on any loss."""

    slow_imports: ClassVar[tuple[str, ...]] = ("assimilate.assimilation.training",)
    brought_by: ClassVar[tuple[str, ...]] = ("view.encoder.checkpoint",)  # as f

    def require_images(self, count: int) -> None:
        """Two at least, and a whole batch where smaller ones are dropped."""
        if count < 2:
            raise UserError(
                f"dataset.root: there is {count} training image, but contrastive losses need negatives: give at least 2"
            )
        if self.drop_last and self.batch_size > count:
            raise UserError(
                f"batch_size={self.batch_size} exceeds the {count} training images and drop_last=true: "
                "there would be no batch; lower batch_size or set drop_last=false"
            )

    def foresee(self, at: Place) -> None:
        """Let Lightning see its arguments, and make the module where code from outside has a part in it.

        Raises:
            UserError: they cannot be used.
        """
        check_options(self.trainer)
        if brings_code(self.identity):
            try:
                self.module()
            except Exception as error:  # the user's code, which may raise anything
                raise UserError(f"the module that trains cannot be made: {' '.join(str(error).split())}") from error

    def build(self, into: Path, at: Place) -> Built:
        ranks = at.settings.trainer.devices
        if ranks == 1:
            self.fit(into, at)
        else:
            at.fit_on_ranks(self)
        return Built({"ranks": ranks}, frozenset({HISTORY, CURVE}), frozenset(RESUMABLE))

    def fit(self, into: Path, at: Place) -> None:
        from assimilate.assimilation.training import train_encoder

        train_encoder(self, into, at, title=f"Training {self.label}", subject=at.subject(self))

    def doubts(self, folder: Path, num_images: int) -> list[str]:
        """A sentence if the loss ends where embeddings that tell nothing have it; none of one that has just begun."""
        rows = read_rows(folder / HISTORY)
        if not rows or rows[-1]["step"] < STEPS_OF_A_TRAINING:
            return []
        full, rest = divmod(num_images, self.batch_size)
        sizes = [self.batch_size] * full + ([rest] if rest and not self.drop_last else [])
        told = [self.loss.uninformed(batch_size=size, num_views=len(self.slots)) for size in sizes]
        known = [value for value in told if value is not None]
        if len(known) < len(told):
            return []
        reference = sum(known) / len(known)
        loss = rows[-1].get("base", rows[-1]["loss"] / self.loss.scale)
        if loss < reference - 1e-3:  # of a collapsed network they agree to 1e-6
            return []
        return [
            f"The loss ends at {loss:.3f}, and embeddings that tell nothing of the images have {reference:.3f}: "
            "nothing was learned; try another optimizer.lr, more epochs or other views."
        ]

    def content(self) -> Mapping[str, Any]:
        source = source_digest(self.module_path)
        return {} if source is None else {"module": source}

    @property
    def init_seed(self) -> int:
        return self.seed

    @property
    def untrained(self) -> Untrained:
        """Its backbone as it is drawn from seed 0, whatever its own is."""
        mean, std = self.normalization
        size = self.crop_size or self.image_size
        return Untrained(backbone=self.network.backbone, mean=mean, std=std, image_size=size)

    @property
    def gflop(self) -> float:
        return self.network.backbone.gflop(self.crop_size or self.image_size)

    @property
    def width(self) -> float:
        """As the published network has 64 channels."""
        return self.network.backbone.share

    def effort(self, images: int) -> Effort:
        """Three forward passes a view, what it takes to make one in the step, and a pass an epoch for the kNN curve."""
        made = 0.0 if self.view is None else self.slots.count(GENERATED) * self.view.effort_in_training(self.gflop)
        gflop = self.epochs * images * (len(self.slots) * self.gflop * 3 + made + self.gflop)
        steps = self.epochs * math.ceil(images / self.batch_size)
        return Effort(gflop, 90 * self.width**2 + 1, self.width, steps)

    @property
    def label(self) -> str:
        """The arrangement and the view: "a2-wsearch"."""
        return self.called
