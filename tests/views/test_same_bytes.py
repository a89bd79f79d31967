"""The bytes of a cache, whatever batches its images come in (DESIGN §5), with the networks that views are made with."""

import numpy as np
import pytest
import torch

from assimilate.data.row_writer import CHECKSUMS, DONE, RowWriter
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.embedding import FrozenEmbedding, to_pixels
from assimilate.views.moves import Mixing, Perturbation
from assimilate.views.rays import RayEngine, RaySettings
from assimilate.views.search import SearchEngine
from assimilate.views.synthesis import synthesize_views
from assimilate.views.tuned import TunedEngine, TunedMove
from tests.views.test_search import settings

COUNT, VIEWS = 15, 2  # more than there are slots, and no multiple of 7
FIELDS = {
    "distances": ((COUNT, VIEWS), "<f4"),
    "distances_original": ((COUNT, VIEWS), "<f4"),
    "steps": ((COUNT,), "<i4"),
}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    generator = TruncatedStyleGAN2(
        Generator(Architecture(8, 16, 2, stylegan2_channels(8, max_channels=8))), torch.zeros(16)
    )
    encoder = Encoder.from_spec(EncoderSpec(width=4, hidden_dim=16, output_dim=8))
    embedding = FrozenEmbedding(encoder, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    latents = torch.randn(COUNT, generator.num_codes, 16)
    return generator, embedding, latents.numpy(), to_pixels(generator.synthesize(latents)).numpy()


def cache(folder, batch, make, fields):
    """Files of a cache that is filled `batch` images at a time, the last of them first."""
    with RowWriter(folder, (COUNT, VIEWS, 3, 8, 8), fields) as writer:
        for begin in range(0, COUNT, batch)[::-1]:
            make(list(range(COUNT))[begin : begin + batch], writer.write)
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def gradient(generator, embedding):
    wanted = settings(width=4, num_views=VIEWS, epsilon1=0.05, lr=0.05, iterations=3, tolerance_relative=0.3)
    return SearchEngine(generator, embedding, wanted)


def rays(generator, embedding):
    wanted = RaySettings(epsilon1=0.05, epsilon2=0.2, num_views=VIEWS, candidates=3, width=6, calibration=3, passes=6)
    return RayEngine(generator, embedding, wanted)


def mixed(generator, embedding):
    wanted = TunedMove(epsilon1=0.05, num_views=VIEWS, width=6, calibration=2, move=Mixing(2), most=1.0)
    return TunedEngine(generator, embedding, wanted)


def search(networks, solver, indices, write):
    generator, embedding, latents, images = networks

    def emit(found):
        fields = {name: getattr(found, name).numpy() for name in ("distances", "distances_original")}
        write(found.index, found.images.numpy(), **fields, steps=np.int32(found.steps))

    solver(generator, embedding).run(latents, images, indices, emit)


@pytest.mark.parametrize("solver", [gradient, rays, mixed])
def test_a_search_in_batches_of_any_size(networks, tmp_path, solver):
    caches = [
        cache(tmp_path / str(batch), batch, lambda indices, write: search(networks, solver, indices, write), FIELDS)
        for batch in (64, 7, 1)
    ]
    assert caches[0].keys() == {"images.npy", DONE, CHECKSUMS, *(f"{name}.npy" for name in FIELDS)}
    assert len(set(np.load(tmp_path / "64" / "steps.npy").tolist())) > 1
    assert caches[0] == caches[1] == caches[2]


@pytest.mark.parametrize("move", [Perturbation(0.3), Perturbation(0.3, projected=True), Mixing(2)])
def test_views_of_one_pass_in_batches_of_any_size(networks, tmp_path, move):
    generator, _, latents, _ = networks

    def make(indices, write):
        synthesize_views(
            generator, latents, indices, move, lambda index, views: write(index, views.numpy()),
            num_views=VIEWS, batch=16, seed=1,
        )  # fmt: skip

    caches = [cache(tmp_path / str(batch), batch, make, {}) for batch in (64, 7, 1)]
    assert caches[0] == caches[1] == caches[2]
