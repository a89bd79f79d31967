"""Adam for adversarial training, with the rates that lazy regularisation asks for (PROTOCOLS 4)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def lazy_adam(network: nn.Module, lr: float, every: int) -> torch.optim.Adam:
    """Adam (0, .99) for a network that takes one more, regularising step in ``every``.

    With c = every/(every+1) the rate is lr·c and the second beta .99^c.
    """
    ratio = every / (every + 1)
    return torch.optim.Adam(network.parameters(), lr=lr * ratio, betas=(0.0, 0.99**ratio), fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
    """Take one step down the gradient of ``loss``.

    Gradients are zeroed, not dropped: a loss that misses a parameter still lets its Adam state decay.
    """
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
