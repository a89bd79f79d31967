"""Images that a generator makes as a data set: what decides them."""

from dataclasses import replace
from typing import Annotated, ClassVar

from assimilate.data.dataset import Dataset
from assimilate.errors import UserError
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.settings import Allowed, Count, From, Positive, Seed


class Sampled(Dataset):
    """Images of latents that are drawn, so that the latent of each is known (Table 4).

    Attributes:
        num_images: how many are sampled.
        seed: image i is a function of (seed, i) alone.
        tile: images made at once, always that many.
    """

    latents_are_known: ClassVar[bool] = True
    published: ClassVar[bool] = True
    generator: Generator
    num_images: Count
    seed: Seed
    tile: Count
    truncation: Annotated[float | None, From("generator.truncation")] = None
    latent_limit: Annotated[
        Positive | None, From("generator.latent_limit"), Allowed("null (a normal distribution) or a number > 0")
    ] = None

    def require(self) -> None:
        """A generator that is trained already."""
        self.generator.require()
        if not self.generator.is_brought:
            raise UserError(
                f"dataset={self.name} is sampled from a generator that is trained already: give generator.checkpoint="
            )

    def available(self) -> int:
        """As many as are asked for."""
        return self.num_images

    def effort(self, images: int) -> Effort:
        """A forward pass of the generator each."""
        return replace(
            super().effort(images), gflop=images * self.generator.synthesis_gflop, width=self.generator.width
        )
