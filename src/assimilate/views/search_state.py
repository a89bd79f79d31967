"""What W-search remembers of the anchors in flight: latents, moments and step counts of each."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


@dataclass
class SearchState:
    """The slots: latents, the optimiser's moments, and a step count for every view and every slot."""

    latents: Tensor  # [slots, views, codes, dim]
    first: Tensor
    second: Tensor
    view_steps: Tensor  # [slots, views], Adam's t
    anchors: Tensor  # [slots, dim]
    slot_steps: list[int]

    @classmethod
    def empty(cls, shape: tuple[int, ...], dim: int, device: torch.device, dtype: torch.dtype) -> "SearchState":
        """Slots that hold nothing yet; `shape` is [slots, views, codes, dim]."""
        zeros = partial(torch.zeros, device=device, dtype=dtype)
        return cls(
            latents=zeros(shape),
            first=zeros(shape),
            second=zeros(shape),
            view_steps=zeros(shape[:2]),
            anchors=zeros((shape[0], dim)),
            slot_steps=[0] * shape[0],
        )

    def fill(self, slot: int, start: Tensor, anchor: Tensor) -> None:
        """Give a slot to another anchor: its start, and fresh moments and counts."""
        self.latents[slot] = start
        self.first[slot] = 0
        self.second[slot] = 0
        self.view_steps[slot] = 0
        self.anchors[slot] = anchor
        self.slot_steps[slot] = 0

    def adam(self, gradient: Tensor, moving: Tensor, lr: float) -> None:
        """One step of Adam (Kingma & Ba) for the views that move; the others keep moments and count."""
        beta1, beta2 = ADAM_BETAS
        mask = moving[:, :, None, None]
        self.view_steps += moving
        self.first = torch.where(mask, torch.lerp(gradient, self.first, beta1), self.first)
        self.second = torch.where(mask, torch.lerp(gradient.square(), self.second, beta2), self.second)
        steps = self.view_steps.clamp_min(1)[:, :, None, None]
        first, second = self.first / (1 - beta1**steps), self.second / (1 - beta2**steps)
        self.latents = torch.where(mask, self.latents - lr * first / (second.sqrt() + ADAM_EPSILON), self.latents)
