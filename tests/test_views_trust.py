"""Caches that are not what they seem: parts missing, networks of other bytes, views of other images, full disks."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from assimilate import make_views
from assimilate.data import parts
from assimilate.data.row_writer import RowWriter
from assimilate.files.checked_files import write_sealed
from tests.chain_run import artifacts, run

pytestmark = pytest.mark.xdist_group("views")

PERTURBED = ("view=wperturb",)
FILES = ("images.npy", "distances.npy", "distances_original.npy", "steps.npy", "done.npy")


@pytest.fixture(scope="module")
def perturbed(chain, tmp_path_factory):
    """A copy of the finished run with a cache of W-perturb, which takes no time."""
    out = tmp_path_factory.mktemp("perturbed") / "out"
    shutil.copytree(chain, out)
    assert run(make_views, *PERTURBED, f"out={out}") == 0
    return out


def cache_of(out):
    (views,) = (path for path in artifacts(out, "views") if path.name.startswith("wperturb"))
    return views


@pytest.fixture
def made(perturbed, tmp_path):
    """(words of its command, the folder of its cache), in a copy to change."""
    shutil.copytree(perturbed, tmp_path / "made")
    return (*PERTURBED, f"out={tmp_path / 'made'}"), cache_of(tmp_path / "made")


@pytest.fixture
def unmade(made):
    """Likewise, but the cache is gone and all upstream of it is there."""
    shutil.rmtree(made[1])
    return made


def bytes_of(views):
    return {name: (views / name).read_bytes() for name in FILES}


def refused(capsys, *overrides):
    assert run(make_views, *overrides) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    return error


# ------------------------------------------------------------------------------------------------ verify


def test_verify_names_the_missing_shards(unmade, capsys):
    words, _ = unmade
    assert "is missing; this builds it" in refused(capsys, "verify=true", *words)
    assert run(make_views, "shard=2/3", *words) == 0
    error = refused(capsys, "verify=true", *words)
    assert "of its 3 shards 1/3, 3/3 lack or are unfinished; this builds it" in error


def test_verify_finds_a_wrong_parent(made, capsys):
    words, views = made
    (generator,) = (views.parents[2] / "generators").glob("*/*/")
    manifest = json.loads((generator / "manifest.json").read_text())
    manifest["digest"] = "0" * 64
    write_sealed(generator / "manifest.json", manifest)
    assert "its generator was rebuilt with other bytes" in refused(capsys, "verify=true", *words)


def test_a_cache_of_another_key_is_not_taken_for_this_one(made, perturbed, capsys):
    words, views = made
    shutil.rmtree(views)
    assert run(make_views, *words, "view.sigma=0.4") == 0
    cache_of(views.parents[3]).rename(views)
    assert "it holds key" in refused(capsys, "verify=true", *words)
    assert "it holds key" in refused(capsys, "prepare=never", *words)
    assert run(make_views, *words) == 0
    assert "it holds key" in capsys.readouterr().out
    assert bytes_of(views) == bytes_of(cache_of(perturbed))


def test_a_cache_of_another_data_set_is_not_taken_for_this_one(tmp_path, capsys):
    def make(out, images):
        words = ["view=expert", "view.cached=true", f"dataset.max_train_images={images}", f"out={out}"]
        assert run(make_views, *words) == 0
        return words, artifacts(out, "views")[0]

    _, small = make(tmp_path / "small", 64)
    words, large = make(tmp_path / "large", 96)
    assert small.name != large.name
    shutil.rmtree(large)
    shutil.copytree(small, large)
    assert "it holds key" in refused(capsys, "verify=true", *words)
    assert run(make_views, *words) == 0
    assert np.load(large / "images.npy").shape[0] == 96


# ------------------------------------------------------------------------------------------------ other networks


def test_a_shard_of_other_networks_is_not_joined(unmade, perturbed, capsys):
    words, views = unmade
    assert run(make_views, "shard=1/2", *words) == 0
    (part,) = views.parent.glob("*.shard1of2/")
    note = json.loads((part / "part.json").read_text())
    assert {"generator", "latents"} == note["made_from"].keys()
    note["made_from"]["generator"] = "0" * 64
    write_sealed(part / "part.json", note)
    error = refused(capsys, *words)
    assert "cannot be joined: it was made from another generator" in error
    assert part.is_dir()
    assert not views.exists()
    # The process of that shard makes its images again.
    assert run(make_views, "shard=1/2", *words) == 0
    assert "it was made from another generator. Its images are made again" in capsys.readouterr().out
    assert run(make_views, *words) == 0
    assert bytes_of(views) == bytes_of(cache_of(perturbed))


@pytest.mark.parametrize("same_networks", [True, False])
def test_what_an_interrupted_run_left_is_gone_on_from_only_with_the_same_networks(
    unmade, perturbed, capsys, monkeypatch, same_networks
):
    words, views = unmade
    partial = views.with_name(views.name + ".partial")
    written = []
    write = RowWriter.write

    def interrupted(self, index, *args, **fields):
        if len(written) == 80:
            raise KeyboardInterrupt
        written.append(index)
        write(self, index, *args, **fields)

    monkeypatch.setattr(RowWriter, "write", interrupted)
    assert run(make_views, *words) == 130
    monkeypatch.undo()
    done = np.load(partial / "done.npy").astype(bool)
    assert done.sum() == 80
    again = []
    monkeypatch.setattr(
        RowWriter, "write", lambda self, index, *a, **f: again.append(index) or write(self, index, *a, **f)
    )
    if not same_networks:
        origin = json.loads((partial / ".made_from.json").read_text())
        origin["generator"] = "0" * 64
        (partial / ".made_from.json").write_text(json.dumps(origin))
    assert run(make_views, *words) == 0
    said = capsys.readouterr().out
    images, expected = (np.load(folder / "images.npy") for folder in (views, cache_of(perturbed)))
    assert np.array_equal(images, expected)
    if same_networks:
        assert "going on: 80 of 128 images" in said
        assert sorted(again) == np.flatnonzero(~done).tolist()
    else:
        assert "was made from other networks: its images are made again" in said
        assert sorted(again) == list(range(128))
    assert not (views / ".made_from.json").exists()


# ------------------------------------------------------------------------------------------------ trouble in a shard


def test_a_kill_while_a_joined_shard_is_deleted(unmade, perturbed, monkeypatch):
    words, views = unmade
    assert run(make_views, "shard=1/2", *words) == 0

    def half(folder):
        (folder / "images.npy").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(parts.shutil, "rmtree", half)
    assert run(make_views, *words) == 130
    monkeypatch.undo()
    assert list(views.parent.glob(".*.discarded"))
    assert run(make_views, *words) == 0
    assert not list(views.parent.glob(".*.discarded"))
    assert bytes_of(views) == bytes_of(cache_of(perturbed))


def test_a_full_disk_in_a_shard_is_one_line_and_the_shard_goes_on(unmade, capsys, monkeypatch):
    words, views = unmade

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert "the disk is full while building views/digits/wperturb" in refused(capsys, "shard=1/2", *words)
    monkeypatch.undo()
    assert run(make_views, "shard=1/2", *words) == 0
    assert parts.missing_parts(views) == {2: [2]}


def test_a_shard_uses_the_threads_it_is_given(unmade):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert run(make_views, "shard=1/8", *unmade[0]) == 0  # trainer.num_threads=1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_views_are_made_with_kernels_that_repeat_themselves(unmade, monkeypatch):
    """On a GPU; here, that cuDNN is told so while views are made, and left as it was.

    A training in the same process may have left it choosing its algorithms by timing (trainer.cudnn_benchmark).
    """
    write, seen, cudnn = RowWriter.write, set(), torch.backends.cudnn

    def watched(self, *args, **fields):
        seen.add((cudnn.deterministic, cudnn.benchmark))
        write(self, *args, **fields)

    monkeypatch.setattr(RowWriter, "write", watched)
    monkeypatch.setattr(cudnn, "benchmark", True)
    assert not cudnn.deterministic
    assert run(make_views, "shard=1/8", *unmade[0]) == 0
    assert seen == {(True, False)}
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def pictures(folder, count=128):
    for index in range(count):
        (folder / str(index)).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(np.full((16, 16, 3), index, dtype=np.uint8)).save(folder / str(index) / f"{k}.png")
    return folder


def test_a_picture_that_a_shard_cannot_read_is_one_line(copy, tmp_path, capsys):
    folder = pictures(tmp_path / "views")
    (folder / "100" / "1.png").write_bytes(b"no picture")
    words = ["view=external", f"view.path={folder}", f"out={copy}"]
    assert run(make_views, *words, "shard=1/2") == 0
    assert "100/1.png cannot be read" in refused(capsys, *words, "shard=2/2")


def test_all_that_is_wrong_with_a_folder_is_said_at_once(copy, tmp_path, capsys):
    """A missing index, a wrong size, an unreadable file, one view twice and one index twice, in one message."""
    folder = pictures(tmp_path / "views")
    shutil.rmtree(folder / "7")
    (folder / "9" / "0.png").unlink()
    (folder / "100" / "1.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((16, 24, 3), dtype=np.uint8)).save(folder / "11" / "1.png")
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(folder / "12" / "1.jpg")
    (folder / "013").mkdir()
    error = refused(capsys, "view=external", f"view.path={folder}", "view.n_cached=2", f"out={copy}")
    for message in (
        "7/ is missing",
        "9/ holds 1 picture, but view.n_cached=2",
        "100/1.png cannot be read",
        "11/1.png is 24x16, the data set's images are 16x16",
        "12/1.jpg and 12/1.png are one view",
        "013/ and 13/ are one index",
    ):
        assert message in error, error


def test_a_stray_folder_of_digits_is_named_instead_of_twenty_million_missing_ones(copy, tmp_path, capsys):
    folder = pictures(tmp_path / "views", count=3)
    (folder / "20240131").mkdir()
    error = refused(capsys, "view=external", f"view.path={folder}", f"out={copy}")
    assert "4 folders <index>/, but one is called 20240131" in error


# ------------------------------------------------------------------------------------------------ what is said


def test_a_distance_out_of_reach_is_reported(copy, capsys):
    words = ["view.epsilon1=2", "view.epsilon2=0", f"out={copy}"]
    assert run(make_views, *words) == 0
    assert "100.0% of the anchors used up view.search.iterations" in capsys.readouterr().out
    (summary,) = (
        json.loads(path.read_text()) for path in copy.rglob("summary.json") if '"epsilon1": 2.0' in path.read_text()
    )
    assert summary["capped_share"] == 1
    assert summary["stored_share"] == 0


def test_a_spread_out_of_reach_is_foretold(copy, capsys):
    words = ["view.epsilon1=0.1", "view.epsilon2=1", "view.lambda=0.1", "shard=1/64"]
    words += ["view.search.tolerance=0.001", "view.search.tolerance_relative=null", f"out={copy}"]
    assert run(make_views, *words) == 0
    said = capsys.readouterr().out
    assert "warning: no anchor can converge: at distance ε1 of it 2 views spread to 0.2000 at most" in said


def test_a_tolerance_that_asks_for_nothing_is_foretold(copy, capsys):
    words = ["view.epsilon1=0.03", "view.search.tolerance=0.001", "view.search.tolerance_relative=null", "shard=1/64"]
    assert run(make_views, *words, f"out={copy}") == 0
    said = capsys.readouterr().out
    assert "warning: view.search.tolerance=0.001 lets views stay at the anchor" in said
    assert "no anchor can converge" not in said


def test_the_share_of_stored_views_within_the_tolerance(copy):
    """Views that were judged before rounding to 8 bits, judged again from the files."""
    words = ["view.epsilon1=0.05", "view.epsilon2=0.06", "view.search.iterations=60", "view.search.tolerance=2e-4"]
    assert run(make_views, *words, "view.search.tolerance_relative=0.2", f"out={copy}") == 0
    (views,) = (path for path in artifacts(copy, "views") if '"epsilon1": 0.05' in (path / "summary.json").read_text())
    summary = json.loads((views / "summary.json").read_text())
    distances, spread = np.load(views / "distances.npy"), np.load(views / "spread.npy")
    within = 0
    for own, mean_pair in zip(distances.tolist(), spread.tolist(), strict=True):
        boundary = sum((distance - 0.05) ** 2 for distance in own) / len(own)
        total = boundary + 0.01 * max(0.0, 0.06 - mean_pair)
        within += total <= 2e-4 and boundary**0.5 <= 0.2 * 0.05
    assert summary["stored_share"] == pytest.approx(within / len(distances))
    assert summary["stored_share"] > 0


def test_force_makes_the_cache_again(made, perturbed):
    words, views = made
    before = (views / "images.npy").stat().st_mtime_ns
    assert run(make_views, *words) == 0
    assert (views / "images.npy").stat().st_mtime_ns == before
    assert run(make_views, "force=true", *words) == 0
    assert (views / "images.npy").stat().st_mtime_ns != before
    assert bytes_of(views) == bytes_of(cache_of(perturbed))
