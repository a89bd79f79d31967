"""Every bad input of a data set or a loss: one error in one line, exit code 2, nothing half-made left behind."""

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from assimilate import prepare_data, train
from assimilate.data import cifar, tinyimagenet
from assimilate.jobs.session import Session
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent / "data"))

from stand_ins import cifar_files, md5, pack_tar, pack_zip, tinyimagenet_files, write_tree

CIFAR = ["dataset=cifar10", "dataset.download=false"]
TINY = ["dataset=tinyimagenet", "dataset.download=false"]
ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"


@pytest.fixture
def smaller(monkeypatch):
    """Stand-ins of 20 + 6 (CIFAR) and 12 + 6 images (TinyImageNet) count as genuine."""
    monkeypatch.setattr(cifar, "_NUM_TRAIN", 20)
    monkeypatch.setattr(cifar, "_NUM_TEST", 6)
    for name, value in {"_NUM_CLASSES": 3, "_TRAIN_OF_CLASS": 4, "_NUM_VAL": 6}.items():
        monkeypatch.setattr(tinyimagenet, name, value)

    def believe(files):
        for name in ("train_list", "test_list"):
            monkeypatch.setattr(CIFAR10, name, [[file, md5(files[file])] for file, _ in getattr(CIFAR10, name)])
        monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(files["batches.meta"])})

    return believe


def refused(capsys, stage, overrides, message, out) -> None:
    assert stage.main(["trainer=cpu", *overrides, f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1, error
    assert not list(out.rglob("manifest.json")) or "batch_size" in error
    assert not list(out.rglob("metrics.json"))


def archive_of_something_else(root: Path) -> None:
    pack_tar(root / ARCHIVE, "holiday", {"photo.jpg": b"x"})


def archive_that_is_no_archive(root: Path) -> None:
    root.mkdir()
    (root / ARCHIVE).write_bytes(b"<html>404</html>")


def batches_that_are_something_else(root: Path) -> None:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
    write_tree(root / FOLDER, dict.fromkeys(names, pickle.dumps({"accounts": 3})))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (archive_of_something_else, r"is not the genuine cifar10 \(data_batch_1: missing"),
        (archive_that_is_no_archive, r"is a damaged archive"),
        (batches_that_are_something_else, r"is not the genuine cifar10 \(data_batch_1: damaged"),
        (lambda root: None, r"cifar10 is not below dataset\.root="),
    ],
)
def test_a_wrong_cifar_archive(tmp_path, capsys, make, message):
    make(tmp_path / "root")
    refused(capsys, prepare_data, [*CIFAR, f"dataset.root={tmp_path / 'root'}"], message, tmp_path / "out")


def test_a_wrong_number_of_images(tmp_path, capsys, smaller):
    files = cifar_files("cifar10", 15, 6)[0]
    smaller(files)
    write_tree(tmp_path / "root" / FOLDER, files)
    message = "dataset.root=.* holds 15 training images and 15 labels instead of 20"
    refused(capsys, prepare_data, [*CIFAR, f"dataset.root={tmp_path / 'root'}"], message, tmp_path / "out")


def another_class(text: str) -> str:
    return text.replace("n02206856", "n00000001")


def another_image(text: str) -> str:
    return text.replace("val_3.JPEG", "val_33.JPEG")


def one_line_less(text: str) -> str:
    return "\n".join(text.splitlines()[:-1])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_class, r"2 differences: line 3: class n00000001 is not in wnids\.txt; line 6"),
        (another_image, r"there is no val/images/val_33\.JPEG"),
        (one_line_less, r"val_5\.JPEG has no line"),
    ],
)
def test_labels_that_do_not_match(tmp_path, capsys, smaller, change, message, packed):
    files = tinyimagenet_files()
    files["val/val_annotations.txt"] = change(files["val/val_annotations.txt"].decode()).encode()
    root = tmp_path / "root"
    if packed:
        pack_zip(root / "tiny-imagenet-200.zip", "tiny-imagenet-200", files)
    else:
        write_tree(root / "tiny-imagenet-200", files)
    refused(capsys, prepare_data, [*TINY, f"dataset.root={root}"], message, tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.alpha=-0.1"], r"loss\.alpha=-0\.1 cannot be used: allowed is a number ≥ 0"),
        (["loss.alpha=nan"], r"loss\.alpha=nan cannot be used"),
        (["loss.temperature=0"], r"loss\.temperature=0 cannot be used: allowed is a number > 0"),
        (["loss.temperature=-0.5"], r"loss\.temperature=-0\.5 cannot be used"),
        (["probe=moco"], r"probe=moco: there is no such option.*essl"),
        (["probe.name=moco"], r"probe\.name=moco cannot be used: allowed is essl"),
        (["assim=simclr", "batch_size=5000"], r"batch_size=5000 exceeds the 768 training images and drop_last=true"),
    ],
)
def test_values_that_no_run_can_use(tmp_path, capsys, overrides, message):
    refused(capsys, train, overrides, message, tmp_path / "out")
    assert not (tmp_path / "out" / "artifacts" / "encoders").exists()


