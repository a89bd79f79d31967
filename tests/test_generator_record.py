"""The generator's stage: its augmentations, what it records while it trains, and a training that is not finite."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assimilate import prepare_data, train_generator
from assimilate.data.transform import make_transform
from assimilate.encoder.checkpoint import save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.errors import UserError
from assimilate.generator import making
from assimilate.generator import steps as steps_module
from assimilate.generator.checkpoint import load_stylegan2
from assimilate.generator.diffaugment import DiffAugment
from assimilate.jobs import children

pytestmark = pytest.mark.xdist_group("generator")

SMOKE = ["budget=smoke", "trainer=cpu", "trainer.num_threads=1"]
RECORDS = ["generator.sample_every=7", "generator.save_every_images=112", "generator.frechet=encoder"]
RECORDS += ["generator.frechet_every=5", "generator.frechet_images=32"]


def train(out: Path, *overrides: str) -> int:
    return train_generator.main([*SMOKE, f"out={out}", *overrides])


def the_generator(out: Path) -> Path:
    (folder,) = [path for path in out.glob("artifacts/generators/digits/*") if path.is_dir()]
    return folder


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    assert prepare_data.main([*SMOKE, f"out={out}"]) == 0
    return out


@pytest.fixture
def out(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def recorded(prepared, tmp_path_factory):
    """A generator whose training was recorded."""
    out = tmp_path_factory.mktemp("recorded") / "out"
    shutil.copytree(prepared, out)
    assert train(out, *RECORDS) == 0
    return the_generator(out)


@pytest.fixture(scope="module")
def unrecorded(prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("unrecorded") / "out"
    shutil.copytree(prepared, out)
    assert train(out) == 0
    return the_generator(out)


# ------------------------------------------------------------------------------------------------ records


def test_records_do_not_move_the_generator(recorded, unrecorded):
    assert recorded.name == unrecorded.name
    assert (recorded / "generator.pt").read_bytes() == (unrecorded / "generator.pt").read_bytes()
    assert manifest(recorded)["digest"] == manifest(unrecorded)["digest"]


def test_files_of_a_recorded_training(recorded):
    names = {path.relative_to(recorded).as_posix() for path in recorded.rglob("*") if path.is_file()}
    # Steps of 16 images: 7 steps are 112; the last step is the 12th.
    assert names == {"manifest.json", "generator.pt", "history.csv", "frechet.csv", "snapshots/112.pt"} | {
        "samples/0000007.png",
        "samples/0000012.png",
    }


def test_what_a_kill_left_half_written_is_no_part_of_it(out, recorded):
    staging = out / "artifacts" / "generators" / "digits" / f"{recorded.name}.partial"
    for name in (".training.pt.new", ".frechet.csv.new", "failure.txt", "samples/.7.png.new", "snapshots/.16.pt.new"):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text("half")
    assert train(out, *RECORDS) == 0
    built = the_generator(out)
    assert manifest(built)["files"].keys() == manifest(recorded)["files"].keys()
    assert manifest(built)["digest"] == manifest(recorded)["digest"]
    left = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    assert left == {"manifest.json", *manifest(recorded)["files"]}


def test_samples_are_truncated_images_of_fixed_latents(recorded):
    state = load_stylegan2(recorded / "snapshots" / "112.pt")
    assert state.step == 7
    from assimilate.data.seeding import generator as seeded

    network = state.generator_ema
    latents = torch.randn(64, state.architecture.latent_dim, generator=seeded(0, "samples"))
    with torch.no_grad():
        codes = state.latent_mean + 0.7 * (network.map(latents) - state.latent_mean)
        images = network.synthesize(codes[:, None].repeat(1, state.architecture.num_codes, 1), network.fixed_noise())
    expected = np.rint((images.clamp(-1, 1).numpy().astype(np.float64) + 1) * 127.5)
    with Image.open(recorded / "samples" / "0000007.png") as picture:
        pixels = np.asarray(picture).astype(np.float64)
    # 8 × 8 pictures of 16 pixels, gaps of 2, everything four times as large.
    assert pixels.shape == (4 * (8 * 18 - 2), 4 * (8 * 18 - 2), 4)
    for index in range(64):
        top, left = 4 * 18 * (index // 8), 4 * 18 * (index % 8)
        cell = pixels[top : top + 64 : 4, left : left + 64 : 4, :3]
        assert np.abs(cell - expected[index].transpose(1, 2, 0)).max() <= 1


def test_curve_is_in_the_file_and_in_the_manifest_with_its_label(recorded):
    with (recorded / "frechet.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["images"]) for row in rows] == [("5", "80"), ("10", "160"), ("12", "192")]
    facts = manifest(recorded)["facts"]["frechet"]
    assert [point["frechet"] for point in facts] == [float(row["frechet"]) for row in rows]
    for row in rows:
        assert row["space"] == "random resnet18 of width 8, untrained, weights of seed 0"
        assert (row["generated"], row["real"], row["seed"]) == ("32", "32", "0")
        assert 0 < float(row["frechet"]) < 1e4


def test_terminal_names_the_feature_space(out, tmp_path, capsys):
    spec = EncoderSpec(width=4, hidden_dim=8, output_dim=8)
    save_encoder(
        tmp_path / "f.pt", spec, Encoder.from_spec(spec).state_dict(), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    measured = ["generator.frechet=encoder", "generator.frechet_images=20"]
    assert train(out, *measured, f"generator.frechet_encoder={tmp_path / 'f.pt'}") == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"Fréchet distance [\d.e+]+ after 12 steps \(backbone of f\.pt \(resnet18, sha256 [0-9a-f]{12}\); "
        r"20 generated, untruncated, against 20 real; seed 0\)",
        shown,
    )
    # It is there now: nothing would be measured, and that is said.
    assert train(out, *measured) == 0
    assert "force=true" in capsys.readouterr().out
    assert train(out, *measured, "force=true") == 0
    (point,) = manifest(the_generator(out))["facts"]["frechet"]
    assert point["space"].startswith("random resnet18 of width 8")


def test_what_cannot_be_measured_is_one_line(out, capsys):
    assert train(out, "generator.frechet=encoder", f"generator.frechet_encoder={out}/none.pt") == 2
    error = capsys.readouterr().err
    assert re.search(r"generator\.frechet_encoder=.*none\.pt: there is no such file", error)
    assert error.count("\n") == 1


def test_snapshot_can_be_brought_as_a_generator(recorded, out):
    snapshot = recorded / "snapshots" / "112.pt"
    content = torch.load(snapshot, weights_only=False)
    assert {"g", "d", "g_ema", "g_optim", "d_optim", "args", "ada_aug_p"} <= content.keys()
    assert train(out, f"generator.checkpoint={snapshot}") == 0
    imported = load_stylegan2(the_generator(out) / "generator.pt").generator_ema.state_dict()
    assert all(torch.equal(imported[name], value) for name, value in content["g_ema"].items())


# ------------------------------------------------------------------------------------------------ augmentation


class Stopped(BaseException):  # what a command does not turn into an exit code
    pass


@pytest.mark.parametrize("augment", ["none", "leak", "diffaugment"])
def test_augmentation_of_the_training(out, monkeypatch, augment):
    given = {}

    def note(images, **options):
        given.update(options)
        raise Stopped

    monkeypatch.setattr(making, "train_stylegan2", note)
    with pytest.raises(Stopped):
        train(out, f"generator.augment={augment}", "data.expert.grayscale_probability=0.3")
    expert = make_transform("expert", 16, flip=0.0, expert={"grayscale_probability": 0.3})
    assert given["augmentation"] == (expert if augment == "leak" else None)
    assert given["settings"].augmentation_probability == 0.5
    assert given["diffaugment"] == (DiffAugment() if augment == "diffaugment" else None)


def test_augmented_generators_are_generators_of_their_own(out, unrecorded):
    for augment in ("leak", "diffaugment"):
        assert train(out, f"generator.augment={augment}") == 0
    plain = load_stylegan2(unrecorded / "generator.pt").generator_ema.input.input
    made = [path for path in out.glob("artifacts/generators/digits/*") if path.is_dir()]
    contents = {manifest(path)["content"].get("augment", "none"): manifest(path)["content"] for path in made}
    assert contents.keys() == {"leak", "diffaugment"}
    assert contents["leak"]["expert"]["grayscale_probability"] == 0.2
    assert "expert" not in contents["diffaugment"]
    weights = [plain, *(load_stylegan2(path / "generator.pt").generator_ema.input.input for path in made)]
    for index in range(3):
        assert not torch.equal(weights[index], weights[index - 1])


# ------------------------------------------------------------------------------------------------ ranks


def test_ranks_that_cannot_share_a_batch_are_refused_before_they_start(out, capsys):
    assert train(out, "trainer.devices=8", "generator.batch_size=16") == 2
    error = capsys.readouterr().err
    assert re.search(r"generator\.batch_size=16 is global: trainer\.devices=8 .* a multiple of 32", error)
    assert error.count("\n") == 1


def test_what_a_rank_says_is_the_last_word(out, monkeypatch, capsys):
    def failed():
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    def fail(command, environment):
        assert [Path(word).name for word in command[3:]] == [f"{children.JOB}.0", f"{children.JOB}.1"]
        (the_generator(out) / "failure.txt").write_text("generator.lr=3: training is not finite")
        return failed()

    monkeypatch.setattr(children, "start_child", fail)
    assert train(out, "trainer.devices=2") == 2
    error = capsys.readouterr().err
    assert re.search(r"generator\.lr=3: training is not finite \(generators/.* on 2 ranks\)", error)
    assert error.count("\n") == 1
    monkeypatch.setattr(children, "start_child", lambda command, environment: failed())
    assert train(out, "trainer.devices=2") == 2
    assert "a rank failed while training" in capsys.readouterr().err


def test_more_ranks_than_gpus_are_refused():
    with pytest.raises(UserError, match=r"trainer\.devices=2, but there is 1 GPU"):
        children.check_gpus(2, device="cuda", num_gpus=1)
    children.check_gpus(1, device="cuda", num_gpus=1)
    children.check_gpus(2, device="cpu", num_gpus=0)


# ------------------------------------------------------------------------------------------------ not finite


def test_planted_nan_keeps_the_last_good_state_and_the_same_command_goes_on(out, recorded, monkeypatch, capsys):
    original, calls = steps_module.non_saturating_loss, []

    def planted(fake):
        calls.append(1)
        return original(fake) * (float("nan") if len(calls) == 11 else 1.0)

    monkeypatch.setattr(steps_module, "non_saturating_loss", planted)
    checkpoints = "generator.checkpoint_every=4"
    assert train(out, *RECORDS, checkpoints) == 2
    error = capsys.readouterr().err
    assert re.search(r"generator\.lr=0\.01: training is not finite by step 12 \(.*generator loss.*kept in", error)
    assert error.count("\n") == 1
    partial = the_generator(out)
    assert partial.name.endswith(".partial")
    kept = load_stylegan2(partial / "training.pt")
    assert kept.step == 8
    assert all(torch.isfinite(value).all() for value in kept.generator_ema.state_dict().values())
    monkeypatch.setattr(steps_module, "non_saturating_loss", original)
    assert train(out, *RECORDS, checkpoints) == 0
    resumed, whole = (load_stylegan2(folder / "generator.pt") for folder in (the_generator(out), recorded))
    for name in ("generator", "discriminator", "generator_ema"):
        mine, other = getattr(resumed, name).state_dict(), getattr(whole, name).state_dict()
        assert all(torch.equal(mine[key], other[key]) for key in other), name
    # Points that were measured again are in the curve once.
    assert (the_generator(out) / "frechet.csv").read_text() == (recorded / "frechet.csv").read_text()


def test_a_smaller_rate_starts_anew(out, capsys):
    assert train(out, "generator.lr=1e30") == 2
    assert re.search(
        r"generator\.lr=1e\+30: training is not finite.*a lower generator\.lr.* starts anew", capsys.readouterr().err
    )
    assert train(out, "generator.lr=0.001") == 0
    (made,) = [path for path in out.glob("artifacts/generators/digits/*") if (path / "generator.pt").is_file()]
    assert manifest(made)["content"]["lr"] == 0.001
