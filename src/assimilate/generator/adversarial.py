"""The adversarial losses of StyleGAN2 and their two lazy regularisers."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from assimilate.generator.ranks import ALONE, Ranks


def discriminator_loss(real: Float[Tensor, " batch"], fake: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Logistic loss of the discriminator's logits: mean softplus(−D(real)) + mean softplus(D(fake))."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def non_saturating_loss(fake: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Loss of the network that made the fakes: mean softplus(−D(fake))."""
    return functional.softplus(-fake).mean()


def r1_penalty(
    discriminator: Callable[[Tensor], Tensor], images: Float[Tensor, "batch 3 size size"]
) -> Float[Tensor, ""]:
    """Mean squared norm of ∂D/∂x at real images (Mescheder et al. 2018), differentiable in D's parameters."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def path_lengths(
    images: Float[Tensor, "batch 3 size size"],
    codes: Float[Tensor, "batch codes dim"],
    noise: Float[Tensor, "batch 3 size size"],
) -> Float[Tensor, " batch"]:
    """Length of Jᵀy for y = ``noise``/√(size²), per image: root of the mean over codes of the squared norm over dim.

    ``images`` must depend on ``codes`` in the graph; the result is differentiable (StyleGAN2, Eq. 4).
    """
    projected = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(projected, codes, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(
    lengths: Float[Tensor, " batch"], running_mean: Float[Tensor, ""], decay: float, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the mean squared deviation of the lengths from their running mean, and that mean, moved by ``decay``.

    As in the reference the mean moves first and its share of this batch's gradient is kept. It is the mean over all
    ``ranks``, and the gradient through it is shared among them.
    """
    moved = running_mean + decay * (ranks.mean(lengths.mean()) - running_mean)
    return (lengths - moved).square().mean(), moved.detach()
