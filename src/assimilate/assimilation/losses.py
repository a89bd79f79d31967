"""The contrastive losses of the paper: Eq. 1, 4, 12, 13 and their sums (Eq. 14).

All take embeddings [batch, dim] that are not normalised, normalise them, and work in fp32 (fp64 for fp64 inputs)
whatever the precision of the network. Equations 1, 12 and 13 are sums; ours are means over the anchors. With
`gather=True` and several ranks the anchors are this rank's and the keys are everyone's: the mean over ranks, and of the
gradients, is that of one process with the global batch.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from assimilate.assimilation.denominators import log_denominator_against, log_denominator_among, log_denominator_between
from assimilate.assimilation.gathering import first_global_row, gather_with_gradient, is_distributed

Embedding = Float[Tensor, "batch dim"]


def in_full_precision(z: Tensor) -> Tensor:
    """fp32, or fp64 for fp64 inputs: what losses are computed in, whatever the network's precision."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def unit_vectors(z: Tensor) -> Tensor:
    """z/‖z‖, in full precision: logits divide by τ, and at τ = .01 half precision would leave them two decimals."""
    return F.normalize(in_full_precision(z), dim=1)


def check_batches(views: Sequence[Tensor]) -> None:
    """Refuse views that cannot be compared row by row.

    Raises:
        ValueError: there is one view, or the shapes differ.
    """
    if len(views) < 2:
        raise ValueError(f"a contrastive loss needs at least two views, got {len(views)}")
    shapes = [tuple(view.shape) for view in views]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"the views are {', '.join(map(str, shapes))}; needed is [batch, dim], the same for all")


def _check_temperature(temperature: float, base_temperature: float | None) -> None:
    if not temperature > 0:
        raise ValueError(f"loss.temperature={temperature} must be above 0 (the paper uses 0.5)")
    if base_temperature is not None and not base_temperature > 0:
        raise ValueError(f"loss.base_temperature={base_temperature} must be above 0, or null (SupContrast uses 0.07)")


def scale_of(temperature: float, base_temperature: float | None) -> float:
    """SupContrast multiplies its losses by τ/τ_base (7.14 at τ=.5, τ_base=.07); 1 where there is no τ_base."""
    _check_temperature(temperature, base_temperature)
    return 1.0 if base_temperature is None else temperature / base_temperature


