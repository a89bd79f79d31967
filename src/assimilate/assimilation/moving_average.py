"""A network that follows another as the moving average of its weights (MoCo's key encoder, BYOL's target)."""

import copy

import torch

from assimilate.encoder.encoder import Encoder


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
