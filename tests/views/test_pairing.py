"""External views that do not belong to their images are found out; folders called by image files need no order."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from assimilate import make_views
from assimilate.views.external import in_order, scan_external
from assimilate.views.pairing import describe_pairing
from tests.chain_run import artifacts, run


def digits() -> np.ndarray:
    """500 scans, sorted by class as folders of classes are: neighbours look alike."""
    loaded = load_digits()
    order = np.argsort(loaded.target[:500], kind="stable")
    scans = (loaded.images[:500][order] * 15).astype(np.uint8)
    return np.repeat(np.repeat(np.repeat(scans[:, None], 3, 1), 2, 2), 2, 3)


def changed(images: np.ndarray, how: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if how == "noise":
        return np.clip(images + rng.normal(0, 60, images.shape), 0, 255).astype(np.uint8)
    if how == "mirrored and darker":
        return images[..., ::-1] // 2
    if how == "shifted":
        return np.roll(images, 2, axis=3)
    order = {"shuffled": rng.permutation(len(images)), "off by one": np.roll(np.arange(len(images)), 1)}
    order["as text"] = np.array(sorted(range(len(images)), key=str))
    return images[order[how]]


@pytest.mark.parametrize("how", ["noise", "mirrored and darker", "shifted"])
def test_views_of_their_own_images_are_not_doubted(how: str) -> None:
    images = digits()
    assert describe_pairing(images, changed(images, how)[:, None]) is None


@pytest.mark.parametrize("how", ["shuffled", "off by one", "as text"])
def test_an_order_that_is_lost_is_said(how: str) -> None:
    images = digits()
    said = describe_pairing(images, changed(images, how)[:, None])
    assert said is not None
    assert "may not belong to their images" in said
    assert describe_pairing(images[:20], changed(images[:20], how)[:, None]) is None  # too few to say


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index, image in enumerate(digits()[::10]):
        path = tmp_path / "pictures" / ("low" if index < 25 else "high") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return tmp_path / "pictures"


def packed(out: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    (views,), (data,) = artifacts(out, "views"), artifacts(out, "datasets")
    facts = json.loads((views / "manifest.json").read_text())["facts"]
    return np.load(views / "images.npy"), np.load(data / "train_images.npy"), facts


@pytest.mark.parametrize("suffix", [".png", ""])
def test_folders_called_by_files_are_matched_by_them(pictures: Path, tmp_path: Path, suffix: str) -> None:
    for path in pictures.rglob("*.png"):
        place = tmp_path / "views" / path.parent.name / f"{path.stem}{suffix}"
        place.mkdir(parents=True)
        for k in (2, 10):
            Image.fromarray(255 - np.asarray(Image.open(path)) // k).save(place / f"{k}.png")
    out = tmp_path / "out"
    words = ["dataset=folder", f"dataset.root={pictures}", "dataset.image_size=16", "recipe=narrow", "batch_size=8"]
    words += ["view=external", f"view.path={tmp_path / 'views'}", f"out={out}"]
    assert run(make_views, *words) == 0
    views, images, _ = packed(out)
    assert np.array_equal(views[:, 0], 255 - images // 2)
    assert np.array_equal(views[:, 1], 255 - images // 10)


def test_images_without_a_folder_and_data_without_names_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2", "b/1"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name / "0.png")
    found = scan_external(tmp_path)
    ordered = in_order(found, ["b/1.jpg", "a/2.png", "a/1.png"])
    assert ordered.files == (("b/1/0.png",), ("a/2/0.png",), ("a/1.png/0.png",))
    assert ordered.problems == ()
    assert in_order(found, ["b/1.jpg", "b/1.png"]).problems[0] == "b/1.jpg has no folder b/1.jpg/"  # whose is b/1/?
    with pytest.raises(ValueError, match="have no names"):
        in_order(found, None)


def test_a_lost_order_is_a_warning_in_the_manifest(pictures: Path, tmp_path: Path, capsys) -> None:
    words = ["dataset=folder", f"dataset.root={pictures}", "dataset.image_size=16", "recipe=narrow", "batch_size=8"]
    np.save(tmp_path / "views.npy", np.random.default_rng(0).integers(0, 256, (40, 2, 3, 16, 16), dtype=np.uint8))
    words += ["view=external", f"view.path={tmp_path / 'views.npy'}", f"out={tmp_path / 'out'}"]
    assert run(make_views, *words) == 0
    assert "warning: The views may not belong to their images" in capsys.readouterr().out
    _, _, facts = packed(tmp_path / "out")
    assert "may not belong" in facts["notes"][0]
