"""What the inversion will need is read before the generator is trained, not after."""

from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate import analyze, invert, make_views, train_generator
from assimilate.artifacts.chain import build_chain
from assimilate.data.dataset import Images
from assimilate.encoder.checkpoint import save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.errors import UserError
from assimilate.inversion.encoder import InversionEncoder, InversionEncoderSpec, save_inversion_encoder
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe
from tests.chain_run import artifacts, run

FACTS = Images(fingerprint="0" * 12, num_train=128, labelled=True, has_test=True, mean=(0.5,) * 3, std=(0.2,) * 3)
DIGITS = ["view=wperturb", "loss=ntxent", "logger=none"]


def refused_before_training(out: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The error of making views, which has to come before a generator is trained."""
    assert run(make_views, *DIGITS, *overrides, f"out={out}") == 2
    assert not artifacts(out, "generators")
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_latents_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = f"inversion.latents={tmp_path}/w.npy"
    latents = np.zeros((128, 6, 32), np.float32)  # 16²: 6 codes; budget=smoke: 32 numbers each
    latents[5, 0, 0] = np.nan
    np.save(tmp_path / "w.npy", latents)
    assert "the latents of image 5 are not finite" in refused_before_training(tmp_path / "out", capsys, given)
    latents[5, 0, 0] = 1e30
    np.save(tmp_path / "w.npy", latents)
    assert "the latents of image 5 reach 1e+30" in refused_before_training(tmp_path / "out", capsys, given)
    np.save(tmp_path / "w.npy", latents[:100])
    error = refused_before_training(tmp_path / "out", capsys, given)
    assert "holds float32 [100, 6, 32]; needed is float32 [128, 6, 32]" in error
    (tmp_path / "w.npy").write_bytes(b"hello")
    assert "cannot be read as an array" in refused_before_training(tmp_path / "out", capsys, given)


def test_an_encoder_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = f"inversion.checkpoint={tmp_path}/e.pt"
    (tmp_path / "e.pt").write_bytes(b"<html>")
    assert "not a readable checkpoint" in refused_before_training(tmp_path / "out", capsys, given)
    for content, word in (([1, 2], "a list"), (torch.ones(3), "a Tensor"), ("text", "a str"), (None, "a NoneType")):
        torch.save(content, tmp_path / "e.pt")
        error = refused_before_training(tmp_path / "out", capsys, given)
        assert f"inversion.checkpoint={tmp_path}/e.pt: holds {word}; needed is a dict" in error
        assert "key e" in error
    spec = InversionEncoderSpec(image_size=16, num_codes=6, latent_dim=31, channels=(4, 4, 4))
    save_inversion_encoder(tmp_path / "e.pt", InversionEncoder(spec))
    error = refused_before_training(tmp_path / "out", capsys, given)
    assert "gives 186 numbers an image, but the generator takes 6 codes of 32" in error


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "is not finite"), (1e30, "holds 1e+30, which is no weight")]
)
def test_an_f_that_gives_no_distances(tmp_path: Path, capsys, value: float, message: str) -> None:
    """Once it was searched with, after generator and inversion, and the views' search was blamed."""
    spec = EncoderSpec(width=4, hidden_dim=8, output_dim=8)
    state = Encoder.from_spec(spec).state_dict()
    state["backbone.layer1.0.conv1.weight"][0] = value
    save_encoder(tmp_path / "f.pt", spec, state, mean=(0.5,) * 3, std=(0.25,) * 3)
    given = [f"view.encoder.checkpoint={tmp_path}/f.pt", "view=wsearch", "view.epsilon1=0.2"]
    error = refused_before_training(tmp_path / "out", capsys, *given)
    assert f"view.encoder.checkpoint: {tmp_path}/f.pt: state_dict: backbone.layer1.0.conv1.weight {message}" in error


def test_perceptual_weights_that_cannot_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    error = refused_before_training(tmp_path / "out", capsys, "inversion.perceptual=vgg19")
    assert "inversion.perceptual=vgg19: the weights cannot be had (no route to host)" in error
    # Whoever wants a generator alone needs none of it.
    assert run(train_generator, *DIGITS, "inversion.perceptual=vgg19", f"out={tmp_path}/out") == 0


def test_what_a_generator_of_unknown_latents_cannot_tell_is_left_for_later(tmp_path: Path) -> None:
    spec = InversionEncoderSpec(image_size=16, num_codes=2, latent_dim=7, channels=(4, 4, 4))
    save_inversion_encoder(tmp_path / "e.pt", InversionEncoder(spec))
    np.save(tmp_path / "w.npy", np.zeros((128, 2, 7), np.float32))

    def look(num_train: int, *given: str) -> None:
        words = [*DIGITS, "generator._target_=a.B", *given]
        images = FACTS.model_copy(update={"num_train": num_train})
        Recipe(make_job("train", compose(words), words).config, images).latents.foresee(at=None)

    look(128, f"inversion.checkpoint={tmp_path}/e.pt", "inversion.perceptual=none")
    look(128, f"inversion.latents={tmp_path}/w.npy")
    with pytest.raises(ValueError, match=r"needed is float32 \[127, any, any\]"):
        look(127, f"inversion.latents={tmp_path}/w.npy")


def test_images_too_small_for_vgg19_are_refused_when_the_chain_is_made(tmp_path: Path) -> None:
    def chain_of(*overrides: str) -> None:
        words = [*DIGITS, "dataset.image_size=8", *overrides]
        build_chain(make_job("train", compose(words), words).config, tmp_path, FACTS)

    with pytest.raises(UserError, match=r"^inversion\.perceptual=vgg19 .*dataset\.image_size=8 cannot be used.*16"):
        chain_of("inversion.perceptual=vgg19")
    chain_of("inversion.perceptual=vgg19", "dataset.image_size=16")
    chain_of("inversion.perceptual=discriminator")
    np.save(tmp_path / "w.npy", np.zeros((128, 4, 32), np.float32))
    chain_of(f"inversion.latents={tmp_path}/w.npy")  # brought latents need no network


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (make_views, [*DIGITS, "shard=1/2"]),
        (invert, [*DIGITS, "shard=1/2"]),
        (analyze, ["analysis=distances", "analysis.views=[wperturb]"]),
    ],
)
def test_a_part_and_a_figure_look_ahead_too(stage, words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no encoder")
    given = f"inversion.checkpoint={tmp_path}/bad.pt"
    assert run(stage, given, *words, f"out={tmp_path / 'out'}") == 2
    assert not artifacts(tmp_path / "out", "generators")
    assert "bad.pt" in capsys.readouterr().err
