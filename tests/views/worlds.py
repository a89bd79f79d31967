"""A generator and an encoder so simple that the right answer is known: both linear."""

import torch
from torch import Tensor, nn

from assimilate.views.embedding import FrozenEmbedding, to_pixels

SIZE = 8
CODES = 2
DIM = 5
COUNT = 21


class LinearGenerator(nn.Module):
    """Images that are linear in the codes and stay mostly inside [−1, 1]."""

    image_size, num_codes, latent_dim = SIZE, CODES, DIM

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("basis", 0.12 * torch.randn(CODES * DIM, 3 * SIZE * SIZE, generator=rng))
        self.register_buffer("offset", 0.1 * torch.randn(3 * SIZE * SIZE, generator=rng))
        self.register_buffer("latent_mean", torch.zeros(DIM))
        self.num_syntheses = 0

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, DIM, generator=rng)

    def map(self, latents: Tensor) -> Tensor:
        return latents

    def synthesize(self, codes: Tensor) -> Tensor:
        self.num_syntheses += len(codes)
        return (codes.flatten(1) @ self.basis + self.offset).view(-1, 3, SIZE, SIZE)


class LinearEncoder(nn.Module):
    """A fixed random projection of the pixels."""

    def __init__(self, dim: int = 8, seed: int = 1) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("projection", torch.randn(3 * SIZE * SIZE, dim, generator=rng))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.projection


def linear_embedding() -> FrozenEmbedding:
    return FrozenEmbedding(LinearEncoder(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def latents_and_images():
    """Of `COUNT` images that are a little beside their reconstructions."""
    rng = torch.Generator().manual_seed(7)
    latents = torch.randn(COUNT, CODES, DIM, generator=rng)
    images = to_pixels(LinearGenerator().synthesize(latents) + 0.02 * torch.randn(COUNT, 3, 8, 8, generator=rng))
    return latents.numpy(), images.numpy()


def solved(wanted, latents, images, indices=None):
    """The views of some images, by index, and the engine that found them."""
    engine = wanted.engine(LinearGenerator(), linear_embedding())
    chosen, found = list(range(COUNT)) if indices is None else list(indices), {}
    engine.run(latents, images, chosen, lambda views: found.__setitem__(views.index, views))
    assert sorted(found) == sorted(chosen)
    return found, engine
