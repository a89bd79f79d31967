"""Caches made in parts by several processes: the bytes of one that was made in one piece (DESIGN §5)."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch

from assimilate import invert, make_views
from assimilate.data.parts import Shard
from assimilate.files.checked_files import read_sealed, write_sealed
from assimilate.jobs import plan
from tests.chain_run import SMOKE, artifacts, run

pytestmark = pytest.mark.xdist_group("views")

FILES = ("images.npy", "distances.npy", "distances_original.npy", "steps.npy", "converged.npy", "spread.npy")


@pytest.fixture
def without_views(copy):
    """(out, the folder that the cache will have)."""
    (views,) = artifacts(copy, "views")
    shutil.rmtree(views)
    return copy, views


def assert_same_cache(views, chain):
    (original,) = artifacts(chain, "views")
    for name in FILES:
        assert (views / name).read_bytes() == (original / name).read_bytes(), name
    assert not list(views.parent.glob("*.shard*of*/"))


def test_spans_cut_a_data_set_without_gap_or_overlap():
    for total in (1, 5, 128, 1000):
        for count in (1, 2, 3, 7, 128):
            spans = [Shard(index, count).span(total) for index in range(1, count + 1)]
            assert [image for first, end in spans for image in range(first, end)] == list(range(total))
            sizes = [end - first for first, end in spans]
            assert max(sizes) - min(sizes) <= 1


def test_three_shards_in_any_order_join_to_the_same_bytes(without_views, chain, capsys):
    out, views = without_views
    for shard in ("3/3", "1/3", "2/3"):
        assert run(make_views, f"shard={shard}", f"out={out}") == 0
        assert not views.exists()
    assert run(make_views, "shard=2/3", f"out={out}") == 0
    assert "nothing to do: shard 2/3 is there" in capsys.readouterr().out
    assert run(make_views, f"out={out}") == 0
    assert "took over 128 of 128 images from 3 shards" in capsys.readouterr().out
    assert_same_cache(views, chain)
    assert run(make_views, "shard=1/3", f"out={out}") == 0
    assert "the whole cache is there" in capsys.readouterr().out


@pytest.mark.parametrize(
    "view", [("view.solver=ray", "view.ray.width=8"), ("view=wperturb", "view.sigma=auto", "view.batch=16")], ids=str
)
def test_rays_and_moves_in_three_shards_and_by_two_devices(without_views, tmp_path, view):
    out, _ = without_views
    rays = (*view, f"out={out}")
    assert run(make_views, *rays) == 0
    (views,) = artifacts(out, "views")
    whole = views.rename(tmp_path / "whole")
    for words in ([["shard=3/3"], ["shard=1/3"], ["shard=2/3"], []], [["trainer.devices=2"]]):
        for each in words:
            assert run(make_views, *each, *rays) == 0
        for name in FILES:
            assert (views / name).read_bytes() == (whole / name).read_bytes(), name
        shutil.rmtree(views)


def test_what_a_missing_shard_lacks_is_made_when_they_are_joined(without_views, chain, capsys):
    out, views = without_views
    assert run(make_views, "shard=1/4", f"out={out}") == 0
    assert run(make_views, f"out={out}") == 0
    assert "took over 32 of 128 images" in capsys.readouterr().out
    assert_same_cache(views, chain)


def test_a_damaged_shard_is_said_and_made_again(without_views, chain, capsys):
    out, views = without_views
    assert run(make_views, "shard=1/2", f"out={out}") == 0
    (part,) = views.parent.glob("*.shard1of2/")
    content = bytearray((part / "images.npy").read_bytes())
    content[-1] ^= 1
    (part / "images.npy").write_bytes(content)
    assert run(make_views, f"out={out}") == 0
    assert "images.npy does not match its checksum. Its images are made again" in capsys.readouterr().out
    assert_same_cache(views, chain)


def test_two_devices_fill_two_shards_and_join_them(without_views, chain, capsys):
    out, views = without_views
    assert run(make_views, "trainer.devices=2", f"out={out}") == 0
    assert "in 2 shards" in capsys.readouterr().out
    assert_same_cache(views, chain)


def latents_again(copy, *commands):
    """The latents of the same images, made anew."""
    (latents,) = artifacts(copy, "latents")
    shutil.rmtree(latents)
    for command in commands:
        assert run(invert, *command, f"out={copy}") == 0
    return latents


def test_latents_in_shards_are_those_of_one_piece(copy, chain, capsys):
    again = latents_again(copy, ["shard=2/2"], ["shard=1/2"], [], ["shard=1/2"])
    (original,) = artifacts(chain, "latents")
    for name in ("latents.npy", "errors.npy", "initial_errors.npy"):
        assert (again / name).read_bytes() == (original / name).read_bytes()
    assert not list(again.parent.glob("*.shard*of*/"))
    assert {path.name for path in again.iterdir()} == {path.name for path in original.iterdir()}
    assert "nothing to do: the whole set of latents is there" in capsys.readouterr().out


def test_a_shard_whose_encoder_is_not_finite_is_one_line(copy, capsys):
    assert run(invert, "shard=1/2", "inversion.lr=1e30", f"out={copy}") == 2
    error = capsys.readouterr().err
    assert "inversion.lr=1e+30: encoder training is not finite" in error
    assert len(error.strip().splitlines()) == 1


def test_a_full_disk_in_a_shard_of_the_inversion_is_one_line(copy, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil.rmtree(artifacts(copy, "latents")[0])
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert run(invert, "shard=1/2", f"out={copy}") == 2
    assert "the disk is full while building latents/digits" in capsys.readouterr().err


def test_given_latents_are_not_shared_and_nothing_is_built_to_say_so(tmp_path, capsys):
    np.save(tmp_path / "latents.npy", np.zeros((128, 6, 32), np.float32))
    assert run(invert, "shard=1/2", f"inversion.latents={tmp_path}/latents.npy", f"out={tmp_path}/out") == 2
    assert "inversion.latents are taken as they are" in capsys.readouterr().err
    assert not artifacts(tmp_path / "out", "generators")


def test_force_inverts_again(copy, capsys):
    (latents,) = artifacts(copy, "latents")
    before = (latents / "latents.npy").stat().st_mtime_ns
    assert run(invert, "force=true", f"out={copy}") == 0
    assert (latents / "latents.npy").stat().st_mtime_ns != before


@pytest.mark.parametrize("joined", [True, False])
def test_latents_of_another_generator_are_not_gone_on_from(copy, chain, capsys, joined):
    """The encoder and the tiles of one that was trained again, under the same key, are made again."""
    (latents,) = artifacts(copy, "latents")
    shutil.rmtree(latents)
    assert run(invert, "shard=1/2", f"out={copy}") == 0
    partial = latents.with_name(latents.name + ".partial")
    content = torch.load(partial / "encoder.pt", weights_only=False)
    for value in content["e"].values():
        value.mul_(0.5)
    torch.save(content, partial / "encoder.pt")
    (partial / ".made_from.json").write_text(json.dumps({"generator": "0" * 64}))
    if not joined:
        assert run(invert, "shard=2/2", f"out={copy}") == 0
    assert run(invert, f"out={copy}") == 0
    assert capsys.readouterr().out.count("left was made from other networks") == 1
    (original,) = artifacts(chain, "latents")
    for name in ("latents.npy", "errors.npy", "initial_errors.npy"):
        assert (latents / name).read_bytes() == (original / name).read_bytes()
    assert not (latents / ".made_from.json").exists()


@pytest.mark.slow
def test_latents_on_two_devices_are_those_of_one(copy, chain):
    again = latents_again(copy, ["trainer.devices=2"])
    (original,) = artifacts(chain, "latents")
    assert (again / "latents.npy").read_bytes() == (original / "latents.npy").read_bytes()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/1000"])
def test_a_shard_that_cannot_be_is_one_error(copy, shard, capsys):
    views = artifacts(copy, "views")[0]
    shutil.rmtree(views)
    assert run(make_views, f"shard={shard}", f"out={copy}") == 2
    error = capsys.readouterr().err
    assert f"shard={shard}" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("steps", [None, 1, 2])
def test_preview_draws_images_beside_their_views(copy, steps, capsys):
    """Of Table 18's one- and two-step caches too, whose first view, un-noised, has left the reconstruction."""
    from PIL import Image

    words = [f"out={copy}"] if steps is None else [f"+table18={('one', 'two')[steps - 1]}_step", f"out={copy}"]
    assert run(make_views, *words, "preview=true") == 0
    (path,) = (copy / "previews").rglob("*.png")
    picture = np.asarray(Image.open(path))
    (cache,) = (folder for folder in artifacts(copy, "views") if folder.name == path.stem)
    views = np.load(cache / "images.npy", mmap_mode="r")
    scale = 96 // 16
    # The second picture of the first row, after the gap that sets it apart, is the first image's first view.
    left = (16 + 2 + 6) * scale
    cell = picture[: 16 * scale : scale, left : left + 16 * scale : scale, :3]
    assert np.array_equal(cell.transpose(2, 0, 1), views[0, 0])
    if steps is None:
        return
    assert run(make_views, *words, "verify=true") == 0
    assert "verified" in capsys.readouterr().out
    assert set(np.load(cache / "steps.npy")) == {steps}
    distances = np.load(cache / "distances.npy").mean(axis=0)
    assert distances[0] > 0.3 * distances[1:].mean()  # kicked by 1e-3 beside steps of 1e-2, it would be a tenth