def info_nce(
    z1: Embedding,
    z2: Embedding,
    *,
    temperature: float = 0.5,
    base_temperature: float | None = None,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """InfoNCE, Equation 12 divided by its 2N anchors: ½CE(z1→z2) + ½CE(z2→z1).

    A view is contrasted with the other view only.

    Args:
        z1, z2: [batch, dim], row i of both showing image i; any scale.
        temperature: τ > 0.
        base_temperature: if given, the loss is multiplied by temperature / base_temperature.
        gather: under several ranks, contrast with the keys of all of them.

    Returns:
        A number []; log N for embeddings that tell nothing.

    Raises:
        ValueError: τ or the base temperature is not positive, or the shapes differ.
    """
    scale = scale_of(temperature, base_temperature)
    check_batches((z1, z2))
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = unit_vectors(z1), unit_vectors(z2)
        positive = (z1 * z2).sum(1).mean() / temperature
        if gather and is_distributed():
            keys1, keys2 = gather_with_gradient(z1), gather_with_gradient(z2)
            denominator = 0.5 * log_denominator_against(z1, keys2, temperature=temperature)
            denominator = denominator + 0.5 * log_denominator_against(z2, keys1, temperature=temperature)
        else:
            denominator = log_denominator_between(z1, z2, temperature=temperature)
        return scale * (denominator - positive)


def multi_view_nt_xent(
    views: Sequence[Embedding], *, temperature: float = 0.5, base_temperature: float | None = None, gather: bool = False
) -> Float[Tensor, ""]:
    """Equation 13 (A2-full) divided by its V·N anchors; with two views it is Equation 1.

    Each of the V·N embeddings is an anchor; its positives P(i) are the V−1 other views of its image and its keys A(i)
    all V·N−1 others. Eq. 13 as printed carries a double minus; this is the loss that it means.

    Args:
        views: V ≥ 2 of [batch, dim], row i of each showing image i.
        temperature, base_temperature, gather: see `info_nce`.

    Raises:
        ValueError: τ or the base temperature is not positive, there is one view, or the shapes differ.
    """
    scale = scale_of(temperature, base_temperature)
    check_batches(views)
    with torch.autocast(views[0].device.type, enabled=False):
        units = [unit_vectors(view) for view in views]
        anchors = torch.cat(units)
        others = torch.stack(units).sum(0).repeat(len(views), 1) - anchors
        positive = (anchors * others).sum(1).mean() / (temperature * (len(views) - 1))
        if gather and is_distributed():
            gathered = [gather_with_gradient(unit) for unit in units]
            row = torch.arange(len(anchors), device=anchors.device)
            num_local, num_global = len(units[0]), len(gathered[0])
            itself = row // num_local * num_global + row % num_local + first_global_row(units[0])
            denominator = log_denominator_against(anchors, torch.cat(gathered), temperature=temperature, itself=itself)
        else:
            denominator = log_denominator_among(anchors, temperature=temperature)
        return scale * (denominator - positive)


def nt_xent(
    z1: Embedding,
    z2: Embedding,
    *,
    temperature: float = 0.5,
    base_temperature: float | None = None,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """NT-Xent, Equation 1 divided by its 2N anchors: an anchor's keys are the 2N−1 other embeddings of the batch.

    Args:
        z1, z2: [batch, dim], row i of both showing image i; any scale.
        temperature, base_temperature, gather: see `info_nce`.

    Returns:
        A number []; log(2N − 1) for embeddings that tell nothing.

    Raises:
        ValueError: τ or the base temperature is not positive, or the shapes differ.
    """
    return multi_view_nt_xent((z1, z2), temperature=temperature, base_temperature=base_temperature, gather=gather)


def viewmaker_loss(
    z1: Embedding,
    z2: Embedding,
    *,
    temperature: float = 0.5,
    base_temperature: float | None = None,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """The loss of Viewmaker's authors: mean_i −z1_i·z2_i/τ + log Σ_a exp(z1_i·z_a/τ) − log 2N.

    Anchors are view 1 alone; the keys a are all 2N embeddings of the batch, the anchor itself included.

    Args:
        z1, z2: [batch, dim], row i of both showing image i; any scale.
        temperature, base_temperature, gather: see `info_nce`.

    Raises:
        ValueError: τ or the base temperature is not positive, or the shapes differ.
    """
    scale = scale_of(temperature, base_temperature)
    check_batches((z1, z2))
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = unit_vectors(z1), unit_vectors(z2)
        positive = (z1 * z2).sum(1).mean() / temperature
        keys = torch.cat([z1, z2])
        if gather and is_distributed():
            keys = torch.cat([gather_with_gradient(z1), gather_with_gradient(z2)])
        denominator = log_denominator_against(z1, keys, temperature=temperature)
        return scale * (denominator - math.log(len(keys)) - positive)


def alignment(
    anchors: Sequence[Embedding], appended: Sequence[Embedding], *, temperature: float = 0.5, alpha: float = 0.5
) -> Float[Tensor, ""]:
    """L_align of A2 (Equation 4), to be subtracted from a contrastive loss: α/τ · mean_i 1/|k| Σ_{p∈k(i)} z_i·z_p.

    The mean runs over the anchors given: with z1 alone (`align_anchors: [0]`, the authors' CIFAR-10 code) it is
    (α/τ)·mean z1·zp, not half of it. Gradients flow into both sides; nothing is contrasted, so nothing is gathered.

    Args:
        anchors: the contrasted views to align, one or more of [batch, dim].
        appended: the |k| appended views, one or more of [batch, dim]; row i shows the anchors' image i.
        temperature: τ > 0.
        alpha: α ≥ 0.

    Returns:
        A number [] in ±α/τ.

    Raises:
        ValueError: τ is not positive, α is negative, a side is empty, or the shapes differ.
    """
    if not anchors or not appended:
        raise ValueError("alignment needs at least one anchor and one appended view")
    check_batches((*anchors, *appended))
    _check_temperature(temperature, None)
    if not alpha >= 0:
        raise ValueError(f"loss.alpha={alpha} must be at least 0 (the paper uses 0.5)")
    with torch.autocast(anchors[0].device.type, enabled=False):
        anchor = torch.stack([unit_vectors(view) for view in anchors]).mean(0)
        generated = torch.stack([unit_vectors(view) for view in appended]).mean(0)
        return (alpha / temperature) * (anchor * generated).sum(1).mean()
