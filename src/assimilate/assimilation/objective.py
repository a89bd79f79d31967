"""Which loss a run minimises: base loss, alignment term and scale, from a plain description (Table 11)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.assimilation.losses import alignment, info_nce, multi_view_nt_xent, nt_xent, scale_of, viewmaker_loss
from assimilate.assimilation.simsiam_loss import simsiam_alignment, simsiam_loss

LOSSES = ("infonce", "ntxent", "full", "simsiam", "viewmaker")
_PAIRWISE = {"infonce": info_nce, "ntxent": nt_xent, "viewmaker": viewmaker_loss}


@dataclass(frozen=True)
class LossSpec:
    """The loss of a run.

    Attributes:
        name: "infonce" (Eq. 12), "ntxent" (Eq. 1), "full" (Eq. 13: every view contrasts with every other), "viewmaker"
            (PROTOCOLS 10) or "simsiam" (no negatives, needs a predictor; temperatures mean nothing to it).
        temperature: τ > 0.
        base_temperature: if given, the whole loss is multiplied by temperature / base_temperature.
        alpha: α ≥ 0 of Eq. 4 and 16; used only when views are appended.
        align_anchors: which of the two contrasted views are aligned; (0, 1) is Eq. 4, (0,) the authors' CIFAR-10 code.

    Raises:
        ValueError: any of them is out of range.
    """

    name: str
    temperature: float = 0.5
    base_temperature: float | None = None
    alpha: float = 0.5
    align_anchors: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss.name={self.name!r} is unknown; choose one of {', '.join(LOSSES)}")
        scale_of(self.temperature, self.base_temperature)
        if not self.alpha >= 0:
            raise ValueError(f"loss.alpha={self.alpha} must be at least 0 (the paper uses 0.5)")
        object.__setattr__(self, "align_anchors", tuple(self.align_anchors))
        if not self.align_anchors or not set(self.align_anchors) <= {0, 1}:
            raise ValueError(f"loss.align_anchors={list(self.align_anchors)} must be [0], [1] or [0, 1]")

    @property
    def scale(self) -> float:
        """By what the minimised loss exceeds its parts, τ/τ_base; temperatures mean nothing to SimSiam."""
        return 1.0 if self.name == "simsiam" else scale_of(self.temperature, self.base_temperature)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LossSpec":
        """Reads a mapping.

        Raises:
            ValueError: a key that no loss has, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"loss has no key {', '.join(map(repr, unknown))}; its keys are {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `from_dict` reads."""
        return asdict(self)


@dataclass(frozen=True)
class LossTerms:
    """The minimised `total` = (base − alignment)·τ/τ_base, and its parts before that scale; numbers []."""

    total: Float[Tensor, ""]
    base: Float[Tensor, ""]
    alignment: Float[Tensor, ""] | None


def compute_loss(
    views: Sequence[Float[Tensor, "batch dim"]],
    spec: LossSpec,
    *,
    predictions: Sequence[Float[Tensor, "batch dim"]] | None = None,
    gather: bool = False,
) -> LossTerms:
    """The loss of one step: views 0 and 1 are contrasted, any further ones are aligned with them (Eq. 4, 14, 16).

    Args:
        views: projector outputs, not normalised, at least two of [batch, dim].
        predictions: the predictor's output for each view, [batch, dim] each, for "simsiam" alone.
        gather: contrast with the keys of all ranks.

    Returns:
        Numbers [].

    Raises:
        ValueError: there is one view, or the shapes differ.
    """
    if len(views) < 2:
        raise ValueError(f"a contrastive loss needs at least two views, got {len(views)}")
    if spec.name == "simsiam":
        assert predictions is not None, "SimSiam compares predictions with projections"
        base = simsiam_loss(predictions[0], predictions[1], views[0], views[1])
        if len(views) == 2:
            return LossTerms(base, base, None)
        anchors = [views[index] for index in spec.align_anchors]
        aligned = simsiam_alignment(predictions[2:], anchors, alpha=spec.alpha)
        return LossTerms(base - aligned, base, aligned)
    scale = spec.scale
    if spec.name == "full":
        base = multi_view_nt_xent(views, temperature=spec.temperature, gather=gather)
        return LossTerms(scale * base, base, None)
    base = _PAIRWISE[spec.name](views[0], views[1], temperature=spec.temperature, gather=gather)
    if len(views) == 2:
        return LossTerms(scale * base, base, None)
    anchors = [views[index] for index in spec.align_anchors]
    aligned = alignment(anchors, views[2:], temperature=spec.temperature, alpha=spec.alpha)
    return LossTerms(scale * (base - aligned), base, aligned)


def uninformed(spec: LossSpec, *, batch_size: int, num_views: int) -> float:
    """`LossTerms.base` of embeddings that tell nothing: log N for Eq. 12, log(2N − 1) for Eq. 1, 0 for SimSiam.

    All are orthogonal, so every key is as far as the positive one. Equal ones have the same loss, but for Viewmaker's:
    with each anchor among its own keys it is lower for them than for many that tell much.
    """
    views = list(torch.eye(num_views * batch_size).chunk(num_views))
    return float(compute_loss(views, spec, predictions=views).base)
