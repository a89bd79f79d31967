"""make_views, killed with SIGKILL at random moments and started again, leaves the bytes of an undisturbed run."""

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from assimilate import make_views
from tests.chain_run import SMOKE, artifacts, run
from tests.warm_process import WarmProcess

pytestmark = pytest.mark.xdist_group("views")

# Few anchors in flight, and a flush every second image, so that a kill finds something done and something not.
NARROW = ("view.search.width=4",)
RAYS = ("view.solver=ray", "view.ray.width=4")
FLUSHED = "import assimilate.data.row_writer as c; c.FLUSH_EVERY = 2"
FILES = (
    "images.npy",
    "distances.npy",
    "distances_original.npy",
    "steps.npy",
    "converged.npy",
    "spread.npy",
    "done.npy",
)


def start(out: Path, *words: str) -> WarmProcess:
    return WarmProcess("assimilate.make_views", [*SMOKE, *words, f"out={out}"], before=FLUSHED, new_session=True)


def killed_at_random(out: Path, staging: Path, words: tuple[str, ...], rng: random.Random, longest: float) -> int:
    """Start, kill within `longest` seconds of the moment at which views are being made; how many images are done."""
    process = start(out, *words)
    deadline = time.monotonic() + 300
    there = (staging / "done.npy").is_file()
    stamp = (staging / "done.npy").stat().st_mtime_ns if there else None
    # A process that goes on from another's work has begun its own once the map changes.
    while not (staging / "done.npy").is_file() or (there and (staging / "done.npy").stat().st_mtime_ns == stamp):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(rng.uniform(0, longest))
    assert process.poll() is None, "it was too fast to be killed"
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return int(np.load(staging / "done.npy").sum())


def check_kills(copy: Path, whole: Path, words: tuple[str, ...], kills: int) -> None:
    """`copy` has everything upstream of the views, `whole` is the cache of an uninterrupted run."""
    # Even if every kill comes late, half of the work is left for what follows the last one.
    longest = json.loads((whole / "manifest.json").read_text())["facts"]["seconds"] / (2 * kills)
    views = copy / whole.relative_to(whole.parents[3])
    staging = views.with_name(views.name + ".partial")
    seed = int.from_bytes(os.urandom(4), "little")
    rng, done = random.Random(seed), []
    for _ in range(kills):
        done.append(killed_at_random(copy, staging, words, rng, longest))
        assert not views.exists(), seed
        assert done == sorted(done), seed
    assert 0 < done[-1] < 128, (seed, done)
    process = start(copy, *words)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, (seed, output)
    # A kill within a flush leaves rows on the disk that done.npy does not tell of yet.
    going_on = re.search(r"going on: (\d+) of 128 images", output)
    assert going_on is not None, (seed, output)
    assert done[-1] <= int(going_on[1]) < 128, (seed, done, output)
    for name in FILES:
        assert (views / name).read_bytes() == (whole / name).read_bytes(), (seed, name)
    assert not staging.exists()
    assert run(make_views, "verify=true", *words, f"out={copy}") == 0


def test_killed_twice(chain, copy):
    (whole,) = artifacts(chain, "views")
    shutil.rmtree(copy / whole.relative_to(chain))
    check_kills(copy, whole, (), kills=2)


def made_apart(copy: Path, alone: Path, words: tuple[str, ...]) -> Path:
    """An uninterrupted cache of other settings, from what is upstream in `copy`."""
    shutil.copytree(copy, alone)
    before = artifacts(alone, "views")
    assert run(make_views, *words, f"out={alone}") == 0
    (whole,) = (path for path in artifacts(alone, "views") if path not in before)
    return whole


def test_rays_killed_twice(copy, tmp_path):
    check_kills(copy, made_apart(copy, tmp_path / "alone", RAYS), RAYS, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("words", [NARROW, RAYS])
def test_killed_at_ten_random_moments(copy, tmp_path, words):
    check_kills(copy, made_apart(copy, tmp_path / "alone", words), words, kills=10)


@pytest.mark.slow
def test_shards_of_rays_killed_ten_times_in_all(copy, tmp_path):
    """Ten kills over three shards, each finished after its last; then the whole is taken over from them."""
    whole = made_apart(copy, tmp_path / "alone", RAYS)
    views = copy / whole.relative_to(tmp_path / "alone")
    longest = json.loads((whole / "manifest.json").read_text())["facts"]["seconds"] / 3 / 8
    seed = int.from_bytes(os.urandom(4), "little")
    rng = random.Random(seed)
    for shard, kills in (("2/3", 4), ("3/3", 3), ("1/3", 3)):
        words = (*RAYS, f"shard={shard}")
        part = views.with_name(f"{views.name}.shard{shard[0]}of3")
        done = [killed_at_random(copy, part, words, rng, longest) for _ in range(kills)]
        assert done == sorted(done), (seed, done)
        assert 0 < done[-1] < 43, (seed, done)
        assert run(make_views, *words, f"out={copy}") == 0
        assert not views.exists(), seed
    assert run(make_views, *RAYS, f"out={copy}") == 0
    for name in FILES:
        assert (views / name).read_bytes() == (whole / name).read_bytes(), (seed, name)
