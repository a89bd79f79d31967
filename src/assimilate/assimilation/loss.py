"""What a training minimises: one class a loss or method (Table 11; MoCo, BYOL, VICReg and Barlow Twins beside them).

A loss says what two contrasted views are compared by (`base`) and how appended views are aligned with them
(`aligned`). One with a state of its own, as BYOL's moving average, has a `method` that holds it.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from assimilate.assimilation.alignment import NO_ALIGNMENT, Alignment, LossTerms
from assimilate.graph.required import required
from assimilate.graph.settings import Allowed, Count, NotNegative, Positive, Settings

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from assimilate.assimilation.method import Method
    from assimilate.encoder.encoder import Encoder

Momentum = Annotated[float, Field(ge=0, le=1), Allowed("a number, 0 ≤ momentum ≤ 1")]


class Loss(Settings):
    """What a training minimises; subclasses are chosen by loss=, or by `_target_`.

    Attributes:
        aligns: whether appended views have a term of their own, α times their alignment; else `base` takes all views.
        needs_predictor: whether the encoder has a predictor.
        usual_predictor: how wide that is elsewhere, and how to have it, in words.
        contrasts: whether views of other images are negatives.
    """

    # The method's name in a report; "" for the losses of SimCLR.
    title: ClassVar[str] = ""
    aligns: ClassVar[bool] = True
    needs_predictor: ClassVar[bool] = False
    usual_predictor: ClassVar[str] = ""
    contrasts: ClassVar[bool] = True

    @property
    def called(self) -> str:
        """Its word, or its class's name."""
        return self.word or type(self).__name__

    @property
    def usual(self) -> str:
        """The usual predictor, in brackets; "" where nothing is known of it."""
        return f" ({self.usual_predictor})" if self.usual_predictor else ""

    @property
    def scale(self) -> float:
        """By what the minimised loss exceeds `base`."""
        return 1.0

    @required(unless="method")
    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """The loss of two views (of all, where `aligns` is False), before `scale`.

        Args:
            views: projections, not normalised, each [batch, dim].
            gather: with those of all ranks; the mean over ranks is then the loss of the whole batch.

        Returns:
            A scalar.
        """
        raise NotImplementedError

    def aligned(
        self, anchors: "Sequence[Tensor]", appended: "Sequence[Tensor]", *, alpha: float, gather: bool = False
    ) -> "Tensor":
        """What is subtracted from `base` for appended views: α · mean of cos(z, z') over anchors z, appended views z'.

        Args:
            anchors, appended: projections, not normalised, each [batch, dim]; one or more of both.
            alpha: α ≥ 0.
            gather: as in `base`.
        """
        return self._computed.alignment(anchors, appended, temperature=1.0, alpha=alpha)

    def terms(
        self, views: "Sequence[Tensor]", alignment: Alignment | None = None, *, gather: bool = False
    ) -> LossTerms:
        """The loss of one step: views 0 and 1 are contrasted, any further ones are aligned with them (Eq. 4, 14).

        Args:
            views: projections, not normalised, at least two of [batch, dim]; row i of each shows image i.
            alignment: of the appended views.
            gather: as in `base`.

        Raises:
            ValueError: there is one view, or views are appended and no alignment is given.
        """
        if len(views) < 2:
            raise ValueError(f"a loss needs at least two views, got {len(views)}")
        if not self.aligns or len(views) == 2:
            base = self.base(views, gather=gather)
            return LossTerms(self.scale * base, base, None)
        if alignment is None:
            raise ValueError(NO_ALIGNMENT)
        base = self.base(views[:2], gather=gather)
        anchors = [views[index] for index in alignment.align_anchors]
        aligned = self.aligned(anchors, views[2:], alpha=alignment.alpha, gather=gather)
        return LossTerms(self.scale * (base - aligned), base, aligned)

    @property
    def _computed(self) -> "ModuleType":
        from assimilate.assimilation import computed  # and with it torch, which settings do without

        return computed

    def method(self, encoder: "Encoder", alignment: Alignment | None, *, seed: int) -> "Method":
        """The module that computes the loss of a step's views; its state is part of the checkpoint.

        Args:
            encoder: the network that is trained; a moving average starts as its copy.
            alignment: where views are appended.
            seed: of the state.
        """
        return self._computed.LossOfProjections(self.terms, alignment)

    def uninformed(self, *, batch_size: int, num_views: int) -> float | None:
        """`base` of embeddings that tell nothing of their images, all orthogonal; None where it cannot be said.

        Args:
            batch_size: images of a batch, N.
            num_views: views of an image in a step, appended ones included.
        """
        return None


