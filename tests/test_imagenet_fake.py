"""dataset=imagenet_fake at toy size, through the commands: nothing is inverted, and probes are on other images."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate import invert, make_views, prepare_data, train
from assimilate.errors import UserError
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.fake_run import PROBED_ON_DIGITS, TOY, artifacts

sys.path.insert(0, str(Path(__file__).parent / "generator"))

from toy_bigbigan import toy_bigbigan

pytestmark = pytest.mark.xdist_group("imagenet_fake")


def test_the_latents_are_those_of_the_images(sampled_run: Path) -> None:
    (data,), (latents,) = artifacts(sampled_run, "datasets"), artifacts(sampled_run, "latents")
    codes = np.load(latents / "latents.npy")
    assert codes.shape == (128, 1, 15)
    assert codes.dtype == np.float32
    assert 1.5 < np.abs(codes).max() <= 2  # truncated at ±2
    assert (latents / "latents.npy").samefile(data / "latents.npy")
    with torch.no_grad():
        made = toy_bigbigan().double()(torch.from_numpy(codes[:, 0]).double()).numpy()
    images = np.load(data / "train_images.npy")
    assert images.shape == (128, 3, 16, 16)
    assert float(np.abs(images - (made + 1) * 127.5).max()) <= 0.5 + 1e-3
    assert {path.name for path in data.iterdir()} == {
        "manifest.json", "dataset.json", "train_images.npy", "latents.npy",
    }  # fmt: skip
    assert "known" in json.loads((data / "dataset.json").read_text())["notes"][0]


def test_views_lie_around_the_known_latents(sampled_run: Path) -> None:
    """From the definition: g(w + σ·noise), the noise truncated at ±2, drawn from (seed, image) alone."""
    from assimilate.data.seeding import generator as seeded
    from assimilate.generator.truncated_normal import truncated_normal

    (latents,) = artifacts(sampled_run, "latents")
    views = next(path for path in artifacts(sampled_run, "views") if path.name.startswith("wperturb"))
    content = json.loads((views / "manifest.json").read_text())["content"]
    assert (content["sigma"], content["noise_limit"], content["n_cached"]) == (0.2, 2, 2)
    codes, stored = np.load(latents / "latents.npy"), np.load(views / "images.npy")
    assert stored.shape == (128, 2, 3, 16, 16)
    for index in (0, 77, 127):
        noise = 0.2 * truncated_normal((2, 1, 15), 2.0, seeded(0, "perturb", index)).double()
        with torch.no_grad():
            made = toy_bigbigan().double()((torch.from_numpy(codes[index]).double() + noise)[:, 0]).numpy()
        assert float(np.abs(stored[index] - (made + 1) * 127.5).max()) <= 0.5 + 1e-3


def test_the_run_is_probed_on_the_other_data_set(sampled_run: Path) -> None:
    results = [json.loads(path.read_text()) for path in sampled_run.rglob("metrics.json")]
    (result,) = [result for result in results if "view=wperturb" in result["overrides"]]
    assert result["dataset"] == "imagenet_fake"
    assert result["metrics"]["acc1"]["n"] == 5
    assert "Probed on digits, not on the images of the training." in result["data_notes"]
    assert "GenRep" in result["protocols"]["acc1"]
    assert result["knn_curve"] == []  # the images of the training have no labels
    assert [path.name for path in artifacts(sampled_run, "datasets", "digits")] == [
        label.rpartition("/")[2] for label in result["artifacts"] if label.startswith("datasets/digits/")
    ]
    assert not artifacts(sampled_run, "calibrations")


def test_nothing_is_inverted_and_everything_reused(sampled_run: Path, bigbigan_file: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={bigbigan_file}", f"out={sampled_run}"]
    assert invert.main([*command, "view=wperturb"]) == 0
    assert "built:  nothing" in capsys.readouterr().out
    # W-search starts from the same latents.
    assert make_views.main([*command, "view=wsearch", "view.search.iterations=2", "epochs=1"]) == 0
    assert len(artifacts(sampled_run, "latents")) == len(artifacts(sampled_run, "datasets")) == 1
    assert len(artifacts(sampled_run, "views")) == 2


def test_simclr_trains_on_the_same_images(sampled_run: Path, bigbigan_file: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={bigbigan_file}", f"out={sampled_run}", "assim=simclr"]
    assert train.main([*command, "dataset.evaluation=null"]) == 0
    assert "probes skipped: no labels" in capsys.readouterr().out
    assert len(artifacts(sampled_run, "datasets")) == 1


def test_the_baseline_that_is_named_is_of_the_same_images(sampled_run: Path, bigbigan_file: Path, capsys) -> None:
    words = [*TOY, *PROBED_ON_DIGITS, "view=wperturb", f"generator.checkpoint={bigbigan_file}", f"out={sampled_run}"]
    assert train.main(words) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("baseline to compare with"))
    named = line.split()
    assert "assim=simclr" in named
    assert "view=wperturb" not in named
    own = [word for word in words if word.startswith(("dataset", "generator"))]
    assert [word for word in own if word not in named] == []


def test_another_checkpoint_makes_other_images(bigbigan_file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.pth"
    moved.write_bytes(bigbigan_file.read_bytes())
    torch.save(toy_bigbigan(seed=1).state_dict(), tmp_path / "other.pth")
    for path, count in ((bigbigan_file, 1), (moved, 1), (tmp_path / "other.pth", 2)):
        assert prepare_data.main([*TOY, f"generator.checkpoint={path}", f"out={tmp_path}/out"]) == 0
        assert len(artifacts(tmp_path / "out", "datasets")) == count
    assert prepare_data.main([*TOY, f"generator.checkpoint={bigbigan_file}", "generator.latent_limit=null",
                              f"out={tmp_path}/out"]) == 0  # fmt: skip
    assert len(artifacts(tmp_path / "out", "datasets")) == 3


# ------------------------------------------------------------------------------------------------ a kill


def test_table_4_settings_compose() -> None:
    job = make_job(
        "train", compose(["dataset=imagenet_fake", "view=wperturb"]), ["dataset=imagenet_fake", "view=wperturb"]
    )
    config = job.config
    assert (config["dataset"]["num_images"], config["dataset"]["image_size"]) == (1_300_000, 128)
    assert (config["generator"]["name"], config["generator"]["latent_limit"]) == ("bigbigan", 2.0)
    assert (config["generator"]["latent_width"], config["generator"]["truncation"]) == (120, 1.0)
    assert (config["view"]["sigma"], config["view"]["noise_limit"]) == (0.2, 2.0)
    assert (config["encoder"]["backbone"], config["encoder"]["stem"]) == ("resnet50", "imagenet")
    assert (config["data"]["crop_size"], config["epochs"], config["loss"]["temperature"]) == (112, 20, 0.1)
    assert (config["probe"]["name"], config["dataset"]["evaluation"]["name"]) == ("genrep", "imagenet")
    assert "inversion" not in job.identity
    assert "generator" in job.identity["images"]


def test_simclr_on_sampled_images_depends_on_the_generator() -> None:
    words = ["dataset=imagenet_fake", "assim=simclr"]
    more = [*words, "generator.truncation=0.5"]
    identities = [make_job("train", compose(each), each).identity for each in (words, more)]
    assert identities[0] != identities[1]


def test_views_made_while_training_need_no_cache(sampled_run: Path, bigbigan_file: Path) -> None:
    views = artifacts(sampled_run, "views")
    words = [*TOY, *PROBED_ON_DIGITS, "view=wperturb", "view.cached=false", "assim=a1", "loss=ntxent"]
    assert train.main([*words, f"generator.checkpoint={bigbigan_file}", f"out={sampled_run}"]) == 0
    assert artifacts(sampled_run, "views") == views
    (encoder,) = (path for path in artifacts(sampled_run, "encoders") if path.name.startswith("a1-wperturb"))
    view = json.loads((encoder / "manifest.json").read_text())["content"]["view"]
    assert (view["sigma"], view["noise_limit"], view["truncation"]) == (0.2, 2, 1)


def test_known_latents_have_no_shards(sampled_run: Path, bigbigan_file: Path, tmp_path: Path, capsys) -> None:
    command = [*TOY, "view=wperturb", f"generator.checkpoint={bigbigan_file}", f"out={tmp_path}/out", "shard=1/2"]
    assert invert.main(command) == 2
    assert "shard=1/2: the latents of dataset=imagenet_fake are known" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ bad input


def test_the_real_imagenet_is_asked_for_before_anything_is_trained(bigbigan_file: Path, tmp_path: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={bigbigan_file}", f"out={tmp_path}/out", "view=wperturb"]
    root = f"dataset.evaluation.root={tmp_path}/nowhere"
    assert train.main([*command, root]) == 2
    error = capsys.readouterr().err
    assert "dataset=imagenet_fake is probed on imagenet" in error
    assert "nowhere/train does not exist" in error
    assert "dataset.evaluation=null" in error
    assert error.count("\n") == 1
    assert not artifacts(tmp_path / "out", "encoders")
    # What needs no probe needs no ImageNet.
    assert make_views.main([*command, root]) == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "generator=bigbigan is not trained here: give generator.checkpoint="),
        (["generator=stylegan2"], "sampled from a generator that is trained already"),
        (["generator.checkpoint=/no/such"], "generator.checkpoint=/no/such: there is no such file"),
        (["generator.checkpoint=TOY", "dataset.image_size=32"], "makes images of 16×16, but dataset.image_size=32"),
        (
            ["generator.checkpoint=TOY", "generator.latent_width=120"],
            "latents have 15 numbers, but generator.latent_width=120",
        ),
        (["generator.checkpoint=EVIL"], "could run code"),
    ],
    ids=["none", "stylegan2", "missing", "size", "width", "code"],
)
def test_bad_checkpoints_are_one_line(overrides, message, bigbigan_file: Path, tmp_path: Path, capsys) -> None:
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    torch.save({"extra": Payload()}, tmp_path / "evil.pth")
    toy = [word for word in TOY if "=stylegan2" not in str(overrides) or "latent_width" not in word]
    words = [word.replace("TOY", str(bigbigan_file)).replace("EVIL", str(tmp_path / "evil.pth")) for word in overrides]
    assert prepare_data.main([*toy, *words, f"out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["view=wperturb", "inversion.num_steps=3"], r"inversion\.num_steps would be ignored.*latents are known"),
        (["view=wperturb", "view.cached=false", "view.batch=3"], r"view\.batch would be ignored"),
        (["generator.latent_limit=0"], r"generator\.latent_limit=0"),
        (["dataset.num_images=0"], r"dataset\.num_images=0"),
        (["view=wperturb", "view.projected=true"], r"view\.noise_limit=2\.0.*view\.projected=true"),
        (["view=wperturb", "data.crop_size=130"], r"assim\.generated_transform=flip.*128.*crop_size=130"),
    ],
)
def test_values_that_no_run_can_use(overrides, message) -> None:
    words = ["dataset=imagenet_fake", *overrides]
    with pytest.raises(UserError, match=message):
        make_job("train", compose(words), words)
