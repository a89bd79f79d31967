"""The adversarial losses of StyleGAN2, their two lazy regularisers, and Adam with the rates that those ask for."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.files.plain_files import check_weights
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


def lazy_adam(network: nn.Module, lr: float, every: int) -> torch.optim.Adam:
    """Adam (0, .99) for a network that takes one more, regularising step in ``every``.

    With c = every/(every+1) the rate is lr·c and the second beta .99^c.
    """
    ratio = every / (every + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * ratio, betas=(0.0, 0.99**ratio), fused=True)


def continue_adam(optimizer: torch.optim.Adam, saved: Mapping[str, Any], *, origin: str) -> None:
    """Let ``optimizer`` go on from the state dict of another Adam: its moments, its steps, its rate and its betas.

    How the steps are computed (fused, …) stays the optimizer's own, so that a state of any version of torch will do.
    Raises ValueError, led by ``origin``, for what is no Adam's state, one of other parameters, or one whose rate, betas
    or steps no Adam can have.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        (group,) = saved["param_groups"]
        first, second = group["betas"]
        settings = {"lr": float(group["lr"]), "betas": (float(first), float(second)), "eps": float(group["eps"])}
        # Before its first step an Adam has no moments.
        places = group["params"] if saved["state"] else ()
        moments = [{key: saved["state"][place][key] for key in ("exp_avg", "exp_avg_sq")} for place in places]
        steps = [float(saved["state"][place]["step"]) for place in places]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{origin}: is no state of an Adam optimiser ({error!r})") from None
    _check_settings(settings, steps, origin=origin)
    if len(group["params"]) != len(parameters):
        raise ValueError(f"{origin}: has {len(group['params'])} parameters; needed are {len(parameters)}")
    for number, (each, parameter) in enumerate(zip(moments, parameters, strict=False)):
        for key, value in check_weights(each, origin=f"{origin}: parameter {number}").items():
            if value.shape != parameter.shape:
                raise ValueError(
                    f"{origin}: {key} of parameter {number} has shape {list(value.shape)}; needed is "
                    f"{list(parameter.shape)}"
                )
    content = optimizer.state_dict()
    content["param_groups"][0] |= settings
    # Copies: torch keeps the tensors that it is given, and steps in place.
    content["state"] = {
        number: {"step": torch.tensor(step)} | {key: value.clone() for key, value in each.items()}
        for number, (each, step) in enumerate(zip(moments, steps, strict=True))
    }
    optimizer.load_state_dict(content)


def _check_settings(settings: Mapping[str, Any], steps: Sequence[float], *, origin: str) -> None:
    lr, betas, eps = settings["lr"], settings["betas"], settings["eps"]
    for name, value, fits, allowed in (
        ("lr", lr, 0 <= lr < math.inf, "a finite number ≥ 0"),
        ("betas", betas, all(0 <= beta < 1 for beta in betas), "two numbers in [0, 1)"),
        ("eps", eps, 0 <= eps < math.inf, "a finite number ≥ 0"),
        ("step", next((s for s in steps if not 0 <= s < math.inf), 0.0), all(0 <= s < math.inf for s in steps), "≥ 0"),
    ):
        if not fits:
            raise ValueError(f"{origin}: {name}={value}; allowed is {allowed}")


def has_finite_moments(optimizer: torch.optim.Adam) -> bool:
    """Whether all moments are finite. Where the second is ∞, its parameter stands still for good, weights finite."""
    moments = (state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq"))
    return all(bool(torch.isfinite(moment).all()) for moment in moments)


def descend(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], ranks: Ranks = ALONE) -> None:
    """Take one step down the gradient of the mean of ``loss`` over ``ranks``.

    Gradients are zeroed, not dropped: a loss that misses a parameter still lets its Adam state decay.
    """
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    ranks.average_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])
    optimizer.step()
