"""What stands beside a run's numbers: floors, and notes on what takes their meaning."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from assimilate import evaluate, report, train
from assimilate.data.images import load_prepared
from assimilate.encoder.encoder import Encoder
from assimilate.probes.features import extract_features, freeze
from tests.chain_run import results, run, stamps

pytestmark = pytest.mark.xdist_group("chain")


def test_an_ordinary_run_has_floors_and_no_notes(chain):
    (path,) = results(chain)
    result = json.loads(path.read_text())
    assert result["notes"] == []
    (dataset,) = {file.parent for file in (chain / "artifacts" / "datasets").rglob("test_labels.npy")}
    share = 100 * np.bincount(np.load(dataset / "test_labels.npy")).max() / len(np.load(dataset / "test_labels.npy"))
    floor = result["floors"]["commonest class"]
    assert set(floor) == set(result["metrics"]) == set(result["floors"]["random network"])
    assert floor["acc1"] == floor["knn5"] == pytest.approx(share)
    assert f"{share:.2f}" in (path.parent / "report.html").read_text()


def test_a_run_stands_beside_raw_pixels_and_an_untrained_network(chain):
    (path,) = results(chain)
    result = json.loads(path.read_text())
    assert set(result["floors"]) == {"commonest class", "raw pixels", "random network"}
    (pixels,) = (chain / "artifacts" / "floors").rglob("floor.json")
    measured = {name: value["mean"] for name, value in json.loads(pixels.read_text())["metrics"].items()}
    assert result["floors"]["raw pixels"] == measured
    assert "128 of 128 training" in result["floor_notes"]["raw pixels"]
    below = [name for name, value in result["metrics"].items() if value["mean"] < measured[name]]
    assert "acc1" in result["below_pixels"] == below  # two epochs teach nothing
    page = (path.parent / "report.html").read_text()
    f_below = [name for name, value in result["baseline"]["metrics"].items() if value["mean"] < measured[name]]
    assert page.count(" ▽<") == len(below) + len(f_below)
    assert f"{measured['acc1']:.2f}" in page
    assert "raw pixels" in page
    assert not any("floors/" in label or "untrained" in label for label in (*result["artifacts"], *result["seconds"]))

    (prepared,) = {file.parent for file in (chain / "artifacts" / "datasets").rglob("test_labels.npy")}
    dataset = load_prepared(prepared)
    config = result["config"]["encoder"]
    spec = {"backbone": config["backbone"], "width": config["width"], "stem": config["stem"], "projector": "none"}
    network = freeze(Encoder.from_spec(spec, init_seed=0))
    network.mean, network.std = dataset.mean, dataset.std
    bank, queries = (extract_features(network, arrays).numpy() for arrays in (dataset.train, dataset.test))
    for name, metric in (("knn5", "cosine"), ("knn5_euclidean", "euclidean")):
        other = KNeighborsClassifier(5, metric=metric).fit(bank, dataset.train.labels)
        assert result["floors"]["random network"][name] == 100 * other.score(queries, dataset.test.labels)
    assert result["floors"]["random network"]["acc1"] > 0


def test_floors_are_shared_by_runs_planned_and_switched_off(copy, capsys):
    words = ("assim=simclr", f"out={copy}")
    before = stamps(copy)
    assert run(train, *words, "seed=1", "prepare=plan") == 0
    assert "exists  floors/digits/pixels-" in capsys.readouterr().out
    assert run(train, *words, "encoder.width=4", "prepare=plan") == 0
    said = capsys.readouterr().out
    assert "exists  floors/digits/pixels-" in said  # the images are the same
    assert "build   probes/digits/untrained-" in said  # the architecture is not
    assert run(train, *words, "dataset.max_test_images=32", "prepare=only") == 0
    assert run(train, *words, "dataset.max_test_images=32", "prepare=plan") == 0
    assert "build   floors/digits/pixels-" in capsys.readouterr().out
    assert run(evaluate, "probe.floors=false", *words) == 0  # the very folder of the run with floors
    (path,) = [path for path in results(copy) if "simclr" in str(path)]
    assert set(json.loads(path.read_text())["floors"]) == {"commonest class"}
    assert "<th>random network</th>" in (path.parent / "report.html").read_text()  # the run's own
    assert run(evaluate, *words) == 0
    assert set(json.loads(path.read_text())["floors"]) == {"commonest class", "raw pixels", "random network"}
    assert before.items() <= stamps(copy).items()


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
