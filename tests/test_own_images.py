"""The whole chain on a folder of one's own images, and what is said of folders that cannot be used."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from assimilate import make_views, train, train_generator
from assimilate.errors import UserError
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.chain_run import artifacts, results, run


@pytest.fixture
def pictures(tmp_path):
    """Two classes of colour pictures in several formats and shapes."""
    rng = np.random.default_rng(0)
    for label, colour in {"red": (200, 40, 40), "blue": (40, 40, 200)}.items():
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for index in range(30):
            noise = rng.normal(0, 25, (24 + index, 40, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            suffix = ("png", "jpg", "webp", "bmp")[index % 4]
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{index:03d}.{suffix}")
    return tmp_path / "pictures"


def own(pictures, out):
    return [
        "dataset=folder",
        f"dataset.root={pictures}",
        "dataset.image_size=8",
        "recipe=narrow",
        "batch_size=16",
        f"out={out}",
    ]


def test_own_images_run_the_whole_chain(pictures, tmp_path):
    assert run(train, *own(pictures, tmp_path / "out")) == 0
    (path,) = results(tmp_path / "out")
    result = json.loads(path.read_text())
    assert result["dataset"] == "pictures"
    assert result["metrics"]["acc1"]["n"] == 5
    assert any("split" in note or "held" in note for note in result["data_notes"])


def test_unlabelled_images_train_and_skip_the_probes(pictures, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    assert run(train, *own(flat, tmp_path / "out"), "assim=simclr", "batch_size=8") == 0
    assert "probes skipped: no labels" in capsys.readouterr().out
    (path,) = results(tmp_path / "out")
    assert json.loads(path.read_text())["metrics"] == {}


def test_a_plan_has_no_probes_where_nothing_will_be_probed(pictures, tmp_path, capsys):
    for folder, word, probed in (
        (pictures, "dataset.test_fraction=0.2", True),
        (pictures, "dataset.test_fraction=0", False),
        (pictures / "red", "dataset.test_fraction=0.2", False),
    ):
        assert run(train, *own(folder, tmp_path / "out"), word, "prepare=plan") == 0
        told = capsys.readouterr().out
        assert ("probes/" in told, "floors/" in told) == (probed, probed), told


def test_all_images_may_be_for_training(pictures, tmp_path, capsys):
    words = [*own(pictures, tmp_path / "out"), "assim=simclr", "dataset.test_fraction=0"]
    assert run(train, *words) == 0
    assert "probes skipped: no test images" in capsys.readouterr().out
    (path,) = results(tmp_path / "out")
    assert json.loads(path.read_text())["metrics"] == {}
    assert run(train, *words, "objective=acc1") == 2
    assert "no test images" in capsys.readouterr().err


@pytest.mark.parametrize(("objective", "why"), [("acc1", "has no labels"), ("knn5_train", "does not have")])
def test_nothing_to_search_by_is_said_before_anything_is_trained(objective, why, pictures, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    words = [*own(flat, tmp_path / "out"), "assim=simclr", "batch_size=8", f"objective={objective}"]
    assert run(train, *words) == 2
    error = capsys.readouterr().err
    assert f"objective={objective} " in error
    assert why in error
    assert not (tmp_path / "out/artifacts/encoders").exists()


def test_other_images_under_the_same_name_do_not_replace_a_result(pictures, tmp_path, capsys):
    command = [*own(pictures, tmp_path / "out"), "assim=simclr"]
    assert run(train, *command) == 0
    (path,) = results(tmp_path / "out")
    before = path.read_text()
    next(pictures.rglob("*.png")).unlink()
    assert run(train, *command) == 2
    assert "holds the result of other content" in capsys.readouterr().err
    assert path.read_text() == before
    assert run(train, *command, "force=true") == 0
    assert path.read_text() != before


def test_another_normalisation_is_another_encoder(pictures, tmp_path):
    out = tmp_path / "out"
    assert run(train, *own(pictures, out), "assim=simclr") == 0
    assert run(train, *own(pictures, out), "assim=simclr", "dataset.mean=[.1,.1,.1]", "dataset.std=[.9,.9,.9]") == 0
    assert len(artifacts(out, "encoders")) == 2


def break_image(pictures):
    (pictures / "red" / "broken.png").write_bytes(b"not a picture")
    (pictures / "blue" / "cut.jpg").write_bytes((pictures / "blue" / "001.jpg").read_bytes()[:200])


def empty_class(pictures):
    (pictures / "green").mkdir()


def empty_root(pictures):
    shutil.rmtree(pictures)
    pictures.mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (break_image, r"broken\.png"),
        (empty_class, "green"),
        (empty_root, "dataset.root"),
        (shutil.rmtree, "dataset.root"),
    ],
)
def test_bad_folders_are_one_error_and_leave_nothing_broken(pictures, tmp_path, capsys, harm, message):
    harm(pictures)
    out = tmp_path / "out"
    assert run(train, *own(pictures, out)) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not list(out.rglob("manifest.json"))


def test_a_batch_that_the_images_cannot_fill_is_refused_before_anything_is_trained(pictures, tmp_path, capsys):
    assert run(train, *own(pictures, tmp_path / "out"), "batch_size=64") == 2
    error = capsys.readouterr().err
    assert "batch_size=64 exceeds the 48 training images and drop_last=true" in error
    assert not artifacts(tmp_path / "out", "generators")
    for stage, prepare in ((train, "plan"), (train, "only"), (make_views, "plan")):
        assert run(stage, *own(pictures, tmp_path / "out"), "batch_size=64", f"prepare={prepare}") == 2
        assert "batch_size=64 exceeds the 48 training images" in capsys.readouterr().err
    # A generator is trained in batches of its own.
    assert run(train_generator, *own(pictures, tmp_path / "out"), "batch_size=64") == 0


def test_all_unreadable_images_are_named_at_once(pictures, tmp_path, capsys):
    break_image(pictures)
    assert run(train, *own(pictures, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "cut.jpg" in error


def test_a_share_to_hold_out_is_refused_where_the_folder_has_its_own_test_images(pictures, tmp_path):
    split = tmp_path / "split"
    shutil.copytree(pictures, split / "train")
    words = [*own(split, tmp_path / "out"), "assim=simclr"]
    share = "dataset.test_fraction=0.3"

    def job(*given):
        return make_job("train", compose([*words, *given]), [*words, *given])

    assert job(share).config["dataset"]["test_fraction"] == 0.3
    shutil.copytree(pictures, split / "Val")
    said = f"dataset.test_fraction would be ignored: {split / 'Val'} holds the test images, so none are held out"
    with pytest.raises(UserError) as refused:
        job(share)
    assert str(refused.value) == said
    assert job().config["dataset"]["test_fraction"] == 0.2
    shutil.rmtree(split)
    assert job(share).config["dataset"]["test_fraction"] == 0.3  # where no images are yet
