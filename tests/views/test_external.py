"""Views from elsewhere: a folder or an array, checked against the data set, packed as they are."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from assimilate import analyze, evaluate, invert, make_views, train, train_generator
from tests.chain_run import artifacts, run

pytestmark = pytest.mark.xdist_group("views")

COUNT = 128  # training images of the digits at the smoke budget, which uses two views of each


def picture(index, k):
    return np.random.default_rng((index, k)).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two views an image, one more for some; file names that sort wrongly as text."""
    for index in range(COUNT):
        (tmp_path / "views" / str(index)).mkdir(parents=True)
        for k in (10, 2, 9) if index % 2 == 0 else (9, 2):
            Image.fromarray(picture(index, k)).save(tmp_path / "views" / str(index) / f"{k}.png")
    return tmp_path / "views"


def packed(out):
    (views,) = (path for path in artifacts(out, "views") if path.name.startswith("external"))
    return np.load(views / "images.npy")


def test_a_folder_is_packed_in_the_order_of_its_numbers(copy, folder):
    assert run(train, "view=external", f"view.path={folder}", f"out={copy}") == 0
    images = packed(copy)
    assert images.shape == (COUNT, 2, 3, 16, 16)
    for index in (0, 5, 127):
        for position, k in enumerate((2, 9)):
            assert np.array_equal(images[index, position], picture(index, k).transpose(2, 0, 1))


def test_an_array_is_packed_as_it_is_and_a_prefix_of_it_on_demand(copy, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 3, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "views.npy", array)
    command = ["view=external", f"view.path={tmp_path / 'views.npy'}", f"out={copy}"]
    assert run(make_views, *command) == 0
    assert np.array_equal(packed(copy), array[:, :2])
    shutil.rmtree(copy / "artifacts" / "views")
    assert run(make_views, *command, "view.n_cached=1", "shard=1/2") == 0
    assert run(make_views, *command, "view.n_cached=1") == 0
    assert np.array_equal(packed(copy), array[:, :1])


@pytest.mark.parametrize("stage", [train, train_generator, invert, make_views, evaluate, analyze])
@pytest.mark.parametrize("form", ["folder", "array"])
def test_as_many_views_as_there_are_is_a_plan_of_every_stage(tmp_path, capsys, stage, form):
    """At the paper's budget view.n_cached stays null; at a smaller one its cap is a number."""
    path = tmp_path / ("views.npy" if form == "array" else "views")
    if form == "array":
        np.save(path, np.zeros((3, 2, 3, 16, 16), np.uint8))
    else:
        (path / "0").mkdir(parents=True)
        Image.fromarray(picture(0, 0)).save(path / "0" / "0.png")
    own = {analyze: ["analysis=pairs", "analysis.views=[external]"]}
    words = own.get(stage, ["loss.alpha=0.4", "loss.temperature=0.5"])
    planned = ["dataset=digits", "trainer=cpu", "prepare=plan", f"out={tmp_path / 'out'}"]
    assert stage.main([*planned, "view=external", f"view.path={path}", *words]) == 0
    assert "plan for" in capsys.readouterr().out


def test_a_training_reads_as_many_of_all_that_there_are_as_it_asks_for(tmp_path, capsys):
    np.save(tmp_path / "views.npy", np.zeros((3, 3, 3, 16, 16), np.uint8))
    planned = ["dataset=digits", "trainer=cpu", "prepare=plan", "loss.alpha=0.4", "loss.temperature=0.5"]
    words = [*planned, "view=external", f"view.path={tmp_path / 'views.npy'}", f"out={tmp_path / 'out'}"]
    assert train.main([*words, "view.n_used=3"]) == 0
    assert train.main([*words, "view.n_used=4"]) == 2
    assert "view.n_used=4 exceeds the 3 views that every image has" in capsys.readouterr().err


def refused(capsys, copy, path, *overrides):
    assert run(make_views, "view=external", f"view.path={path}", *overrides, f"out={copy}") == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    assert not [view for view in artifacts(copy, "views") if view.name.startswith("external") and view.suffix == ""]
    return error


def test_everything_wrong_with_a_folder_is_said_at_once(copy, folder, capsys):
    shutil.rmtree(folder / "7")
    for path in (folder / "9").iterdir():
        path.unlink()
    error = refused(capsys, copy, folder)
    assert "7/ is missing" in error
    assert "9/ holds no picture" in error


def test_every_unreadable_or_wrongly_sized_picture_is_said_at_once(copy, folder, capsys):
    (folder / "3" / "2.png").write_bytes(b"no picture")
    (folder / "100" / "9.png").write_bytes((folder / "100" / "9.png").read_bytes()[:60])
    Image.fromarray(np.zeros((16, 24, 3), dtype=np.uint8)).save(folder / "11" / "9.png")
    error = refused(capsys, copy, folder)
    for message in (r"3/2\.png cannot be read", r"100/9\.png cannot be read", r"11/9\.png is 24x16"):
        assert re.search(message, error), error


def test_too_few_images_or_views(copy, folder, tmp_path, capsys):
    shutil.rmtree(folder / "127")
    assert "views for 127 images, the data set has 128" in refused(capsys, copy, folder)
    words = ("view.n_cached=1", "view.n_sampled=2")
    assert "view.n_sampled=2 exceeds view.n_cached=1" in refused(capsys, copy, folder, *words)


def test_what_is_no_array_of_views(copy, tmp_path, capsys):
    np.save(tmp_path / "floats.npy", np.zeros((COUNT, 2, 3, 16, 16), dtype=np.float32))
    assert "needed is uint8 [images, views, 3, height, width]" in refused(capsys, copy, tmp_path / "floats.npy")
    np.save(tmp_path / "large.npy", np.zeros((COUNT, 2, 3, 32, 32), dtype=np.uint8))
    assert "its pictures are 32x32" in refused(capsys, copy, tmp_path / "large.npy")
    (tmp_path / "text.npy").write_text("views")
    assert "cannot be read as an array" in refused(capsys, copy, tmp_path / "text.npy")
    assert "there is no such folder or file" in refused(capsys, copy, tmp_path / "nowhere")
