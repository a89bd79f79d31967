"""Views by anything that can make an image differ by a strength: what decides them.

A diffusion model, an autoencoder, a program: nothing is differentiated, and there need be no latents.
"""

from abc import abstractmethod
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from assimilate.encoder.step import Encoder
from assimilate.graph.place import Place, Progress, Write
from assimilate.graph.settings import Allowed, NotNegative, Seed, When
from assimilate.views.calibration_step import Calibration
from assimilate.views.strength import AUTO, WithStrength

if TYPE_CHECKING:  # settings are declared without torch
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from assimilate.views.programs import ProgramViews, TunedProgram
    from assimilate.views.search_cache import SearchCache


class Program(WithStrength):
    """Views by a program: a subclass has `views`, and `most`, the largest strength (∞ unless it says so).

    Attributes:
        seed: seed of the cache.
        strength: of every view; auto: one number for each view, at which f sees it at ε1.
    """

    reference: Annotated[Encoder | None, When("strength", AUTO)] = None
    calibration: Annotated[Calibration | None, When("strength", AUTO), When("epsilon1", AUTO)] = None
    seed: Seed
    strength: Annotated[NotNegative | Literal["auto"], Allowed("auto or a number ≥ 0")]
    # Of every view that is made, in GFLOP, for the plan.
    gflop: ClassVar[float] = 0.0

    @abstractmethod
    def views(
        self,
        images: "Float[Tensor, 'views 3 height width']",
        strength: "Float[Tensor, ' views']",
        rng: "torch.Generator",
    ) -> "Float[Tensor, 'views 3 height width']":
        """Views of one image.

        Args:
            images: copies of it, one a view, in [−1, 1].
            strength: of each view. At 0 a view is the image, or as near to it as the program comes.
            rng: source of the draws, on the CPU. For the same image it is the same at every call: draw as much whatever
                the strengths are.

        Returns:
            As many images, about [−1, 1]; a view depends on its own strength alone.
        """

    @property
    def _programs(self) -> ModuleType:
        from assimilate.views import programs  # and with it torch

        return programs

    def _made(self, at: Place) -> "ProgramViews":
        return self._programs.ProgramViews(
            self.views, at.dataset.train.images, num_views=self.n_cached, seed=self.seed, device=at.device
        )

    def _search(self, at: Place) -> "SearchCache":
        from assimilate.views.search_cache import SearchCache

        epsilon1, reference = self.distance_asked(at), self.reference
        assert epsilon1 is not None
        assert reference is not None
        wanted: TunedProgram = self._programs.TunedProgram(
            epsilon1=epsilon1, anchor="original", num_views=self.n_cached, seed=self.seed, most=self.most, **self._asked
        )
        return SearchCache(
            at,
            wanted,
            lambda *work: wanted.run(
                self._made(at), self._programs.FrozenEmbedding.of(at.load(reference)).to(at.device), *work
            ),
        )

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        if self.strength == AUTO:
            self._search(at).fill(write, indices, progress)
            return
        made = self._made(at)
        for done, index in enumerate(indices, start=1):
            write(index, made.at(index, [float(self.strength)] * self.n_cached).cpu().numpy())
            progress(done, len(indices), {})

    @property
    def effort_of_a_view(self) -> float:
        """One pass; about five of the program and f where the strength is found: an image's views wait for the last."""
        return self.gflop if self.reference is None else 5 * (self.gflop + self.reference.gflop)
