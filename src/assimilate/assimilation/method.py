"""What a self-supervised method does with the views of a step, as a module with its own state."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.assimilation.alignment import NO_ALIGNMENT, Alignment, LossTerms
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.encoder.encoder import Encoder

Images = Float[Tensor, "batch 3 height width"]
Embedding = Float[Tensor, "batch dim"]


class Method(nn.Module, ABC):
    """Views 0 and 1 of a step are contrasted, any further ones are aligned with them with weight α.

    A subclass says in `forward` what that means for views [batch, 3, height, width]. Its parameters that require
    gradients are trained with the encoder's; parameters, buffers and submodules are part of the checkpoint.

    Args:
        alignment: of the appended views; None where there are none.
    """

    def __init__(self, alignment: Alignment | None = None) -> None:
        super().__init__()
        self._alignment = alignment

    @property
    def alignment(self) -> Alignment:
        """α and the anchors.

        Raises:
            ValueError: views are appended, and none was given.
        """
        if self._alignment is None:
            raise ValueError(NO_ALIGNMENT)
        return self._alignment

    @abstractmethod
    def forward(self, encoder: Encoder, views: Sequence[Images], passes: ViewPasses) -> LossTerms:
        """The loss of a step. Nothing but BatchNorm's running statistics may change: it may be called several times.

        Args:
            encoder: the network that is trained.
            views: normalised images, at least two.
            passes: which views share a forward, and so their BatchNorm statistics.
        """

    def unscheduled(self, encoder: Encoder) -> list[nn.Parameter]:
        """Parameters whose learning rate stays at its peak, whatever the schedule does to the rest."""
        return []

    def after_backward(self) -> None:
        """After the gradients of a batch, the last one of `forward`."""

    def after_step(self, encoder: Encoder, *, progress: float) -> None:
        """After the optimiser's step.

        Args:
            progress: share of the training's steps that were taken before this one, in [0, 1].
        """


class LossOfProjections(Method):
    """A method without a state or a network of its own: a loss of the projections (SimCLR, VICReg, Barlow Twins).

    Args:
        terms: the loss of projections, called as terms(projections, alignment, gather=True).
        alignment: as in `Method`.
    """

    def __init__(self, terms: Callable[..., LossTerms], alignment: Alignment | None = None) -> None:
        super().__init__(alignment)
        self.terms = terms

    def forward(self, encoder: Encoder, views: Sequence[Images], passes: ViewPasses) -> LossTerms:
        """The loss of the encoder's projections."""
        return self.terms(passes.project(encoder, views), self._alignment, gather=True)


def copy_to_follow(encoder: Encoder) -> Encoder:
    """A copy without a predictor and without gradients. Its BatchNorm statistics are those of its own forwards."""
    copied = copy.deepcopy(encoder)
    copied.predictor = None
    return copied.requires_grad_(False)


@torch.no_grad()
def follow(average: Encoder, encoder: Encoder, *, momentum: float) -> None:
    """ξ ← m·ξ + (1 − m)·θ for every parameter of the average; buffers stay.

    Args:
        average: of `copy_to_follow`, changed in place.
        encoder: what it follows.
        momentum: m in [0, 1].
    """
    weights = dict(encoder.named_parameters())
    names, followers = zip(*average.named_parameters(), strict=True)
    torch._foreach_lerp_(list(followers), [weights[name].detach() for name in names], 1 - momentum)
