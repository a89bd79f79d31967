"""The Fréchet distance against its closed form in float64."""

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image import fid

from assimilate.data.images import ImageArrays
from assimilate.encoder.encoder import Encoder, EncoderSpec, PixelFeatures
from assimilate.generator import frechet
from assimilate.generator.architecture import Architecture
from assimilate.generator.frechet import FeatureSpace, FrechetDistance, inception_space
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator

TINY = Architecture(image_size=8, latent_dim=6, num_mapping_layers=2, channels=(8, 8))


class Projection(nn.Module):
    """A few fixed linear features of the pixels, in float64."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.register_buffer("weight", torch.randn(3 * 8 * 8, dim, generator=draw, dtype=torch.float64) / 50)

    def forward(self, images: Tensor) -> Tensor:
        return images.double().flatten(1) @ self.weight


def closed_form(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) of the Gaussians fitted to two samples, by scipy's matrix root."""
    means, covariances = zip(*((values.mean(axis=0), np.cov(values.T)) for values in (first, second)), strict=True)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    return ImageArrays(np.random.default_rng(0).integers(0, 256, size=(150, 3, 8, 8), dtype=np.uint8), None)


@pytest.fixture(scope="module")
def state() -> GeneratorState:
    torch.manual_seed(0)
    network = Generator(TINY).requires_grad_(False)
    return GeneratorState(TINY, network, mean_latent(network, seed=0))


def test_equals_the_closed_form_on_the_images_that_it_draws(images: ImageArrays, state: GeneratorState) -> None:
    space = FeatureSpace("projection", Projection(7), 7)
    distance = FrechetDistance(space, images, num_images=200, seed=0, device="cpu")
    generated = torch.cat(list(distance._generate(state)))
    assert generated.dtype == torch.uint8
    assert len(generated) == 200
    assert float(generated.double().std()) > 10
    expected = closed_form(space.network(torch.from_numpy(images.images)).numpy(), space.network(generated).numpy())
    assert distance(state) == pytest.approx(expected, rel=1e-9)
    # Real features are kept, generated ones are not.
    assert distance(state) == pytest.approx(expected, rel=1e-9)


def test_known_gaussians() -> None:
    """Axis-parallel Gaussians: Σ (μ − μ')² + (σ − σ')², written out."""
    draw = np.random.default_rng(1)
    # Whitened exactly, so that means and covariances are what they are meant to be.
    samples = []
    for shift, scale in (
        (np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])),
        (np.zeros(3), np.array([2.0, 2, 0.5])),
    ):
        raw = draw.standard_normal((500, 3))
        raw -= raw.mean(axis=0)
        raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
        samples.append(raw * scale + shift)
    metric = fid.FrechetInceptionDistance(
        feature=frechet._OnHost(FeatureSpace("as it is", nn.Flatten(), 3), torch.device("cpu")), sync_on_compute=False
    )
    for sample, real in zip(samples, (True, False), strict=True):
        metric.update(torch.from_numpy(sample), real=real)
    expected = (1 + 4) + (1 + 0 + 2.5**2)
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-9)


def test_real_images_that_are_a_part_and_the_same_every_time(images: ImageArrays, state: GeneratorState) -> None:
    space = FeatureSpace("projection", Projection(4), 4)
    first, again, other = (FrechetDistance(space, images, num_images=80, seed=seed, device="cpu") for seed in (0, 0, 1))
    assert (first.num_real, first.num_generated) == (80, 80)
    assert first(state) == again(state)
    assert first(state) != other(state)
    assert first.label == "projection; 80 generated, untruncated, against 80 real; seed 0"
    with pytest.raises(ValueError, match=r"generator\.frechet_images=1"):
        FrechetDistance(space, images, num_images=1, seed=0, device="cpu")


def test_global_random_state_is_not_moved(images: ImageArrays, state: GeneratorState) -> None:
    before = torch.get_rng_state()
    FrechetDistance(FeatureSpace("p", Projection(4), 4), images, num_images=70, seed=0, device="cpu")(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_an_encoder() -> None:
    encoder = Encoder.from_spec(EncoderSpec(width=4, hidden_dim=8, output_dim=8)).eval()
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    features = PixelFeatures(encoder, mean=mean, std=std).eval()(pixels)
    assert features.shape == (5, encoder.feature_dim)
    normalised = torch.stack([(pixels[:, c] / 255 - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(features, encoder.features(normalised), rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in features.tolist()}) == 5


def test_inception_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(**_: object) -> None:
        raise ModuleNotFoundError("torch-fidelity")

    def no_network(**_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(frechet, "NoTrainInceptionV3", no_package)
    with pytest.raises(ValueError, match=r"generator\.frechet=inception needs .*torch-fidelity.*frechet=encoder"):
        inception_space()
    monkeypatch.setattr(frechet, "NoTrainInceptionV3", no_network)
    with pytest.raises(ValueError, match=r"generator\.frechet=inception: the weights cannot be had \(no route\)"):
        inception_space()
