"""Latents that the user brings: what fits, and one error for each thing that does not."""

from pathlib import Path

import numpy as np
import pytest

from assimilate.inversion import making
from assimilate.inversion.making import read_given_latents

SHAPE = {"num_images": 7, "num_codes": 2, "latent_dim": 3}
LATENTS = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)


def test_what_fits_comes_back_whether_the_generator_is_known_or_not(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", LATENTS)
    assert np.array_equal(read_given_latents(tmp_path / "w.npy", **SHAPE), LATENTS)
    unknown = read_given_latents(tmp_path / "w.npy", num_images=7, num_codes=None, latent_dim=None)
    assert np.array_equal(unknown, LATENTS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("image", [0, 3, 6])
def test_values_that_are_not_finite_are_refused_wherever_they_are(
    image: int, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_BLOCK", 2)
    broken = LATENTS.copy()
    broken[image, 1, 0] = value
    np.save(tmp_path / "w.npy", broken)
    with pytest.raises(ValueError, match=rf"^inversion\.latents=.*w\.npy: the latents of image {image} are not finite"):
        read_given_latents(tmp_path / "w.npy", **SHAPE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (LATENTS[:6], r"holds float32 \[6, 2, 3\]; needed is float32 \[7, 2, 3\]"),
        (LATENTS[:, :1], r"holds float32 \[7, 1, 3\]"),
        (LATENTS[..., :2], r"holds float32 \[7, 2, 2\]"),
        (LATENTS[:, 0], r"holds float32 \[7, 3\]"),
        (LATENTS.astype(np.float64), r"holds float64 \[7, 2, 3\]"),
    ],
)
def test_another_shape_or_type_is_refused(given: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", given)
    with pytest.raises(ValueError, match=message):
        read_given_latents(tmp_path / "w.npy", **SHAPE)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04 torn"])
def test_files_that_are_no_array_are_one_readable_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"^inversion\.latents=.*w\.npy cannot be read as an array") as caught:
        read_given_latents(tmp_path / "w.npy", **SHAPE)
    assert "\n" not in str(caught.value)


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=LATENTS)
    with pytest.raises(ValueError, match=r"holds several arrays"):
        read_given_latents(tmp_path / "w.npz", **SHAPE)
