"""Sampling the images of dataset=imagenet_fake in shards, on several devices, and after kills and damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from assimilate import prepare_data
from assimilate.files.checked_files import write_sealed
from tests.fake_run import TOY, artifacts
from tests.test_flipped_bytes import check_finished
from tests.test_flipped_caches import flip_half_made
from tests.warm_process import WarmProcess

pytestmark = pytest.mark.xdist_group("imagenet_fake")


SLOW = (
    "import time; import assimilate.generator.sampling as s; make = s._make_tile;"
    "s._make_tile = lambda *a: (time.sleep(.1), make(*a))[1];"
    "import assimilate.generator.sampled_dataset as p; p.SAMPLES_FLUSHED = 1"
)


def kill_while_sampling(out: Path, words: list[str]) -> int:
    """Start, kill once two of eight tiles are there; how many images are done."""
    process = WarmProcess("assimilate.prepare_data", words, before=SLOW)
    while True:
        maps = list(out.rglob("done.npy"))
        if maps and np.load(maps[0]).sum() >= 2 * 16:
            break
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return int(np.load(maps[0]).sum())


def assert_same_data(out: Path, sampled_run: Path) -> None:
    (made,), (whole,) = artifacts(out, "datasets"), artifacts(sampled_run, "datasets")
    assert made.name == whole.name
    assert {path.name for path in made.iterdir()} == {path.name for path in whole.iterdir()}
    for name in ("train_images.npy", "latents.npy", "dataset.json"):
        assert (made / name).read_bytes() == (whole / name).read_bytes()
    digests = [json.loads((folder / "manifest.json").read_text())["digest"] for folder in (made, whole)]
    assert digests[0] == digests[1]


def test_a_kill_while_sampling_then_the_same_command_completes(
    sampled_run: Path, bigbigan_file: Path, tmp_path: Path, capsys
) -> None:
    words = [*TOY, f"generator.checkpoint={bigbigan_file}", f"out={tmp_path}"]
    done = kill_while_sampling(tmp_path, words)
    assert 2 * 16 <= done < 128
    assert not list(tmp_path.rglob("manifest.json"))[1:]  # the generator's alone
    assert prepare_data.main(words) == 0
    assert f"going on: {done} of 128 images are there already" in capsys.readouterr().out
    assert_same_data(tmp_path, sampled_run)


# ------------------------------------------------------------------------------------------------ shards


@pytest.fixture
def words(bigbigan_file: Path, tmp_path: Path) -> list[str]:
    return [*TOY, f"generator.checkpoint={bigbigan_file}", f"out={tmp_path}/out"]


def test_shards_in_any_order_are_the_bytes_of_one_process(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys
) -> None:
    """Three parts of eight tiles of 16: 2, 3 and 3 of them."""
    (whole,) = artifacts(sampled_run, "datasets")
    for shard, images in (("2/3", slice(32, 80)), ("3/3", slice(80, 128)), ("1/3", slice(32))):
        assert prepare_data.main([*words, f"shard={shard}"]) == 0
        assert not list(tmp_path.rglob("dataset.json"))
        (part,) = tmp_path.rglob(f"*.shard{shard[0]}of3/")
        for name in ("train_images.npy", "latents.npy"):
            assert np.array_equal(np.load(part / name), np.load(whole / name)[images])
    assert "this joins them: python -m assimilate.prepare_data" in capsys.readouterr().out
    assert prepare_data.main([*words, "shard=2/3"]) == 0
    assert "nothing to do: shard 2/3 is there" in capsys.readouterr().out
    assert prepare_data.main(words) == 0
    assert "took over 128 of 128 images from 3 shards" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)
    assert prepare_data.main([*words, "shard=1/3"]) == 0
    assert "the whole data set is there" in capsys.readouterr().out


def test_a_killed_shard_goes_on_and_a_missing_one_is_named(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys
) -> None:
    done = kill_while_sampling(tmp_path, [*words, "shard=2/2"])
    assert 2 * 16 <= done < 64
    assert prepare_data.main([*words, "prepare=never"]) == 2
    error = capsys.readouterr().err
    assert "is missing; of its 2 shards 1/2, 2/2 lack or are unfinished; this builds it: python -m" in error
    assert prepare_data.main([*words, "shard=2/2"]) == 0
    assert f"going on: {done} of 64 images are there already" in capsys.readouterr().out
    assert prepare_data.main([*words, "prepare=never"]) == 2
    error = capsys.readouterr().err
    assert "of its 2 shards 1/2 lack or are unfinished" in error
    assert error.strip().endswith("shard=1/2")
    assert len(error.strip().splitlines()) == 1
    # Joined without it, the rest is made.
    assert prepare_data.main(words) == 0
    assert "took over 64 of 128 images from 1 shard" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)


def test_a_second_process_of_a_shard_is_refused(words: list[str], tmp_path: Path, capsys) -> None:
    from filelock import FileLock

    assert prepare_data.main([*words, "shard=1/2"]) == 0
    (part,) = artifacts(tmp_path / "out", "datasets")
    with FileLock(part.with_name(part.name + ".lock")):
        assert prepare_data.main([*words, "shard=1/2"]) == 2
    assert "shard=1/2 is being made by another process" in capsys.readouterr().err


def test_a_damaged_shard_is_made_again_and_one_of_another_generator_refused(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys
) -> None:
    assert prepare_data.main([*words, "shard=1/2"]) == 0
    assert prepare_data.main([*words, "shard=2/2"]) == 0
    first, second = artifacts(tmp_path / "out", "datasets")
    note = json.loads((second / "part.json").read_text())
    write_sealed(second / "part.json", {**note, "made_from": {"generator": "0" * 64}})
    content = bytearray((first / "latents.npy").read_bytes())
    content[-1] ^= 1
    (first / "latents.npy").write_bytes(content)
    assert prepare_data.main(words) == 2
    told = capsys.readouterr()
    assert "latents.npy does not match its checksum. Its images are made again" in told.out
    assert "cannot be joined: it was made from another generator" in told.err
    write_sealed(second / "part.json", note)
    assert prepare_data.main(words) == 0
    assert "took over 64 of 128 images" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)


@pytest.mark.slow
def test_two_devices_sample_two_shards(words: list[str], sampled_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "assimilate.prepare_data", *words, "trainer.devices=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "in 2 shards" in done.stdout
    assert "took over 128 of 128 images from 2 shards" in done.stdout
    assert_same_data(tmp_path / "out", sampled_run)


def test_more_devices_than_tiles_are_no_error(words: list[str], tmp_path: Path, monkeypatch) -> None:
    from assimilate.jobs import rows

    asked = []
    monkeypatch.setattr(rows, "run_shards", lambda session, artifact, count, chosen: asked.append(chosen))
    more = ["dataset.num_images=20", "trainer.devices=8"]
    assert prepare_data.main([*words, *more]) == 0
    assert asked == [[1, 2]]  # tiles of 16


def test_devices_are_asked_only_for_what_no_part_has(
    words: list[str], sampled_run: Path, tmp_path: Path, monkeypatch
) -> None:
    """Parts of another split, and what a kill left of a join, are not made a second time."""
    from assimilate.jobs import rows

    asked = []
    monkeypatch.setattr(rows, "run_shards", lambda session, artifact, count, chosen: asked.append(chosen))
    for shard in ("1/4", "2/4", "4/4"):
        assert prepare_data.main([*words, f"shard={shard}"]) == 0
    assert prepare_data.main([*words, "trainer.devices=2"]) == 0
    assert asked == [[2]]
    assert_same_data(tmp_path / "out", sampled_run)


def test_devices_wait_for_the_shard_that_a_killed_job_left_at_work(
    words: list[str], tmp_path: Path, capsys, monkeypatch
) -> None:
    from filelock import FileLock

    from assimilate.jobs.terminal import Terminal

    assert prepare_data.main([*words, "shard=1/2"]) == 0
    assert prepare_data.main([*words, "shard=2/2"]) == 0
    part = artifacts(tmp_path / "out", "datasets")[0]
    lock, say = FileLock(part.with_name(part.name + ".lock")), Terminal.say

    def end_once_waited_for(self, line):
        say(self, line)
        if "waiting for the process that makes" in line:
            lock.release()

    monkeypatch.setattr(Terminal, "say", end_once_waited_for)
    with lock:
        assert prepare_data.main([*words, "trainer.devices=2"]) == 0
    said = capsys.readouterr().out
    assert said.count(f"waiting for the process that makes {part.name}") == 1
    assert "took over 128 of 128 images from 2 shards" in said


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("name", ["train_images.npy", "done.npy"])
def test_a_begun_shard_that_was_cut_off_is_made_again(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys, monkeypatch, name: str, join: bool
) -> None:
    """As a copy between machines leaves it that broke off; which rows are done is known without done.npy too."""
    interrupt_sampling(monkeypatch, [*words, "shard=2/2"])
    (part,) = artifacts(tmp_path / "out", "datasets")
    content = (part / name).read_bytes()
    (part / name).write_bytes(content[: len(content) // 2])
    assert prepare_data.main([*words, *([] if join else ["shard=2/2"])]) == 0
    said = "32 images do not match their checksums. They are made again" in capsys.readouterr().out
    assert said == (name == "train_images.npy")
    assert prepare_data.main(words) == 0
    assert_same_data(tmp_path / "out", sampled_run)


def test_a_begun_shard_without_its_images_is_made_again(
    words: list[str], sampled_run: Path, tmp_path: Path, monkeypatch
) -> None:
    interrupt_sampling(monkeypatch, [*words, "shard=2/2"])
    (part,) = artifacts(tmp_path / "out", "datasets")
    (part / "train_images.npy").unlink()
    assert prepare_data.main(words) == 0
    assert_same_data(tmp_path / "out", sampled_run)


def test_what_an_interrupted_run_left_cut_off_is_made_again(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    interrupt_sampling(monkeypatch, words)
    (partial,) = artifacts(tmp_path / "out", "datasets")
    (partial / "train_images.npy").write_bytes(b"")
    assert prepare_data.main(words) == 0
    assert "is damaged: 32 images do not match their checksums. They are made again" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)


def test_a_changed_byte_in_any_file_of_sampled_images(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    shutil.copytree(sampled_run, tmp_path / "finished")
    assert check_finished(tmp_path / "finished" / "artifacts") >= {"datasets", "generators", "views"}
    interrupt_sampling(monkeypatch, words)
    (partial,) = artifacts(tmp_path / "out", "datasets")
    damaged = flip_half_made(partial)
    assert prepare_data.main(words) == 0
    assert f"is damaged: {damaged} images do not match their checksums" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)


def interrupt_sampling(monkeypatch, words: list[str]) -> None:
    """Two tiles are done, then somebody presses Ctrl-C."""
    from assimilate.generator import sampling

    make, made = sampling._make_tile, []

    def interrupted(*arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(make(*arguments))
        return made[-1]

    with monkeypatch.context() as patched:
        patched.setattr(sampling, "_make_tile", interrupted)
        assert prepare_data.main(words) == 130


def test_a_shard_that_ends_after_the_whole_was_joined_leaves_nothing(
    words: list[str], sampled_run: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from assimilate.jobs import sharing

    seal = sharing.seal

    def joined_meanwhile(part, first, made_from):
        seal(part, first, made_from)
        monkeypatch.undo()
        (whole,) = artifacts(sampled_run, "datasets")
        shutil.copytree(whole, part.parent / whole.name)

    monkeypatch.setattr(sharing, "seal", joined_meanwhile)
    assert prepare_data.main([*words, "shard=1/2"]) == 0
    assert "the whole data set was made meanwhile" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", sampled_run)


def test_force_samples_again(words: list[str], tmp_path: Path, capsys) -> None:
    assert prepare_data.main(words) == 0
    (data,) = artifacts(tmp_path / "out", "datasets")
    shutil.copytree(data, data.with_name(data.name + ".shard1of2"))  # no part at all: must not be looked at
    capsys.readouterr()
    assert prepare_data.main([*words, "force=true"]) == 0
    assert "built:  datasets/imagenet_fake" in capsys.readouterr().out
    assert artifacts(tmp_path / "out", "datasets") == [data]
    assert prepare_data.main([*words, "force=true", "shard=1/2"]) == 2
    assert "shard=1/2 and force=true exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/9", "9/9"])
def test_a_shard_that_cannot_be_is_one_line(shard: str, words: list[str], capsys) -> None:
    assert prepare_data.main([*words, f"shard={shard}"]) == 2
    error = capsys.readouterr().err
    assert f"shard={shard}" in error
    if shard.endswith("/9"):  # one of nine would be empty, so none of them is begun
        assert "of 128 images in 8 tiles of 16, allowed are 8 parts" in error
    else:
        assert "k/n with 1 ≤ k ≤ n" in error
    assert len(error.strip().splitlines()) == 1


# ------------------------------------------------------------------------------------------------ composed
