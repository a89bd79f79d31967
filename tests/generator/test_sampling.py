"""A data set that a generator makes: what it depends on, what it does not, and what an interruption costs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_bigbigan import toy_bigbigan

from assimilate.data.row_writer import DONE, RowWriter
from assimilate.data.seeding import generator as seeded
from assimilate.generator.sampling import SamplingSettings, sample_images
from assimilate.generator.truncated import TruncatedBigBiGAN

sys.path.insert(0, str(Path(__file__).parents[1] / "inversion"))

from toy_generator import LinearGenerator, tiny_stylegan2


def sample(folder: Path, count: int, *, generator=None, tile: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = generator or TruncatedBigBiGAN(toy_bigbigan(), latent_limit=2.0)
    size, fields = generator.image_size, {"latents": ((count, generator.num_codes, generator.latent_dim), "<f4")}
    with RowWriter(folder, (count, 3, size, size), fields, flush_every=tile) as writer:
        sample_images(generator, writer.write, writer.pending(), SamplingSettings(tile, seed))
    return np.load(folder / "images.npy"), np.load(folder / "latents.npy")


def test_an_image_is_a_function_of_seed_and_index(tmp_path: Path) -> None:
    images, codes = sample(tmp_path / "ten", 10)
    fewer, fewer_codes = sample(tmp_path / "seven", 7)
    assert images.shape == (10, 3, 16, 16)
    assert images.dtype == np.uint8
    assert codes.shape == (10, 1, 15)
    assert codes.dtype == np.float32
    assert np.array_equal(images[:7], fewer)
    assert np.array_equal(codes[:7], fewer_codes)
    other, _ = sample(tmp_path / "other", 10, seed=1)
    assert all((one != two).any() for one, two in zip(images, other, strict=True))
    assert len(np.unique(images.reshape(10, -1), axis=0)) == 10


def test_images_show_their_codes(tmp_path: Path) -> None:
    network = toy_bigbigan()
    images, codes = sample(tmp_path / "x", 6, generator=TruncatedBigBiGAN(network, truncation=0.5))
    expected = [torch.randn(15, generator=seeded(0, "sampled image", index)) for index in range(6)]
    np.testing.assert_array_equal(codes[:, 0], torch.stack(expected).numpy())
    with torch.no_grad():
        made = network.double()(0.5 * torch.stack(expected).double())
    # Half a grey level of rounding, and float32.
    assert float(np.abs(images - (made.numpy() + 1) * 127.5).max()) <= 0.5 + 1e-3


@pytest.mark.parametrize("generator", [LinearGenerator(), tiny_stylegan2()], ids=["linear", "stylegan2"])
def test_any_latent_generator_will_do(tmp_path: Path, generator) -> None:
    images, codes = sample(tmp_path / "x", 5, generator=generator)
    assert images.shape == (5, 3, 8, 8)
    assert codes.shape == (5, generator.num_codes, generator.latent_dim)
    assert np.array_equal(codes[:, 0], codes[:, -1])  # one code for all layers
    with torch.no_grad():
        latents = generator.sample_latents(1, seeded(0, "sampled image", 3))
        torch.testing.assert_close(torch.from_numpy(codes[3, 0]), generator.map(latents)[0], rtol=1e-5, atol=1e-6)


class Breaking(TruncatedBigBiGAN):
    """Fails at the third tile from now on."""

    tiles = 0

    def synthesize(self, codes: Tensor) -> Tensor:
        self.tiles += 1
        if self.tiles == 3:
            raise KeyboardInterrupt
        return super().synthesize(codes)


def test_an_interruption_costs_what_was_not_flushed(tmp_path: Path) -> None:
    whole, codes = sample(tmp_path / "whole", 18)
    with pytest.raises(KeyboardInterrupt):
        sample(tmp_path / "cut", 18, generator=Breaking(toy_bigbigan(), latent_limit=2.0))
    assert np.load(tmp_path / "cut" / DONE).tolist() == [1] * 8 + [0] * 10
    # What was not promised may be anything.
    torn = np.load(tmp_path / "cut" / "images.npy", mmap_mode="r+")
    torn[8:] = 77
    torn.flush()
    again = Breaking(toy_bigbigan(), latent_limit=2.0)
    again.tiles = 3
    images, codes_again = sample(tmp_path / "cut", 18, generator=again)
    assert again.tiles == 3 + 3  # two tiles of five were there
    assert np.array_equal(images, whole)
    assert np.array_equal(codes_again, codes)


def test_what_is_asked_for_is_made_and_nothing_else(tmp_path: Path) -> None:
    """Any images, in any order, in tiles of any size: the same codes, and the same images to a grey level."""
    whole, codes = sample(tmp_path / "whole", 18)
    generator = TruncatedBigBiGAN(toy_bigbigan(), latent_limit=2.0)
    for tile in (4, 7):
        written, seen = {}, []
        sample_images(
            generator,
            lambda index, image, *, latents, written=written: written.update({index: (image, latents)}),
            [17, 3, 5, 4],
            SamplingSettings(tile, 0),
            progress=lambda done, total, _, seen=seen: seen.append((done, total)),
        )
        assert sorted(written) == [3, 4, 5, 17]
        assert (seen[0], seen[-1]) == ((0, 4), (4, 4))
        for index, (image, latents) in written.items():
            assert np.array_equal(latents, codes[index])
            difference = np.abs(image.astype(int) - whole[index])
            assert difference.max() <= (0 if tile == 4 else 1)


def test_images_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = toy_bigbigan()
    with torch.no_grad():
        network.linear.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="images 0…3 are not finite"):
        sample(tmp_path / "x", 6, generator=TruncatedBigBiGAN(network))