@pytest.mark.parametrize(("size", "stem"), [(24, "cifar"), (96, "imagenet")])
def test_plain_simclr_takes_images_that_no_stylegan2_makes(size, stem, tmp_path):
    smoke = ["budget=smoke", "trainer=cpu", "trainer.num_threads=1", "logger=none", f"encoder.stem={stem}"]
    overrides = ["assim=simclr", f"dataset.image_size={size}", "epochs=1", "optimizer.warmup_epochs=0"]
    assert train.main([*smoke, *overrides, f"out={tmp_path}/out"]) == 0
    (images,) = (tmp_path / "out").rglob("train_images.npy")
    assert np.load(images, mmap_mode="r").shape[1:] == (3, size, size)
    assert list(tmp_path.rglob("metrics.json"))


# ------------------------------------------------------------------------------------------------ the plan's count


def test_a_plan_counts_the_images_that_are_there(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(6):
            pixels = np.full((8, 8, 3), 20 * index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{index}.png")
    overrides = ["dataset=folder", f"dataset.root={tmp_path / 'images'}", "dataset.image_size=8", f"out={tmp_path}/out"]
    job = make_job("train", compose(overrides), overrides)
    planned = Session(job, prepare="plan")
    assert planned.num_train == Recipe(job.config).dataset.count() == 10  # one of six is held out
    session = Session(job)
    session.ensure(session.data)
    assert session.num_train == len(session.dataset.train) == 10
    limited = make_job("train", compose([*overrides, "dataset.max_train_images=7"]), [])
    assert Recipe(limited.config).dataset.count() == 7


@pytest.mark.parametrize(
    ("dataset", "count"), [("digits", 768), ("cifar10", 50_000), ("cifar100", 50_000), ("tinyimagenet", 100_000)]
)
def test_known_data_sets_are_known(dataset, count):
    job = make_job("train", compose([f"dataset={dataset}"]), [])
    assert Recipe(job.config).dataset.count() == count


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("stage", [prepare_data, train])
def test_a_gpu_that_is_not_there_is_missed_before_the_images_are_prepared(tmp_path, capsys, stage):
    assert stage.main(["trainer=gpu", "budget=smoke", "assim=simclr", f"out={tmp_path}"]) == 2
    assert "trainer=gpu, but torch sees no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize(("hidden", "machine"), [(None, "a GPU"), ("", "this CPU"), ("-1", "this CPU"), ("1", "a GPU")])
def test_a_plan_asks_which_gpus_are_visible(tmp_path, capsys, monkeypatch, hidden, machine):
    from assimilate.jobs import session

    driver = tmp_path / "version"
    driver.write_text("NVRM")
    monkeypatch.setattr(session, "DRIVER", driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert train.main(["assim=simclr", "prepare=plan", f"out={tmp_path}"]) == 0
    assert f"MB on {machine}" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["loop", "x" * 300], ids=["a link to itself", "a name that is too long"])
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["dataset=folder", "dataset.image_size=16", "assim=simclr"], "dataset."),
        (["dataset=digits", "view=external"], "view.path"),
        (["dataset=digits", "view=wsearch"], "view.encoder.checkpoint"),
        (["dataset=digits", "view=wsearch"], "generator.checkpoint"),
        (["dataset=digits", "view=wsearch"], "inversion.latents"),
    ],
)
def test_paths_that_lead_nowhere(tmp_path, capsys, path, words, key):
    (tmp_path / "loop").symlink_to("loop")
    out = tmp_path / "out"
    refused(capsys, train, [*words, "prepare=plan", f"{key}={tmp_path / path}"], re.escape(key), out)


@pytest.mark.parametrize("path", ["loop", "x" * 300], ids=["a link to itself", "a name that is too long"])
def test_an_out_that_leads_nowhere(tmp_path, capsys, path):
    (tmp_path / "loop").symlink_to("loop")
    assert train.main(["prepare=plan", f"out={tmp_path / path}"]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert error.count("\n") == 1
