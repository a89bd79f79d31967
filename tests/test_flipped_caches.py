"""One changed byte in a cache that is filled row by row, of rays too, finished or half-made, and in what it is of."""

import shutil
from pathlib import Path

import numpy as np

from assimilate import make_views
from assimilate.data.row_writer import ORIGIN, RowWriter, is_made_from, start_over_unless_made_from
from tests.chain_run import artifacts, run
from tests.test_flipped_bytes import check_finished, files, flip


def flip_half_made(folder: Path) -> int:
    """Change a byte of each array that a killed job left, each in a row of its own; how many rows are found damaged."""
    arrays = sorted(folder.glob("*.npy"))
    for row, path in enumerate(arrays):
        array = np.load(path, mmap_mode="r")
        flip(path, array.offset + row * array.strides[0])
    return len(arrays) - 1  # a row that done.npy no longer names is made again without a word


def test_every_file_of_a_cache_of_rays(copy, monkeypatch, capsys):
    words, before = ("view.solver=ray", "view.ray.width=8", f"out={copy}"), artifacts(copy, "views")
    assert run(make_views, *words) == 0
    (views,) = (path for path in artifacts(copy, "views") if path not in before)
    assert "views" in check_finished(copy / "artifacts")
    whole, partial = files(views), views.with_name(f"{views.name}.partial")

    def write(self: RowWriter, index: int, *values: object, write=RowWriter.write, **fields: object) -> None:
        if self.done.sum() >= 64:  # one flush is behind it
            raise KeyboardInterrupt
        write(self, index, *values, **fields)

    shutil.rmtree(views)
    with monkeypatch.context() as patched:
        patched.setattr(RowWriter, "write", write)
        assert run(make_views, *words) == 130
    assert 64 <= np.load(partial / "done.npy").sum() < 128
    damaged = flip_half_made(partial)
    assert run(make_views, *words) == 0
    assert all(content == whole[name] for name, content in files(views).items() if name != "manifest.json")
    assert f"is damaged: {damaged} images do not match their checksums" in capsys.readouterr().out


def test_every_byte_of_what_a_half_made_cache_comes_from(tmp_path):
    made_from = {"generator": "a" * 64, "latents": "b" * 64}
    assert not start_over_unless_made_from(tmp_path, made_from)
    assert is_made_from(tmp_path, made_from)
    for offset in range((tmp_path / ORIGIN).stat().st_size):
        flip(tmp_path / ORIGIN, offset)
        assert not is_made_from(tmp_path, made_from), offset
        flip(tmp_path / ORIGIN, offset)
