"""Directions in W+ along which a ray leaves its anchor."""

from abc import abstractmethod
from math import inf
from typing import TYPE_CHECKING

from assimilate.graph.settings import Settings

if TYPE_CHECKING:  # settings are declared without torch
    import torch
    from jaxtyping import Float
    from torch import Tensor

    Codes = Float[Tensor, "codes dim"]
    Samples = Float[Tensor, "samples dim"]


class Direction(Settings):
    """How the direction of a ray is drawn; its length has no meaning."""

    @abstractmethod
    def draw(self, codes: "Codes", mapped: "Samples", rng: "torch.Generator") -> "Codes":
        """One direction [codes, dim].

        Args:
            codes: of the anchor, [codes, dim], before truncation.
            mapped: codes to which the generator maps random latents, [samples, dim].
            rng: source of the draw; all of these are on the CPU.
        """


class Isotropic(Direction, word="isotropic"):
    """Any direction of W+ alike, a code a layer."""

    def draw(self, codes: "Codes", mapped: "Samples", rng: "torch.Generator") -> "Codes":
        """Gaussian noise."""
        return codes.new_empty(codes.shape).normal_(generator=rng)


class OneForAllLayers(Direction, word="shared"):
    """Any direction of W alike, the same in all layers."""

    def draw(self, codes: "Codes", mapped: "Samples", rng: "torch.Generator") -> "Codes":
        """Gaussian noise, once."""
        return codes.new_empty(codes.shape[1:]).normal_(generator=rng).expand_as(codes)


class Toward(Direction, word="toward"):
    """From the anchor's codes to those of a random latent: at the end of this line lies a sample of the generator."""

    def draw(self, codes: "Codes", mapped: "Samples", rng: "torch.Generator") -> "Codes":
        """One of the mapped codes, seen from the anchor."""
        (chosen,) = _chosen(mapped, 1, rng)
        return mapped[chosen] - codes


class Difference(Direction, word="difference"):
    """From the code of one random latent to that of another, the same in all layers."""

    def draw(self, codes: "Codes", mapped: "Samples", rng: "torch.Generator") -> "Codes":
        """Between two of the mapped codes."""
        first, second = _chosen(mapped, 2, rng)
        return (mapped[second] - mapped[first]).expand_as(codes)


def _chosen(mapped: "Tensor", count: int, rng: "torch.Generator") -> list[int]:
    """Distinct rows: those of the smallest of as many draws as there are rows, in their order."""
    draws = mapped.new_empty(len(mapped)).uniform_(generator=rng)
    found = []
    for _ in range(count):  # a sort of all of them takes longer than a forward pass of a small network
        found.append(int(draws.argmin()))
        draws[found[-1]] = inf
    return found