class ContrastiveLoss(Loss):
    """A loss with a temperature τ: each embedding is contrasted with those of other images.

    Attributes:
        temperature: τ of the similarities.
        base_temperature: if given, the loss is multiplied by τ/τ_base (SupContrast: 7.14 at τ = .5, τ_base = .07).
    """

    temperature: Positive = 0.5
    base_temperature: Annotated[Positive | None, Allowed("null or a number > 0")] = None

    @property
    def scale(self) -> float:
        """τ/τ_base; 1 where there is no τ_base."""
        return 1.0 if self.base_temperature is None else self.temperature / self.base_temperature

    def aligned(
        self, anchors: "Sequence[Tensor]", appended: "Sequence[Tensor]", *, alpha: float, gather: bool = False
    ) -> "Tensor":
        """L_align of Eq. 4: α/τ · mean of z·z' over anchors z and appended views z', of unit vectors."""
        return self._computed.alignment(anchors, appended, temperature=self.temperature, alpha=alpha)


class InfoNCE(ContrastiveLoss, word="infonce"):
    """Equation 12: a view is contrasted with the other view of all images."""

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """As a mean over the anchors."""
        return self._computed.info_nce(*views, temperature=self.temperature, gather=gather)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """log N."""
        return math.log(batch_size)


class NTXent(ContrastiveLoss, word="ntxent"):
    """Equation 1: a view is contrasted with both views of all images."""

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """As a mean over the anchors."""
        return self._computed.nt_xent(*views, temperature=self.temperature, gather=gather)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """log(2N − 1)."""
        return math.log(2 * batch_size - 1)


class FullNTXent(ContrastiveLoss, word="full"):
    """Equation 13: every view contrasts with every other, so appended views need no term of their own."""

    aligns: ClassVar[bool] = False

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """As a mean over the anchors."""
        return self._computed.multi_view_nt_xent(views, temperature=self.temperature, gather=gather)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """log(V·N − 1)."""
        return math.log(num_views * batch_size - 1)


class ViewmakerLoss(ContrastiveLoss, word="viewmaker"):
    """Viewmaker's: as Eq. 1 with view 1 alone as anchors, each among its own keys, less log 2N."""

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """As a mean over the anchors."""
        return self._computed.viewmaker_loss(*views, temperature=self.temperature, gather=gather)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """log((e^(1/τ) + 2N − 1)/2N); equal embeddings have a lower one, and so have many that tell much."""
        keys = 2 * batch_size
        return math.log1p((keys - 1) * math.exp(-1 / self.temperature)) + 1 / self.temperature - math.log(keys)


class MoCo(Loss, word="moco"):
    """MoCo v2 (He et al., 2020; Chen et al., 2020): a queue of negatives, whose encoder follows slowly.

    Defaults are those of MoCo v2 on ImageNet.

    Attributes:
        temperature: τ of the similarities.
        momentum: m of the key encoder, which moves by ξ ← m·ξ + (1 − m)·θ.
        queue_size: number of negatives, K.
    """

    title: ClassVar[str] = "MoCo v2"
    temperature: Positive = 0.2
    momentum: Momentum = 0.999
    queue_size: Count = 65536

    def method(self, encoder: "Encoder", alignment: Alignment | None, *, seed: int) -> "Method":
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return self._computed.MoCo(encoder, alignment, seed=seed, **fields)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """log(1 + K)."""
        return math.log1p(self.queue_size)


