"""A training that was interrupted, or whose checkpoint was harmed, ends with the bytes of one that was not."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assimilate.data.images import ImageArrays
from assimilate.files.plain_files import load_plain
from assimilate.generator.architecture import Architecture
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.training import train_stylegan2
from assimilate.graph.place import silent
from tests.test_flipped_bytes import flip

TINY = Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(8, 8))


GAN = TrainingSettings(
    num_steps=6, batch_size=4, r1_every=2, path_length_every=3, checkpoint_every=2, log_every=5, flip_probability=0.5
)


@pytest.fixture(scope="module")
def pictures() -> ImageArrays:
    return ImageArrays(np.random.default_rng(0).integers(0, 256, size=(10, 3, 8, 8), dtype=np.uint8), None)


class Killed(Exception):
    """What ends a training between its checkpoint at step 4 and the end of its first interval, step 5."""


def kill(step: int, total: int, values: object) -> None:
    if step == 5:
        raise Killed


def gan(pictures: ImageArrays, folder: Path, *, progress=silent, **changes: int) -> bytes:
    settings = replace(GAN, **changes)
    train_stylegan2(pictures, architecture=TINY, settings=settings, workdir=folder, seed=0, progress=progress)
    return (folder / "training.pt").read_bytes()


def test_a_generator_has_the_same_bytes_however_it_was_interrupted(pictures, tmp_path):
    whole = gan(pictures, tmp_path / "whole")
    with pytest.raises(Killed):
        gan(pictures, tmp_path / "cut", progress=kill)
    assert load_plain(tmp_path / "cut" / "training.pt")["args"].iter == 4
    assert gan(pictures, tmp_path / "cut") == whole
    assert gan(pictures, tmp_path / "rarely", checkpoint_every=100) == whole
    flip(tmp_path / "cut" / "training.pt", 5000)
    with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
        assert gan(pictures, tmp_path / "cut") == whole
    flip(tmp_path / "cut" / "training.pt", 5000)
    flip(tmp_path / "cut" / "training.previous.pt", 5000)
    with pytest.warns(UserWarning, match="the training starts again"):
        assert gan(pictures, tmp_path / "cut") == whole


def test_an_inversion_encoder_has_the_same_bytes_however_it_was_interrupted(pictures, tmp_path):
    sys.path.insert(0, str(Path(__file__).parent / "inversion"))
    from toy_generator import tiny_stylegan2

    from assimilate.inversion.perceptual import no_features
    from assimilate.inversion.settings import EncoderSettings
    from assimilate.inversion.training import TRAINING_CHECKPOINT, train_inversion_encoder

    def encoder(folder: Path, *, progress=silent, **changes: int) -> bytes:
        settings = EncoderSettings(num_steps=6, batch_size=4, lr=1e-3, checkpoint_every=2, log_every=5)
        settings = replace(settings, adversarial_weight=0.0, perceptual_weight=0.0, **changes)
        folder.mkdir(exist_ok=True)
        train_inversion_encoder(
            tiny_stylegan2(), pictures, channels=(8, 8), settings=settings, features=no_features, discriminator=None,
            workdir=folder, seed=0, progress=progress,
        )  # fmt: skip
        return (folder / TRAINING_CHECKPOINT).read_bytes()

    whole = encoder(tmp_path / "whole")
    with pytest.raises(Killed):
        encoder(tmp_path / "cut", progress=kill)
    assert encoder(tmp_path / "cut") == whole
    assert encoder(tmp_path / "rarely", checkpoint_every=100) == whole
    flip(tmp_path / "cut" / TRAINING_CHECKPOINT, 3000)
    with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
        assert encoder(tmp_path / "cut") == whole
