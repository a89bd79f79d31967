"""Preparing the large data sets through the command: stand-ins of their formats, and kills in the middle."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from assimilate import prepare_data
from tests.warm_process import WarmProcess

sys.path.insert(0, str(Path(__file__).parent / "data"))

from stand_ins import imagenet_files, pack_zip, tinyimagenet_files, write_tree

# What makes the stand-ins pass for the real sets, and slow enough to be killed in the middle.
SMALLER = (
    "import time, assimilate.data.tinyimagenet as t, assimilate.data.imagenet as i;"
    "import assimilate.data.bulk_decoding as b;"
    "t._NUM_CLASSES, t._TRAIN_OF_CLASS, t._NUM_VAL = 3, 12, 6; b.BLOCK = 2;"
    "slow = lambda decode: lambda *a: (time.sleep(.02), decode(*a))[1];"
    "t.decode_image, i.decode_image = slow(t.decode_image), slow(i.decode_image);"
)


def start(*overrides: str) -> WarmProcess:
    return WarmProcess("assimilate.prepare_data", ["trainer=cpu", *overrides], before=SMALLER)


def prepared(out: Path) -> list[Path]:
    return [path.parent for path in (out / "artifacts" / "datasets").rglob("dataset.json")]


@pytest.mark.parametrize("kind", ["tinyimagenet", "imagenet"])
def test_a_kill_while_preparing_then_the_same_command_completes(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    if kind == "tinyimagenet":
        pack_zip(root / "tiny-imagenet-200.zip", "tiny-imagenet-200", tinyimagenet_files(of_class=12))
        options = [f"dataset={kind}", f"dataset.root={root}", "dataset.download=false"]
    else:
        write_tree(root, imagenet_files(of_class=12))
        options = [f"dataset={kind}", f"dataset.root={root}", "dataset.image_size=16", "data.crop_size=null"]
    out = tmp_path / "out"
    for least in (1, 20):
        process = start(*options, f"out={out}")
        while True:
            maps = list((out / "artifacts").rglob(".train_images.done-*.npy"))
            if maps and np.count_nonzero(np.load(maps[0])) >= least:
                break
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not prepared(out) or prepared(out)[0].name.endswith(".partial")
        before = np.count_nonzero(np.load(maps[0]))
        assert least <= before < 36
    # A finished row is never written again.
    array = next((out / "artifacts").rglob("train_images.npy"))
    rows = np.load(array)[np.load(maps[0]) != 0]
    process = start(*options, f"out={out}")
    output = process.communicate()[0]
    assert process.returncode == 0, output
    (folder,) = prepared(out)
    images = np.load(folder / "train_images.npy")
    assert all(np.array_equal(row, image) for row, image in zip(rows, images, strict=False))
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "dataset.json", "train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy",
    } | ({"files.json"} if kind == "imagenet" else set())  # fmt: skip
    process = start(*options, f"out={tmp_path / 'uninterrupted'}")
    assert process.wait() == 0
    (other,) = prepared(tmp_path / "uninterrupted")
    digests = [json.loads((place / "manifest.json").read_text())["digest"] for place in (folder, other)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dataset=cifar10", "dataset.download=false"], "dataset.root="),
        (["dataset=tinyimagenet", "dataset.download=false"], "dataset.root="),
        (["dataset=tinyimagenet", "dataset.image_size=32"], "dataset.image_size=32 cannot be used: allowed is 64"),
        (["dataset=imagenet"], "dataset.root: "),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, capsys, options: list[str], message: str) -> None:
    assert prepare_data.main([*options, f"dataset.root={tmp_path}/nowhere", f"out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("assimilate.prepare_data: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").rglob("manifest.json"))