class SimSiamLoss(Loss, word="simsiam"):
    """SimSiam and A2-SimSiam (Appendix F, Eq. 16): no negatives, a predictor, a stop-gradient."""

    title: ClassVar[str] = "SimSiam"
    needs_predictor: ClassVar[bool] = True
    usual_predictor: ClassVar[str] = (
        "SimSiam's has 512: take recipe=simsiam for the run (loss), or view_encoder=simsiam for f (simclr_loss)"
    )
    contrasts: ClassVar[bool] = False

    def method(self, encoder: "Encoder", alignment: Alignment | None, *, seed: int) -> "Method":
        """Without a state."""
        return self._computed.SimSiam(alignment)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """0."""
        return 0.0


class BYOL(Loss, word="byol"):
    """BYOL (Grill et al., 2020): views predict the projections of a target that follows slowly.

    Attributes:
        momentum: m of the target at the first step; it rises to 1 as a half cosine. The paper's is .996.
    """

    title: ClassVar[str] = "BYOL"
    needs_predictor: ClassVar[bool] = True
    usual_predictor: ClassVar[str] = "4096 in its paper: give encoder.predictor_dim=4096"
    contrasts: ClassVar[bool] = False
    momentum: Momentum = 0.996

    def method(self, encoder: "Encoder", alignment: Alignment | None, *, seed: int) -> "Method":
        return self._computed.BYOL(encoder, alignment, momentum=self.momentum)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """4: both distances are 2."""
        return 4.0


class VICReg(Loss, word="vicreg"):
    """VICReg (Bardes et al., 2022), Eq. 6: embeddings that agree, vary and are not correlated.

    Appended views z' add α·λ·mean (z − z')², a mean over anchors z, appended views, images and dimensions. Defaults are
    the paper's.

    Attributes:
        invariance: λ, the weight of the distance between two views.
        variance: μ, the weight of the hinge on the standard deviations.
        covariance: ν, the weight of the covariances.
    """

    title: ClassVar[str] = "VICReg"
    contrasts: ClassVar[bool] = False
    invariance: NotNegative = 25.0
    variance: NotNegative = 25.0
    covariance: NotNegative = 1.0

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """λ·s(z1, z2) + μ·[v(z1) + v(z2)] + ν·[c(z1) + c(z2)]."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return self._computed.vicreg(*views, **fields, gather=gather)

    def aligned(
        self, anchors: "Sequence[Tensor]", appended: "Sequence[Tensor]", *, alpha: float, gather: bool = False
    ) -> "Tensor":
        """−α·λ·mean (z − z')² over anchors z and appended views z'."""
        return -alpha * self.invariance * self._computed.mean_squared_error(anchors, appended)

    def uninformed(self, *, batch_size: int, num_views: int) -> float:
        """The least of 2λσ² + 2μ(1 − σ): views that are independent, each dimension with a standard deviation of σ."""
        spread = 1.0 if self.variance >= 2 * self.invariance else self.variance / (2 * self.invariance)
        return 2 * self.invariance * spread**2 + 2 * self.variance * (1 - spread)


class BarlowTwins(Loss, word="barlowtwins"):
    """Barlow Twins (Zbontar et al., 2021): the cross-correlation C of two views' dimensions is to be the identity.

    Appended views z' add α·Σ_i (1 − C_ii(z, z'))², a mean over anchors z and appended views.

    Attributes:
        redundancy: λ, the weight of C beside its diagonal; the paper's is .005.
    """

    title: ClassVar[str] = "Barlow Twins"
    contrasts: ClassVar[bool] = False
    redundancy: NotNegative = 0.005

    def base(self, views: "Sequence[Tensor]", *, gather: bool = False) -> "Tensor":
        """Σ_i (1 − C_ii)² + λ·Σ_{i≠j} C_ij²."""
        return self._computed.barlow_twins(*views, redundancy=self.redundancy, gather=gather)

    def aligned(
        self, anchors: "Sequence[Tensor]", appended: "Sequence[Tensor]", *, alpha: float, gather: bool = False
    ) -> "Tensor":
        """−α·Σ_i (1 − C_ii(z, z'))², a mean over anchors z and appended views z'."""
        return -alpha * self._computed.diagonal_term(anchors, appended, gather=gather)
