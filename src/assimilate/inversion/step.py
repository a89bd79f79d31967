"""The latents of the training images: inverted here, brought by the user, or known."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from assimilate.data.dataset import LATENTS as STEM
from assimilate.data.dataset import Dataset, Images
from assimilate.encoder.step import Encoder
from assimilate.errors import UserError
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place, RowWork
from assimilate.graph.settings import Count, Positive, Settings, When, Whole
from assimilate.graph.step import Step
from assimilate.inversion.settings import InDomainSettings, OptimizationSettings, Weight

if TYPE_CHECKING:
    from assimilate.inversion.making import Inverting

# Of a finished artifact; a data set whose latents are known has a file of the same name.
LATENTS, ERRORS = f"{STEM}.npy", "errors.npy"


class Latents(Step):
    """A latent for each training image, before truncation."""

    kind: ClassVar[str] = "latents"
    stage: ClassVar[str] = "invert"
    title: ClassVar[str] = "Inverting images"
    brought_by: ClassVar[tuple[str, ...]] = ("inversion.checkpoint", "inversion.latents")
    whole: ClassVar[str] = "set of latents"
    slow_imports: ClassVar[tuple[str, ...]] = ("assimilate.inversion.making", *Generator.slow_imports)
    generator: Generator
    # Whether nothing has to be found: the images were made from them.
    is_known: ClassVar[bool] = False

    def load(self, folder: Path, at: Place) -> NDArray[np.float32]:
        """Latents before truncation [images, codes, dim], behind a memory map."""
        return np.load(folder / LATENTS, mmap_mode="r")

    def errors(self, folder: Path) -> NDArray[np.float32] | None:
        """Mean squared error of each reconstruction on [−1, 1]; None where no image was inverted."""
        path = folder / ERRORS
        return np.load(path) if path.is_file() else None


class KnownLatents(Latents):
    """Those of images that the generator made."""

    brought_by: ClassVar[tuple[str, ...]] = ()
    is_known: ClassVar[bool] = True
    dataset: Dataset

    @property
    def label(self) -> str:
        return "known"

    @property
    def indivisible(self) -> str | None:
        """Nothing is inverted."""
        return (
            f"the latents of dataset={self.dataset.name} are known, nothing is inverted; what can be shared is the "
            "sampling of its images, by prepare_data"
        )

    def build(self, into: Path, at: Place) -> Built:
        (into / LATENTS).unlink(missing_ok=True)
        (into / LATENTS).hardlink_to(at.folder(self.dataset) / LATENTS)
        return Built({"known": True})


class Optimization(Settings):
    """The optimisation of each latent by itself.

    Attributes:
        num_steps: steps of each latent; the reference's CIFAR-10 script has 100.
        lr: learning rate of Adam.
        lr_schedule: learning rate over the steps.
        mse_weight: weight of the pixels' squared error.
        perceptual_weight: weight of the distance between feature maps.
        in_domain_weight: weight of MSE(w0, e(g(w))), which the reference code has instead of Appendix B's adversarial
            term.
        keep: best: the codes of the lowest loss seen; last: those of the last step, as the reference code.
        tile: images optimised at once; always that many, so part of the latents' identity.
    """

    num_steps: Whole
    lr: Positive
    lr_schedule: Literal["constant", "cosine"]
    mse_weight: Weight
    perceptual_weight: Weight
    in_domain_weight: Weight
    keep: Literal["best", "last"] = "best"
    tile: Count


class InDomain(InDomainSettings, Latents):
    """In-domain inversion (Zhu et al. 2020): an encoder, then an optimisation from where it points.

    Attributes:
        optimization: optimisation of each image's latent, starting from the encoder's.
    """

    images: Images
    reference: Annotated[Encoder | None, When("perceptual", fact="needs_encoder")] = None
    optimization: Optimization

    @property
    def label(self) -> str:
        return "imported" if self.latents is not None else "indomain"

    @property
    def indivisible(self) -> str | None:
        """Latents that are brought are copied."""
        return None if self.latents is None else "inversion.latents are taken as they are, there is nothing to share"

    @property
    def _making(self) -> ModuleType:
        from assimilate.inversion import making  # and with it torch

        return making

    def require(self) -> None:
        """Images that the perceptual network can read, and a discriminator, if one is to be used."""
        if self.latents is None and self.image_size < (smallest := self.perceptual.smallest):
            raise UserError(
                f"inversion.perceptual={self.perceptual.called} reads no images so small: dataset.image_size="
                f"{self.image_size} cannot be used, allowed is {smallest} and more; or give "
                "inversion.perceptual=discriminator|encoder|none"
            )
        if not self.generator.has_discriminator and (lacking := self.lacking_discriminator()):
            raise UserError(lacking)

    def foresee(self, at: Place) -> None:
        """The latents or encoder that the user brings, and the perceptual network's weights."""
        self._making.foresee(self, num_images=self.images.num_train, code_shape=self.generator.code_shape)

    def build(self, into: Path, at: Place) -> Built:
        """Latents [images, codes, dim] and the reconstruction error of every image."""
        if self.latents is not None:
            return self._making.take_latents(self.latents.path, into / LATENTS, at.load(self.generator), at)
        inverting = self._inverting(at)
        at.fill_rows(self, inverting.rows(), into)
        return inverting.finish(into)

    def rows(self, at: Place) -> RowWork:
        """The optimisation of every latent, from where an encoder points that is trained first."""
        return self._inverting(at).rows()

    def _inverting(self, at: Place) -> "Inverting":
        state = self.generator.load_state(at.folder(self.generator))
        if (state is None or state.discriminator is None) and (lacking := self.lacking_discriminator()):
            raise UserError(lacking)
        reference = None if self.reference is None else at.load(self.reference)
        refining = OptimizationSettings(**self.optimization.model_dump(), perceptual_norm=self.perceptual_norm)
        return self._making.Inverting(self, refining, at.load(self.generator), state, reference, at)

    def effort(self, images: int) -> Effort:
        """The encoder's training, then the optimisation of every image."""
        each = self.optimization.num_steps * self.generator.synthesis_gflop * 6
        training = self.num_steps * self.batch_size * self.generator.synthesis_gflop * 12
        floats = 14 * getattr(self.generator, "latent_dim", 512)
        steps = 2 * self.num_steps + self.optimization.num_steps * math.ceil(images / self.optimization.tile)
        return Effort(training + images * each, images * floats * 4 / 1e6, self.generator.width, steps)

    def lacking_discriminator(self) -> str | None:
        """What to tell a user whose generator has no discriminator; None if the inversion needs none."""
        if self.latents is not None:
            return None
        trained = self.trains
        needing = []
        if trained and self.adversarial_weight > 0:
            needing.append(f"inversion.adversarial_weight={self.adversarial_weight:g}")
        if self.perceptual.needs_discriminator:
            needing.append(f"inversion.perceptual={self.perceptual.called}")
        if not needing:
            return None
        helping = ["inversion.adversarial_weight=0"] if trained else []
        helping.append("inversion.perceptual=none|vgg19|encoder")
        return f"{', '.join(needing)}: the generator comes without a discriminator (d); give {' '.join(helping)}"

    def unused(self) -> Mapping[str, str]:
        """All but the latents of the user's where there are some; the encoder's training where its weights are."""
        if self.latents is not None:
            kept = {"latents", "generator", "images", "truncation"}
            return {name: "inversion.latents are taken" for name in type(self).model_fields if name not in kept}
        if self.checkpoint is not None:
            kept = {
                "checkpoint",
                "generator",
                "images",
                "perceptual",
                "perceptual_norm",
                "reference",
                "optimization",
                "truncation",
            }
            return {name: "inversion.checkpoint is taken" for name in type(self).model_fields if name not in kept}
        if not self.perceptual.compares:
            return {"perceptual_norm": f"inversion.perceptual={self.perceptual.called} compares no feature maps"}
        return {}
