"""Adam for adversarial training, with the rates that lazy regularisation asks for (PROTOCOLS 4)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.generator.ranks import ALONE, Ranks


def lazy_adam(network: nn.Module, lr: float, every: int) -> torch.optim.Adam:
    """Adam (0, .99) for a network that takes one more, regularising step in ``every``.

    With c = every/(every+1) the rate is lr·c and the second beta .99^c.
    """
    ratio = every / (every + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * ratio, betas=(0.0, 0.99**ratio), fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], ranks: Ranks = ALONE) -> None:
    """Take one step down the gradient of the mean of ``loss`` over ``ranks``.

    Gradients are zeroed, not dropped: a loss that misses a parameter still lets its Adam state decay.
    """
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    ranks.average_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])
    optimizer.step()
