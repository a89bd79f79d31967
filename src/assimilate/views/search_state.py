"""What W-search remembers of the anchors in flight: latents, moments and step counts of each."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


@dataclass
class SearchState:
    """The slots: latents, the optimiser's moments and step counts."""

    latents: Tensor  # [slots, views, codes, dim]
    first: Tensor
    second: Tensor
    anchors: Tensor  # [slots, dim]
    origins: Tensor  # [slots, all codes, dim], whose image the anchor is; NaN where it is another image
    adam_steps: Tensor  # [slots], Adam's t
    slot_steps: list[int]

    @classmethod
    def empty(
        cls, shape: tuple[int, ...], num_codes: int, dim: int, device: torch.device, dtype: torch.dtype
    ) -> "SearchState":
        """Slots that hold nothing yet; `shape` is [slots, views, codes, latent dim], `dim` that of the embedding."""
        zeros = partial(torch.zeros, device=device, dtype=dtype)
        return cls(
            latents=zeros(shape),
            first=zeros(shape),
            second=zeros(shape),
            anchors=zeros((shape[0], dim)),
            origins=zeros((shape[0], num_codes, shape[3])),
            adam_steps=zeros(shape[0]),
            slot_steps=[0] * shape[0],
        )

    def fill(self, slot: int, start: Tensor, anchor: Tensor, origin: Tensor) -> None:
        """Give a slot to another anchor: its start, and fresh moments and counts."""
        self.latents[slot] = start
        self.first[slot] = 0
        self.second[slot] = 0
        self.anchors[slot] = anchor
        self.origins[slot] = origin
        self.adam_steps[slot] = 0
        self.slot_steps[slot] = 0

    def at_anchor(self) -> Bool[Tensor, "slots views"]:
        """Which views have the codes of their anchor, up to rounding: f sees both as one, whatever it measures."""
        return torch.isclose(self.latents, self.origins[:, None], rtol=1e-6).flatten(2).all(dim=2)

    def adam(self, gradient: Tensor, lr: float) -> None:
        """One step of Adam (Kingma & Ba)."""
        beta1, beta2 = ADAM_BETAS
        self.adam_steps += 1
        self.first = torch.lerp(gradient, self.first, beta1)
        self.second = torch.lerp(gradient.square(), self.second, beta2)
        steps = self.adam_steps[:, None, None, None]
        first, second = self.first / (1 - beta1**steps), self.second / (1 - beta2**steps)
        # With stop=anchor, gradients are those of a sum over anchors: unlike the reference's, which are those of a mean
        # over a batch, they are not so small that 1e-8 damps the step.
        self.latents = self.latents - lr * first / (second.sqrt() + ADAM_EPSILON)

    def sgd(self, gradient: Tensor, lr: float) -> None:
        """One step without momentum."""
        self.latents = self.latents - lr * gradient
