"""What stands beside a run's numbers: floors, and notes on what takes their meaning."""

import json

import numpy as np
import pytest
from PIL import Image

from assimilate import evaluate, report, train
from tests.chain_run import results, run

pytestmark = pytest.mark.xdist_group("chain")


def test_an_ordinary_run_has_floors_and_no_notes(chain):
    (path,) = results(chain)
    result = json.loads(path.read_text())
    assert result["notes"] == []
    (dataset,) = {file.parent for file in (chain / "artifacts" / "datasets").rglob("test_labels.npy")}
    share = 100 * np.bincount(np.load(dataset / "test_labels.npy")).max() / len(np.load(dataset / "test_labels.npy"))
    floor = result["floors"]["commonest class"]
    assert set(floor) == set(result["metrics"])
    assert floor["acc1"] == floor["knn5"] == pytest.approx(share)
    assert f"{share:.2f}" in (path.parent / "report.html").read_text()


def test_a_probe_that_diverges_keeps_what_was_measured_before(copy, capsys):
    assert run(evaluate, "probe.lr=3e38", f"out={copy}") == 0
    said = capsys.readouterr().out
    assert "warning: the linear probe diverged" in said
    assert "note: the linear probe diverged" in said
    (path,) = [path for path in results(copy) if "probe.lr" in str(path)]
    result = json.loads(path.read_text())
    assert set(result["diverged"]) == {"acc1", "acc5"}
    assert not set(result["diverged"]) & set(result["metrics"])
    assert result["metrics"]["knn5"]["mean"] > 0
    page = (path.parent / "report.html").read_text()
    assert "diverged" in page
    assert "lower probe.lr" in page
    assert report.main([f"out={copy}"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_images_of_one_class_say_so(tmp_path, capsys):
    (tmp_path / "images" / "only").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(12):
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        picture.save(tmp_path / "images" / "only" / f"{index}.png")
    images = ["dataset=folder", f"dataset.root={tmp_path}/images", "dataset.image_size=8", "drop_last=false"]
    small = ["recipe=narrow", "assim=simclr", "encoder.width=4", "epochs=1", "optimizer.warmup_epochs=0"]
    assert run(train, *images, *small, "probe.num_epochs=1", "logger=none", f"out={tmp_path}/out") == 0
    assert "note: All training images are of one class: accuracies mean nothing." in capsys.readouterr().out
    (path,) = results(tmp_path / "out")
    assert json.loads(path.read_text())["floors"]["commonest class"]["acc1"] == 100
    assert "accuracies mean nothing" in (path.parent / "report.html").read_text()
