"""W-mix: the anchor's codes in the coarse layers, those of a random latent in the fine ones.

Style mixing (Karras et al., 2019) between an inverted image and a sample: one forward pass a view, no search.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.generator.protocol import LatentGenerator


@dataclass(frozen=True)
class Mixing:
    """W-mix: keeps the first `split` of the anchor's codes [batch, codes, dim], takes the others from a random latent.

    See `move_codes`.

    Attributes:
        split: codes (layers, from the coarsest) that stay the anchor's. The strength of the view: all of them give the
            reconstruction, 0 an image that has nothing to do with the anchor.
        strength: how far the others go from the anchor's to those of the random latent, 0 to 1.
    """

    split: int
    strength: float = 1.0

    purpose = "mix"

    def draw(
        self, generator: LatentGenerator, count: int, shape: torch.Size, rng: torch.Generator
    ) -> Float[Tensor, "count dim"]:
        """Latents z of the generator's own distribution.

        Raises:
            ValueError: `split` exceeds the number of codes.
        """
        if not 0 <= self.split <= shape[0]:
            raise ValueError(f"view.split={self.split}: the generator has {shape[0]} codes, allowed is 0 to {shape[0]}")
        return generator.sample_latents(count, rng)

    def apply(
        self, generator: LatentGenerator, codes: Float[Tensor, "batch codes dim"], drawn: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch codes dim"]:
        """Coarse codes of the anchor, fine ones of the mapped latent; truncation comes later and for all alike."""
        sampled = generator.map(drawn)[:, None].expand(-1, codes.shape[1] - self.split, -1)
        if self.strength < 1:
            sampled = torch.lerp(codes[:, self.split :], sampled, self.strength)
        return torch.cat([codes[:, : self.split], sampled], dim=1)
