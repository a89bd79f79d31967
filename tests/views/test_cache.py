"""The cache on disk: what a kill leaves, what a full disk does, what is served."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from assimilate.data.row_writer import RowWriter, start_over_unless_made_from
from assimilate.views.cache import CachedViews

SHAPE = (40, 3, 3, 8, 8)
FIELDS = {"distances": ((40, 3), "<f4"), "steps": ((40,), "<i4")}


def views_of(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, SHAPE[1:], dtype=np.uint8)


def fill(writer, indices):
    for index in indices:
        writer.write(index, views_of(index), distances=np.full(3, index / 7, dtype=np.float32), steps=np.int32(index))


def test_any_reader_of_npy_reads_it(tmp_path):
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, reversed(range(40)))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == SHAPE
    assert images.dtype == np.uint8
    assert all(np.array_equal(images[index], views_of(index)) for index in range(40))
    assert np.allclose(np.load(tmp_path / "distances.npy")[:, 0], np.arange(40) / 7)
    assert np.array_equal(np.load(tmp_path / "steps.npy"), np.arange(40))


def test_what_was_flushed_is_not_done_again(tmp_path):
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, [3, 17, 39])
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        assert writer.pending() == [index for index in range(40) if index not in (3, 17, 39)]
        fill(writer, writer.pending())
    assert np.load(tmp_path / "done.npy").all()
    assert np.array_equal(np.load(tmp_path / "images.npy")[17], views_of(17))


def test_kill_leaves_only_whole_images_marked_as_done(tmp_path):
    script = textwrap.dedent(
        f"""
        import numpy as np, pathlib, time
        from assimilate.data import row_writer
        row_writer.FLUSH_EVERY = 4
        writer = row_writer.RowWriter(pathlib.Path({str(tmp_path)!r}), {SHAPE!r}, {FIELDS!r})
        for index in range(40):
            views = np.random.default_rng(index).integers(0, 256, {SHAPE[1:]!r}, dtype=np.uint8)
            writer.write(index, views, distances=np.full(3, index / 7, dtype=np.float32), steps=np.int32(index))
            print(index, flush=True)
            time.sleep(0.01)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 13:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        done = np.flatnonzero(writer.done)
        assert 12 <= len(done) < 40
        stored = np.load(tmp_path / "images.npy", mmap_mode="r")
        assert all(np.array_equal(stored[index], views_of(int(index))) for index in done)
        fill(writer, writer.pending())
    assert all(np.array_equal(stored[index], views_of(index)) for index in range(40))


def test_full_disk_is_an_error_and_keeps_what_is_there(tmp_path, monkeypatch):
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, range(10))

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_up():
        with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
            monkeypatch.setattr(os, "pwrite", full)
            fill(writer, [10])

    with pytest.raises(OSError, match="No space"):
        fill_up()
    monkeypatch.undo()
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        assert writer.pending() == list(range(10, 40))


def test_space_is_reserved_before_anything_is_written(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        RowWriter(tmp_path, SHAPE, FIELDS)
    assert not list(tmp_path.iterdir())


def test_a_lost_array_makes_everything_undone(tmp_path):
    """A map of what is done beside arrays that are not there would promise zeros, which only the first row's are."""
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, range(40))
    (tmp_path / "distances.npy").unlink()
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        assert writer.pending() == list(range(1, 40))
        assert writer.num_damaged == 39


def test_views_of_other_networks_are_forgotten(tmp_path):
    folder = tmp_path / "cache"
    assert not start_over_unless_made_from(folder, {"generator": "a"})
    with RowWriter(folder, SHAPE, FIELDS) as writer:
        fill(writer, range(10))
    assert not start_over_unless_made_from(folder, {"generator": "a"})
    with RowWriter(folder, SHAPE, FIELDS) as writer:
        assert len(writer.pending()) == 30
    assert start_over_unless_made_from(folder, {"generator": "b"})
    with RowWriter(folder, SHAPE, FIELDS) as writer:
        assert len(writer.pending()) == 40
        fill(writer, range(10))
    (folder / ".made_from.json").unlink()
    assert start_over_unless_made_from(folder, {"generator": "b"})


def test_arrays_of_another_shape_are_made_anew(tmp_path):
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, range(40))
    fields = {name: ((41, *shape[1:]), dtype) for name, (shape, dtype) in FIELDS.items()}
    with RowWriter(tmp_path, (41, *SHAPE[1:]), fields) as writer:
        assert writer.pending() == list(range(41))
    assert np.load(tmp_path / "images.npy").shape == (41, *SHAPE[1:])


@pytest.mark.parametrize("placement", ["host", "device", "auto"])
def test_gather_draws_distinct_views_of_the_right_images(tmp_path, placement):
    with RowWriter(tmp_path, SHAPE, FIELDS) as writer:
        fill(writer, range(40))
    served = CachedViews.open(tmp_path)
    before = served.gather(torch.tensor([5, 39, 5, 0]), 2, torch.Generator().manual_seed(1))
    served.place(torch.device("cpu"), placement=placement)
    indices = torch.tensor([5, 39, 5, 0])
    drawn = served.gather(indices, 2, torch.Generator().manual_seed(1))
    assert drawn.shape == (4, 2, 3, 8, 8)
    assert torch.equal(drawn, before)
    assert drawn.dtype == torch.uint8
    for index, pair in zip(indices.tolist(), drawn, strict=True):
        stored = [view.tobytes() for view in views_of(index)]
        chosen = [view.numpy().tobytes() for view in pair]
        assert len(set(chosen)) == 2
        assert set(chosen) <= set(stored)


def test_gather_is_uniform_over_the_cached_views():
    array = np.arange(4, dtype=np.uint8)[None, :, None, None, None].repeat(3, axis=2)
    served = CachedViews(array)
    drawn = served.gather(torch.zeros(8000, dtype=torch.int64), 1, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0, 0, 0, 0].long(), minlength=4)
    # 4σ of a binomial with n = 8000, p = 1/4.
    assert ((counts - 2000).abs() < 4 * (8000 * 0.25 * 0.75) ** 0.5).all()


def test_a_part_of_a_cache_serves_its_first_views_and_no_others():
    """Table 7: rows with fewer than 8 cached views read a prefix of the 8-view cache (PROTOCOLS 8)."""
    pixels = np.arange(5 * 8, dtype=np.uint8).reshape(5, 8, 1, 1, 1).repeat(3, axis=2)  # view k of image i is 8·i + k
    part = CachedViews(pixels, num_used=3)
    assert part.num_views == 3
    indices, rng = torch.tensor([4, 0, 2]), torch.Generator().manual_seed(0)
    seen = torch.stack([part.gather(indices, 2, rng)[:, :, 0, 0, 0] for _ in range(200)])
    assert (seen // 8 == indices[:, None]).all()
    assert (seen[..., 0] != seen[..., 1]).all()
    counts = torch.bincount((seen % 8).flatten().long(), minlength=8)
    assert (counts[3:] == 0).all()
    # Uniform: 400 of 1200 draws each, binomial with a standard deviation of about 16.
    assert ((counts[:3] - 400).abs() < 5 * 17).all()
