"""dataset=imagenet_fake at toy size, through the commands: nothing is inverted, and probes are on other images."""

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
import torch

from assimilate import invert, make_views, prepare_data, train
from assimilate.config import compose, make_job
from assimilate.errors import UserError

sys.path.insert(0, str(Path(__file__).parent / "generator"))

from toy_bigbigan import toy_bigbigan

pytestmark = pytest.mark.xdist_group("imagenet_fake")

# 16² is the smallest that has a block with attention and one without.
TOY = (
    *("dataset=imagenet_fake", "dataset.image_size=16", "dataset.tile=16", "generator.latent_width=15"),
    *("encoder=resnet18", "encoder.stem=cifar", "data.crop_size=14", "logger=none"),
    *("budget=smoke", "trainer=cpu", "trainer.num_threads=1"),
)
# Labelled images that ship with scikit-learn stand for the real ImageNet.
PROBED_ON_DIGITS = (
    *("dataset.evaluation.kind=digits", "dataset.evaluation.name=digits", "dataset.evaluation.image_size=16"),
    *("dataset.evaluation.mean=null", "dataset.evaluation.std=null"),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "bigbigan.pth"
    torch.save(toy_bigbigan().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def chain(tmp_path_factory, checkpoint) -> Path:
    """One finished A2 run with W-perturb."""
    out = tmp_path_factory.mktemp("fake") / "out"
    assert (
        train.main([*TOY, *PROBED_ON_DIGITS, "view=wperturb", f"generator.checkpoint={checkpoint}", f"out={out}"]) == 0
    )
    return out


def artifacts(out: Path, kind: str, dataset: str = "imagenet_fake") -> list[Path]:
    return sorted(path for path in (out / "artifacts" / kind / dataset).glob("*") if path.is_dir())


def test_the_latents_are_those_of_the_images(chain: Path) -> None:
    (data,), (latents,) = artifacts(chain, "datasets"), artifacts(chain, "latents")
    codes = np.load(latents / "latents.npy")
    assert codes.shape == (128, 1, 15)
    assert codes.dtype == np.float32
    assert 1.5 < np.abs(codes).max() <= 2  # truncated at ±2
    assert (latents / "latents.npy").samefile(data / "latents.npy")
    with torch.no_grad():
        made = toy_bigbigan().double()(torch.from_numpy(codes[:, 0]).double()).numpy()
    images = np.load(data / "train_images.npy")
    assert images.shape == (128, 3, 16, 16)
    assert float(np.abs(images - (made + 1) * 127.5).max()) <= 0.5 + 1e-3
    assert {path.name for path in data.iterdir()} == {
        "manifest.json", "dataset.json", "train_images.npy", "latents.npy",
    }  # fmt: skip
    assert "known" in json.loads((data / "dataset.json").read_text())["notes"][0]


def test_views_lie_around_the_known_latents(chain: Path) -> None:
    """From the definition: g(w + σ·noise), the noise truncated at ±2, drawn from (seed, image) alone."""
    from assimilate.data.seeding import generator as seeded
    from assimilate.generator.truncated_normal import truncated_normal

    (latents,) = artifacts(chain, "latents")
    views = next(path for path in artifacts(chain, "views") if path.name.startswith("wperturb"))
    content = json.loads((views / "manifest.json").read_text())["content"]
    assert (content["sigma"], content["noise_limit"], content["n_cached"]) == (0.2, 2, 2)
    codes, stored = np.load(latents / "latents.npy"), np.load(views / "images.npy")
    assert stored.shape == (128, 2, 3, 16, 16)
    for index in (0, 77, 127):
        noise = 0.2 * truncated_normal((2, 1, 15), 2.0, seeded(0, "perturb", index)).double()
        with torch.no_grad():
            made = toy_bigbigan().double()((torch.from_numpy(codes[index]).double() + noise)[:, 0]).numpy()
        assert float(np.abs(stored[index] - (made + 1) * 127.5).max()) <= 0.5 + 1e-3


def test_the_run_is_probed_on_the_other_data_set(chain: Path) -> None:
    results = [json.loads(path.read_text()) for path in chain.rglob("metrics.json")]
    (result,) = [result for result in results if "view=wperturb" in result["overrides"]]
    assert result["dataset"] == "imagenet_fake"
    assert result["metrics"]["acc1"]["n"] == 5
    assert "Probed on digits, not on the images of the training." in result["data_notes"]
    assert "GenRep" in result["protocols"]["acc1"]
    assert result["knn_curve"] == []  # the images of the training have no labels
    assert [path.name for path in artifacts(chain, "datasets", "digits")] == [
        label.rpartition("/")[2] for label in result["artifacts"] if label.startswith("datasets/digits/")
    ]
    assert not artifacts(chain, "calibrations")


def test_nothing_is_inverted_and_everything_reused(chain: Path, checkpoint: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={checkpoint}", f"out={chain}"]
    assert invert.main([*command, "view=wperturb"]) == 0
    assert "built:  nothing" in capsys.readouterr().out
    # W-search starts from the same latents.
    assert make_views.main([*command, "view=wsearch", "view.search.iterations=2", "epochs=1"]) == 0
    assert len(artifacts(chain, "latents")) == len(artifacts(chain, "datasets")) == 1
    assert len(artifacts(chain, "views")) == 2


def test_simclr_trains_on_the_same_images(chain: Path, checkpoint: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={checkpoint}", f"out={chain}", "assim=simclr"]
    assert train.main([*command, "dataset.evaluation=null"]) == 0
    assert "probes skipped: no labels" in capsys.readouterr().out
    assert len(artifacts(chain, "datasets")) == 1


def test_the_baseline_that_is_named_is_of_the_same_images(chain: Path, checkpoint: Path, capsys) -> None:
    words = [*TOY, *PROBED_ON_DIGITS, "view=wperturb", f"generator.checkpoint={checkpoint}", f"out={chain}"]
    assert train.main(words) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("baseline to compare with"))
    named = line.split()
    assert "assim=simclr" in named
    assert "view=wperturb" not in named
    own = [word for word in words if word.startswith(("dataset", "generator"))]
    assert [word for word in own if word not in named] == []


def test_another_checkpoint_makes_other_images(checkpoint: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.pth"
    moved.write_bytes(checkpoint.read_bytes())
    torch.save(toy_bigbigan(seed=1).state_dict(), tmp_path / "other.pth")
    for path, count in ((checkpoint, 1), (moved, 1), (tmp_path / "other.pth", 2)):
        assert prepare_data.main([*TOY, f"generator.checkpoint={path}", f"out={tmp_path}/out"]) == 0
        assert len(artifacts(tmp_path / "out", "datasets")) == count
    assert prepare_data.main([*TOY, f"generator.checkpoint={checkpoint}", "generator.latent_limit=null",
                              f"out={tmp_path}/out"]) == 0  # fmt: skip
    assert len(artifacts(tmp_path / "out", "datasets")) == 3


# ------------------------------------------------------------------------------------------------ a kill

SLOW = (
    "import sys, time; import assimilate.generator.sampling as s; make = s._make_tile;"
    "s._make_tile = lambda *a: (time.sleep(.1), make(*a))[1];"
    "import assimilate.prepare_data as p; p.SAMPLES_FLUSHED = 1; sys.exit(p.main(sys.argv[1:]))"
)


def kill_while_sampling(out: Path, words: list[str]) -> int:
    """Start, kill once two of eight tiles are there; how many images are done."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while True:
        maps = list(out.rglob("done.npy"))
        if maps and np.load(maps[0]).sum() >= 2 * 16:
            break
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return int(np.load(maps[0]).sum())


def assert_same_data(out: Path, chain: Path) -> None:
    (made,), (whole,) = artifacts(out, "datasets"), artifacts(chain, "datasets")
    assert made.name == whole.name
    assert {path.name for path in made.iterdir()} == {path.name for path in whole.iterdir()}
    for name in ("train_images.npy", "latents.npy", "dataset.json"):
        assert (made / name).read_bytes() == (whole / name).read_bytes()
    digests = [json.loads((folder / "manifest.json").read_text())["digest"] for folder in (made, whole)]
    assert digests[0] == digests[1]


def test_a_kill_while_sampling_then_the_same_command_completes(
    chain: Path, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    words = [*TOY, f"generator.checkpoint={checkpoint}", f"out={tmp_path}"]
    done = kill_while_sampling(tmp_path, words)
    assert 2 * 16 <= done < 128
    assert not list(tmp_path.rglob("manifest.json"))[1:]  # the generator's alone
    assert prepare_data.main(words) == 0
    assert f"going on: {done} of 128 images are there already" in capsys.readouterr().out
    assert_same_data(tmp_path, chain)


# ------------------------------------------------------------------------------------------------ shards


@pytest.fixture
def words(checkpoint: Path, tmp_path: Path) -> list[str]:
    return [*TOY, f"generator.checkpoint={checkpoint}", f"out={tmp_path}/out"]


def test_shards_in_any_order_are_the_bytes_of_one_process(
    words: list[str], chain: Path, tmp_path: Path, capsys
) -> None:
    """Three parts of eight tiles of 16: 2, 3 and 3 of them."""
    (whole,) = artifacts(chain, "datasets")
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
    assert_same_data(tmp_path / "out", chain)
    assert prepare_data.main([*words, "shard=1/3"]) == 0
    assert "the whole data set is there" in capsys.readouterr().out


def test_a_killed_shard_goes_on_and_a_missing_one_is_named(
    words: list[str], chain: Path, tmp_path: Path, capsys
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
    assert "took over 64 of 128 images from 1 shards" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", chain)


def test_a_second_process_of_a_shard_is_refused(words: list[str], tmp_path: Path, capsys) -> None:
    from filelock import FileLock

    assert prepare_data.main([*words, "shard=1/2"]) == 0
    (part,) = artifacts(tmp_path / "out", "datasets")
    with FileLock(part.with_name(part.name + ".lock")):
        assert prepare_data.main([*words, "shard=1/2"]) == 2
    assert "shard=1/2 is being made by another process" in capsys.readouterr().err


def test_a_damaged_shard_is_made_again_and_one_of_another_generator_refused(
    words: list[str], chain: Path, tmp_path: Path, capsys
) -> None:
    assert prepare_data.main([*words, "shard=1/2"]) == 0
    assert prepare_data.main([*words, "shard=2/2"]) == 0
    first, second = artifacts(tmp_path / "out", "datasets")
    note = json.loads((second / "part.json").read_text())
    (second / "part.json").write_text(json.dumps({**note, "made_from": {"generator": "0" * 64}}))
    content = bytearray((first / "latents.npy").read_bytes())
    content[-1] ^= 1
    (first / "latents.npy").write_bytes(content)
    assert prepare_data.main(words) == 2
    told = capsys.readouterr()
    assert "latents.npy does not match its checksum. Its images are made again" in told.out
    assert "cannot be joined: it was made from another generator" in told.err
    (second / "part.json").write_text(json.dumps(note))
    assert prepare_data.main(words) == 0
    assert "took over 64 of 128 images" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", chain)


@pytest.mark.slow
def test_two_devices_sample_two_shards(words: list[str], chain: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "assimilate.prepare_data", *words, "trainer.devices=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "in 2 shards" in done.stdout
    assert "took over 128 of 128 images from 2 shards" in done.stdout
    assert_same_data(tmp_path / "out", chain)


def test_more_devices_than_tiles_are_no_error(words: list[str], tmp_path: Path, monkeypatch) -> None:
    from assimilate.jobs import sharing

    asked = []
    monkeypatch.setattr(sharing, "run_shards", lambda session, artifact, count, chosen: asked.append(chosen))
    more = ["dataset.num_images=20", "trainer.devices=8"]
    assert prepare_data.main([*words, *more]) == 0
    assert asked == [[1, 2]]  # tiles of 16


def test_devices_are_asked_only_for_what_no_part_has(
    words: list[str], chain: Path, tmp_path: Path, monkeypatch
) -> None:
    """Parts of another split, and what a kill left of a join, are not made a second time."""
    from assimilate.jobs import sharing

    asked = []
    monkeypatch.setattr(sharing, "run_shards", lambda session, artifact, count, chosen: asked.append(chosen))
    for shard in ("1/4", "2/4", "4/4"):
        assert prepare_data.main([*words, f"shard={shard}"]) == 0
    assert prepare_data.main([*words, "trainer.devices=2"]) == 0
    assert asked == [[2]]
    assert_same_data(tmp_path / "out", chain)


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
    words: list[str], chain: Path, tmp_path: Path, capsys, monkeypatch, name: str, join: bool
) -> None:
    """As a copy between machines leaves it that broke off: nothing has a checksum yet."""
    interrupt_sampling(monkeypatch, [*words, "shard=2/2"])
    (part,) = artifacts(tmp_path / "out", "datasets")
    content = (part / name).read_bytes()
    (part / name).write_bytes(content[: len(content) // 2])
    assert prepare_data.main([*words, *([] if join else ["shard=2/2"])]) == 0
    assert f"{name} cannot be read. Its images are made again" in capsys.readouterr().out
    assert prepare_data.main(words) == 0
    assert_same_data(tmp_path / "out", chain)


def test_a_begun_shard_without_its_images_is_made_again(
    words: list[str], chain: Path, tmp_path: Path, monkeypatch
) -> None:
    interrupt_sampling(monkeypatch, [*words, "shard=2/2"])
    (part,) = artifacts(tmp_path / "out", "datasets")
    (part / "train_images.npy").unlink()
    assert prepare_data.main(words) == 0
    assert_same_data(tmp_path / "out", chain)


def test_what_an_interrupted_run_left_cut_off_is_made_again(
    words: list[str], chain: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    interrupt_sampling(monkeypatch, words)
    (partial,) = artifacts(tmp_path / "out", "datasets")
    (partial / "train_images.npy").write_bytes(b"")
    assert prepare_data.main(words) == 0
    assert "is damaged: train_images.npy cannot be read. Its images are made again" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", chain)


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
    words: list[str], chain: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from assimilate.data import parts

    seal = parts.seal

    def joined_meanwhile(part, first, made_from):
        seal(part, first, made_from)
        monkeypatch.undo()
        (whole,) = artifacts(chain, "datasets")
        shutil.copytree(whole, part.parent / whole.name)

    monkeypatch.setattr(parts, "seal", joined_meanwhile)
    assert prepare_data.main([*words, "shard=1/2"]) == 0
    assert "the whole data set was made meanwhile" in capsys.readouterr().out
    assert_same_data(tmp_path / "out", chain)


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
        assert "allowed is k/n with 1 ≤ k ≤ n" in error
    assert len(error.strip().splitlines()) == 1


# ------------------------------------------------------------------------------------------------ composed


def test_table_4_settings_compose() -> None:
    job = make_job(
        "train", compose(["dataset=imagenet_fake", "view=wperturb"]), ["dataset=imagenet_fake", "view=wperturb"]
    )
    config = job.config
    assert (config["dataset"]["num_images"], config["dataset"]["image_size"]) == (1_300_000, 128)
    assert (config["generator"]["name"], config["generator"]["latent_limit"]) == ("bigbigan", 2.0)
    assert (config["generator"]["latent_width"], config["generator"]["truncation"]) == (120, 1.0)
    assert (config["view"]["sigma"], config["view"]["noise_limit"]) == (0.2, 2.0)
    assert (config["encoder"]["backbone"], config["encoder"]["stem"]) == ("resnet50", "imagenet")
    assert (config["data"]["crop_size"], config["epochs"], config["loss"]["temperature"]) == (112, 20, 0.1)
    assert (config["probe"]["name"], config["dataset"]["evaluation"]["kind"]) == ("genrep", "imagenet")
    assert "inversion" not in job.identity
    assert "generator" in job.identity


def test_simclr_on_sampled_images_depends_on_the_generator() -> None:
    words = ["dataset=imagenet_fake", "assim=simclr"]
    more = [*words, "generator.truncation=0.5"]
    identities = [make_job("train", compose(each), each).identity for each in (words, more)]
    assert identities[0] != identities[1]


def test_views_made_while_training_need_no_cache(chain: Path, checkpoint: Path) -> None:
    views = artifacts(chain, "views")
    words = [*TOY, *PROBED_ON_DIGITS, "view=wperturb", "view.cached=false", "assim=a1", "loss=ntxent"]
    assert train.main([*words, f"generator.checkpoint={checkpoint}", f"out={chain}"]) == 0
    assert artifacts(chain, "views") == views
    (encoder,) = (path for path in artifacts(chain, "encoders") if path.name.startswith("a1-wperturb"))
    view = json.loads((encoder / "manifest.json").read_text())["content"]["view"]
    assert (view["sigma"], view["noise_limit"], view["truncation"]) == (0.2, 2, 1)


def test_known_latents_have_no_shards(chain: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    command = [*TOY, "view=wperturb", f"generator.checkpoint={checkpoint}", f"out={tmp_path}/out", "shard=1/2"]
    assert invert.main(command) == 2
    assert "shard=1/2: the latents of dataset=imagenet_fake are known" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ bad input


def test_the_real_imagenet_is_asked_for_before_anything_is_trained(checkpoint: Path, tmp_path: Path, capsys) -> None:
    command = [*TOY, f"generator.checkpoint={checkpoint}", f"out={tmp_path}/out", "view=wperturb"]
    root = f"dataset.evaluation.root={tmp_path}/nowhere"
    assert train.main([*command, root]) == 2
    error = capsys.readouterr().err
    assert "dataset=imagenet_fake is probed on imagenet" in error
    assert "nowhere/train does not exist" in error
    assert "dataset.evaluation=null" in error
    assert error.count("\n") == 1
    assert not artifacts(tmp_path / "out", "encoders")
    # What needs no probe needs no ImageNet.
    assert make_views.main([*command, root]) == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "generator=bigbigan is not trained here: give generator.checkpoint="),
        (["generator=stylegan2"], "sampled from a generator that is trained already"),
        (["generator.checkpoint=/no/such"], "generator.checkpoint=/no/such: there is no such file"),
        (["generator.checkpoint=TOY", "dataset.image_size=32"], "makes images of 16×16, but dataset.image_size=32"),
        (
            ["generator.checkpoint=TOY", "generator.latent_width=120"],
            "latents have 15 numbers, but generator.latent_width=120",
        ),
        (["generator.checkpoint=EVIL"], "could run code"),
    ],
    ids=["none", "stylegan2", "missing", "size", "width", "code"],
)
def test_bad_checkpoints_are_one_line(overrides, message, checkpoint: Path, tmp_path: Path, capsys) -> None:
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    torch.save({"extra": Payload()}, tmp_path / "evil.pth")
    toy = [word for word in TOY if "=stylegan2" not in str(overrides) or "latent_width" not in word]
    words = [word.replace("TOY", str(checkpoint)).replace("EVIL", str(tmp_path / "evil.pth")) for word in overrides]
    assert prepare_data.main([*toy, *words, f"out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["view=wperturb", "inversion.num_steps=3"], r"inversion\.num_steps would be ignored.*latents are known"),
        (["view=wperturb", "view.cached=false", "view.batch=3"], r"view\.batch would be ignored"),
        (["generator.latent_limit=0"], r"generator\.latent_limit=0"),
        (["dataset.num_images=0"], r"dataset\.num_images=0"),
        (["view=wperturb", "view.projected=true"], r"view\.noise_limit=2\.0.*view\.projected=true"),
        (["view=wperturb", "data.crop_size=130"], r"assim\.generated_transform=flip.*128.*crop_size=130"),
    ],
)
def test_values_that_no_run_can_use(overrides, message) -> None:
    words = ["dataset=imagenet_fake", *overrides]
    with pytest.raises(UserError, match=message):
        make_job("train", compose(words), words)