def test_an_encoder_that_is_damaged_is_made_again_and_the_parts_of_it_are_joined(copy, chain):
    (latents,) = artifacts(copy, "latents")
    shutil.rmtree(latents)
    assert run(invert, "shard=1/2", f"out={copy}") == 0
    path = latents.with_name(latents.name + ".partial") / "encoder.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"encoder\.pt is damaged.*it is made again"):
        assert run(invert, f"out={copy}") == 0
    (original,) = artifacts(chain, "latents")
    for name in ("latents.npy", "errors.npy", "initial_errors.npy"):
        assert (latents / name).read_bytes() == (original / name).read_bytes()


def test_parts_of_another_encoder_are_not_joined(copy, capsys):
    (latents,) = artifacts(copy, "latents")
    shutil.rmtree(latents)
    assert run(invert, "shard=1/2", f"out={copy}") == 0
    (part,) = latents.parent.glob("*.shard1of2/")
    note = read_sealed(part / "part.json")
    assert set(note["made_from"]) == {"generator", "encoder"}
    write_sealed(part / "part.json", note | {"made_from": note["made_from"] | {"encoder": "0" * 64}})
    assert run(invert, f"out={copy}") == 2
    assert "cannot be joined: it was made from another encoder than the one here" in capsys.readouterr().err


def test_a_shard_is_announced_and_more_than_a_day_of_it_is_asked_about(without_views, capsys, monkeypatch):
    out, views = without_views
    words = [*SMOKE, "shard=1/2", f"out={out}"]
    monkeypatch.setattr(plan, "ASKED_SECONDS", 0.0)
    assert make_views.main(words) == 2
    told = capsys.readouterr()
    assert f"  shard 1/2 of views/digits/{views.name}" in told.out
    assert "yes=true goes on" in told.err
    assert not list(views.parent.glob("*.shard1of2"))
    assert make_views.main([*words, "yes=true"]) == 0
    assert make_views.main(words) == 0  # it is there: nothing to ask about
    assert "shard 1/2 of views" not in capsys.readouterr().out.split("nothing to do")[-1]
