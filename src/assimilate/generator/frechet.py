"""The Fréchet distance between real and generated images in a feature space that is named."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.error import URLError

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from assimilate.data.images import ImageArrays
from assimilate.data.order import fixed_subset
from assimilate.data.seeding import generator as seeded
from assimilate.generator.state import GeneratorState

# Fixed: what is drawn for an image depends on its batch.
_BATCH_SIZE = 64
_INCEPTION_FEATURES = 2048


@dataclass(frozen=True)
class FeatureSpace:
    """``network`` maps uint8 images [batch, 3, size, size] to ``dim`` features each; ``label`` says what it is."""

    label: str
    network: nn.Module
    dim: int


def inception_space() -> FeatureSpace:
    """Return the 2048 pooled features of the Inception-v3 on which published distances (FID) rest.

    Raises ValueError where its package is not installed or its weights cannot be had.
    """
    instead = "or set generator.frechet=encoder, which needs no download"
    try:
        network = NoTrainInceptionV3(name="inception-v3-compat", features_list=[str(_INCEPTION_FEATURES)])
    except ModuleNotFoundError:
        raise ValueError(
            f"generator.frechet=inception needs the package torch-fidelity (pip install torch-fidelity), {instead}"
        ) from None
    except (URLError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"generator.frechet=inception: the weights cannot be had ({error}); put them into "
            f"{torch.hub.get_dir()}/checkpoints, {instead}"
        ) from None
    return FeatureSpace("Inception-v3 (torch-fidelity), pool of 2048", network, _INCEPTION_FEATURES)


class FrechetDistance:
    """Measures a generator against ``images`` by |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) of features (Heusel et al. 2017).

    Real images are a fixed subset of at most ``num_images``, as they are stored. Generated ones are ``num_images`` of
    the moving average, without truncation and with noise of their own, rounded to 256 levels; what is drawn for them is
    a function of ``seed`` alone. Sums and the distance are in float64. With fewer images than features the distance is
    far from its limit: compare it only at equal numbers.
    """

    def __init__(
        self, space: FeatureSpace, images: ImageArrays, *, num_images: int, seed: int, device: torch.device | str
    ) -> None:
        self.device = torch.device(device)
        self.space = space
        self.seed = seed
        self.num_generated, self.num_real = num_images, min(num_images, len(images))
        if self.num_real < 2:
            raise ValueError(
                f"generator.frechet_images={num_images}, of {len(images)} training images: at least 2 are needed"
            )
        # One process measures while the others wait in a collective of their own: no synchronising here.
        self._metric = FrechetInceptionDistance(
            feature=_OnHost(space, self.device), reset_real_features=False, sync_on_compute=False
        )
        chosen = fixed_subset(len(images), self.num_real)
        for start in range(0, self.num_real, _BATCH_SIZE):
            self._update(torch.from_numpy(images.images[chosen[start : start + _BATCH_SIZE]]), real=True)

    @property
    def label(self) -> str:
        """What the number is: feature space, how many images, seed."""
        return (
            f"{self.space.label}; {self.num_generated} generated, untruncated, against {self.num_real} real; "
            f"seed {self.seed}"
        )

    @torch.no_grad()
    def __call__(self, state: GeneratorState) -> float:
        """Return the distance of the moving average of ``state``, which lives on the device already."""
        self._metric.reset()
        for generated in self._generate(state):
            self._update(generated, real=False)
        return float(self._metric.compute())

    def _generate(self, state: GeneratorState) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
        network, dim = state.generator_ema, state.architecture.latent_dim
        for start in range(0, self.num_generated, _BATCH_SIZE):
            count = min(_BATCH_SIZE, self.num_generated - start)
            # Drawn on the CPU: the same images on every device, to rounding.
            rng = seeded(self.seed, "frechet", start)
            codes = network.map(torch.randn(count, dim, generator=rng).to(self.device))
            noise = [values.to(self.device) for values in network.draw_noise(count, rng)]
            images = network.synthesize(codes[:, None].expand(-1, state.architecture.num_codes, -1), noise)
            yield ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    @torch.no_grad()
    def _update(self, images: UInt8[Tensor, "batch 3 size size"], *, real: bool) -> None:
        self._metric.update(images, real=real)


class _OnHost(nn.Module):
    """Features computed on the device and returned on the host in float64, where the sums are kept."""

    def __init__(self, space: FeatureSpace, device: torch.device) -> None:
        super().__init__()
        self.network = space.network.eval().requires_grad_(False).to(device)
        self.num_features = space.dim
        self.device = device

    def forward(self, images: UInt8[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        features = self.network(images.to(self.device)).flatten(1)
        return features.to("cpu", torch.float64)
