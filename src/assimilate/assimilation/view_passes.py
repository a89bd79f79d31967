"""How the views of a step go through a network: which of them share one forward, and so their BatchNorm statistics."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.encoder.batchnorm import keep_running_statistics
from assimilate.encoder.encoder import Encoder


@dataclass(frozen=True)
class ViewPasses:
    """BatchNorm statistics per view or over several, as the recipe says.

    Attributes:
        batchnorm: "per_view" (one forward a view; E-SSL), "concatenated" (one forward for all views; SupContrast),
            "per_view_backbone" (backbone a view, projector on the concatenation; Table 8) or "per_source" (real views
            in one forward, generated ones in another that leaves the running statistics alone; CLSP).
        generated: positions of the views that do not show the image itself, for "per_source".

    Raises:
        ValueError: there is no such mode.
    """

    batchnorm: str = "per_view"
    generated: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.batchnorm not in BATCHNORM_MODES:
            raise ValueError(f"batchnorm={self.batchnorm!r} is unknown; choose one of {', '.join(BATCHNORM_MODES)}")

    def project(
        self, encoder: Encoder, views: Sequence[Float[Tensor, "batch 3 height width"]], places: Sequence[int] = ()
    ) -> list[Float[Tensor, "batch output_dim"]]:
        """Projections of the views.

        Args:
            views: normalised images.
            places: of the views in the step; none given: they are its first ones.

        Raises:
            ValueError: "per_source", and all of them are generated.
        """
        project, _ = BATCHNORM_MODES[self.batchnorm]
        return project(self, encoder, views, places or range(len(views)))

    def _per_view(self, encoder: Encoder, views: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
        return [encoder(view) for view in views]

    def _concatenated(self, encoder: nn.Module, views: Sequence[Tensor], places: Sequence[int] = ()) -> list[Tensor]:
        return list(encoder(torch.cat(list(views))).chunk(len(views)))

    def _per_view_backbone(self, encoder: Encoder, views: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
        return self._concatenated(encoder.projector, [encoder.features(view) for view in views])

    def _per_source(self, encoder: Encoder, views: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
        real = [index for index, place in enumerate(places) if place not in self.generated]
        generated = [index for index, place in enumerate(places) if place in self.generated]
        if not real:
            raise ValueError("batchnorm=per_source takes its running statistics from real views, but all are generated")
        projections = encoder(torch.cat([views[index] for index in real])).chunk(len(real))
        by_index = dict(zip(real, projections, strict=True))
        if generated:
            with keep_running_statistics(encoder):
                projections = encoder(torch.cat([views[index] for index in generated])).chunk(len(generated))
            by_index |= zip(generated, projections, strict=True)
        return [by_index[index] for index in range(len(views))]

    def predict(
        self, predictor: nn.Module, projections: Sequence[Float[Tensor, "batch output_dim"]]
    ) -> list[Float[Tensor, "batch output_dim"]]:
        """The predictor's output for the step's views, its BatchNorm per view unless all views share one forward."""
        _, predict = BATCHNORM_MODES[self.batchnorm]
        return predict(self, predictor, projections)

    def _predict_each(self, predictor: nn.Module, projections: Sequence[Tensor]) -> list[Tensor]:
        return [predictor(z) for z in projections]

    def _predict_per_source(self, predictor: nn.Module, projections: Sequence[Tensor]) -> list[Tensor]:
        predictions = []
        for place, z in enumerate(projections):
            with keep_running_statistics(predictor) if place in self.generated else contextlib.nullcontext():
                predictions.append(predictor(z))
        return predictions


# How each projects the views, and how it predicts from projections.
BATCHNORM_MODES: dict[str, tuple[Callable[..., list[Tensor]], Callable[..., list[Tensor]]]] = {
    "per_view": (ViewPasses._per_view, ViewPasses._predict_each),
    "concatenated": (ViewPasses._concatenated, ViewPasses._concatenated),
    "per_view_backbone": (ViewPasses._per_view_backbone, ViewPasses._predict_each),
    "per_source": (ViewPasses._per_source, ViewPasses._predict_per_source),
}
