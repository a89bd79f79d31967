"""Artifacts: keys, completeness, damage, locks, kills."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import Store, damage
from assimilate.data.array_file import ArrayFile
from assimilate.errors import UserError
from assimilate.graph.identity import canonical, content_hash, differing_keys
from assimilate.graph.place import Built
from assimilate.views.of_the_image import Original
from tests.made_up_step import Thing


def artifact(root: Path, content=None, parents=None, kind="generators", version=1) -> Artifact:
    return Artifact(Thing(content or {"a": 1}, parents or {}, kind, version), "digits", root, parents or {})


def store(prepare="auto", said=None) -> Store:
    return Store(prepare, lambda wanted: f"build {wanted.name}", ([] if said is None else said).append)


def writer(text="content"):
    def build(staging):
        (staging / "data.bin").write_text(text)
        (staging / "log.csv").write_text(str(time.time()))
        return Built({"seconds": 1.0}, frozenset({"log.csv"}))

    return build


def build(root, text="content", **kwargs) -> Artifact:
    made = artifact(root, **kwargs)
    store().build(made, {}, writer(text))
    return made


# ------------------------------------------------------------------------------------------------ keys


def test_numbers_are_hashed_by_value():
    assert content_hash({"a": 1, "b": [1.0, 2.5]}) == content_hash({"b": (1, 2.5), "a": 1.0})
    assert content_hash({"a": True}) != content_hash({"a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.5})
    assert canonical({"x": (1.0, None, "1")}) == {"x": [1, None, "1"]}


def test_key_depends_on_content_parents_and_stage_version(tmp_path):
    base = artifact(tmp_path)
    parent = artifact(tmp_path, {"p": 1})
    keys = {
        base.key,
        artifact(tmp_path, {"a": 2}).key,
        artifact(tmp_path, version=2).key,
        artifact(tmp_path, parents={"generator": parent}).key,
        artifact(tmp_path, parents={"generator": artifact(tmp_path, {"p": 2})}).key,
    }
    assert len(keys) == 5
    assert artifact(tmp_path / "elsewhere").key == base.key


def test_differing_keys_are_listed():
    assert differing_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 there, 3 here",
        "d: None there, 4 here",
    ]


# ------------------------------------------------------------------------------------------------ completeness


def test_manifest_says_what_it_is(tmp_path):
    parent = build(tmp_path, content={"p": 1})
    made = artifact(tmp_path, {"seed": 3}, {"generator": parent})
    store().build(made, {"whole": "config"}, writer())
    manifest = made.manifest()
    assert manifest["complete"]
    assert manifest["key"] == made.key
    assert manifest["seed"] == 3
    assert manifest["config"] == {"whole": "config"}
    assert manifest["parents"]["generator"] == {
        "path": parent.label,
        "key": parent.key,
        "digest": parent.manifest()["digest"],
    }
    assert set(manifest["files"]) == {"data.bin", "log.csv"}
    assert manifest["files"]["data.bin"]["bytes"] == len("content")
    assert "torch" in manifest["provenance"]["versions"]
    assert not made.staging.exists()


def test_volatile_files_are_no_part_of_the_digest(tmp_path):
    first, second = build(tmp_path / "one"), build(tmp_path / "two")
    assert first.manifest()["digest"] == second.manifest()["digest"]


def test_failed_build_leaves_its_staging_folder_and_nothing_else(tmp_path):
    made = artifact(tmp_path)

    def fail(staging):
        (staging / "half").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        store().build(made, {}, fail)
    assert not made.path.exists()

    def resume(staging):
        assert (staging / "half").read_text() == "half"
        return writer()(staging)

    store().build(made, {}, resume)
    assert damage(made) is None


def test_full_disk_is_the_users_to_mend(tmp_path):
    def full(staging):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"disk is full.*same command again"):
        store().build(artifact(tmp_path), {}, full)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "save", [lambda file: np.save(file, np.zeros(9999)), lambda file: torch.save(["x" * 99], file)]
)
def test_a_full_disk_is_told_whoever_writes(save, tmp_path):
    """numpy's error has no errno, torch's is no OSError."""

    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(UserError, match="disk is full"):
        store().build(artifact(tmp_path), {}, lambda staging: save(file))


@pytest.mark.parametrize(
    "save",
    [
        lambda path: np.save(path, np.zeros(9999)),
        lambda path: torch.save(["x" * 99999], path.open("wb")),
        lambda path: ArrayFile(path, (9999,), "<f8"),
    ],
)
def test_a_limit_on_the_size_of_files_is_told_whoever_writes(save, tmp_path):
    """`ulimit -f`: Python ignores SIGXFSZ, and the write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32768, before[1]))
    try:
        with pytest.raises(UserError, match=r"ulimit -f.*same command again"):
            store().build(artifact(tmp_path), {}, lambda staging: save(staging / "array.npy"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_kill_leaves_nothing_or_something_resumable(tmp_path):
    """kill -9 at many moments of a build that takes half a second; the artifact is never there half."""
    script = textwrap.dedent(
        """
        import sys, time, pathlib
        from assimilate.artifacts.artifact import Artifact
        from assimilate.artifacts.store import Store
        from assimilate.graph.place import Built
        from assimilate.views.of_the_image import Original
        made = Artifact.of(Original(name="original"), "digits", pathlib.Path(sys.argv[1]))
        def build(staging):
            for part in range(5):
                path = staging / f"part{part}"
                if not path.exists():
                    with path.open("w") as stream:
                        for _ in range(10):
                            stream.write("x" * 1000)
                            time.sleep(0.002)
                else:
                    path.write_text("x" * 10000)
            return Built({"seconds": 0.1})
        print("ready", flush=True)
        Store("auto", str, lambda line: None).build(made, {}, build)
        """
    )
    made = Artifact.of(Original(name="original"), "digits", tmp_path)
    for delay in (0.0, 0.03, 0.06, 0.09, 0.11, 0.13):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if made.path.exists():
            assert damage(made, thorough=True) is None
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True)
    assert damage(made, thorough=True) is None
    assert set(made.manifest()["files"]) == {f"part{part}" for part in range(5)}


def test_what_a_killed_writer_left_beside_a_file_is_no_part_of_it(tmp_path):
    made = artifact(tmp_path)

    def build(staging: Path) -> Built:
        (staging / "part").write_text("whole")
        for name in (".manifest.json.999", ".part.999"):
            (staging / name).write_text("hal")
        return Built({})

    Store("auto", str, lambda line: None).build(made, {}, build)
    assert set(made.manifest()["files"]) == {"part"}
    assert {path.name for path in made.path.iterdir()} == {"part", "manifest.json"}


# ------------------------------------------------------------------------------------------------ damage


def truncate(made):
    (made.path / "data.bin").write_text("cont")


def flip(made):
    (made.path / "data.bin").write_text("cOntent")


def remove(made):
    (made.path / "data.bin").unlink()


def spoil(made):
    (made.path / "manifest.json").write_text("{")


def empty(made):
    (made.path / "manifest.json").write_text("{}")


def replace_by_a_list(made):
    (made.path / "manifest.json").write_text("[]")


def halve(made):
    whole = made.manifest()
    (made.path / "manifest.json").write_text(json.dumps({name: whole[name] for name in ("schema", "complete")}))


@pytest.mark.parametrize("harm", [truncate, flip, remove, spoil, empty, replace_by_a_list, halve])
def test_damage_is_set_aside_rebuilt_and_warned_of_once(tmp_path, harm):
    made, said = build(tmp_path), []
    harm(made)
    again = store(said=said)
    assert not again.has(made)
    again.build(made, {}, writer())
    assert again.has(made)
    assert damage(made) is None
    assert made.path.with_name(made.path.name + ".corrupt").is_dir()
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert "is built again" in said[0]


def test_a_plan_only_looks(tmp_path):
    made, said = build(tmp_path), []
    truncate(made)
    before = sorted(tmp_path.rglob("*"))
    looking = store("plan", said)
    assert not looking.has(made)
    assert not looking.has(made)
    assert len(said) == 1
    assert "would be set aside" in said[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_discard_forgets_and_builds_anew(tmp_path):
    made, own = build(tmp_path), store()
    assert own.has(made)
    own.discard(made)
    assert not own.has(made)
    own.build(made, {}, writer("anew"))
    assert (made.path / "data.bin").read_text() == "anew"
    with pytest.raises(UserError, match="force=true"):
        store("never").discard(made)
    assert made.path.is_dir()


def test_leftovers_stay_until_the_manifest_is_written(tmp_path, monkeypatch):
    """A kill between the last byte and the rename costs nothing."""
    made = artifact(tmp_path)

    def fill(staging):
        (staging / "last.ckpt").write_text("resumable")
        (staging / "tiles").mkdir(exist_ok=True)
        (staging / "tiles" / "0").write_text("tile")
        return Built(writer()(staging).facts, frozenset({"log.csv"}), frozenset({"last.ckpt", "tiles"}))

    monkeypatch.setattr(
        "assimilate.artifacts.store.publish", lambda wanted: (_ for _ in ()).throw(RuntimeError("power cut"))
    )
    with pytest.raises(RuntimeError):
        store().build(made, {}, fill)
    assert (made.staging / "last.ckpt").is_file()
    monkeypatch.undo()
    store().build(made, {}, lambda staging: pytest.fail("it was complete but for the rename"))
    assert damage(made, thorough=True) is None
    assert {path.name for path in made.path.iterdir()} == {"data.bin", "log.csv", "manifest.json"}


def test_damage_is_an_error_under_never(tmp_path):
    made = build(tmp_path)
    truncate(made)
    with pytest.raises(UserError, match=r"damaged.*build thing"):
        store("never").has(made)
    assert made.path.is_dir()


def test_missing_is_an_error_under_never_that_names_the_command(tmp_path):
    with pytest.raises(UserError, match="is missing; this builds it: build thing"):
        store("never").build(artifact(tmp_path), {}, writer())


def test_a_parent_rebuilt_with_other_bytes_is_noticed(tmp_path):
    parent = build(tmp_path, content={"p": 1})
    child = build(tmp_path, parents={"generator": parent})
    assert damage(child) is None
    import shutil

    shutil.rmtree(parent.path)
    store().build(parent, {}, writer("other bytes"))
    assert "rebuilt with other bytes" in (damage(child) or "")


# ------------------------------------------------------------------------------------------------ parallel builders


def test_parallel_builders_build_once(tmp_path):
    made, count = artifact(tmp_path), []

    def slow(staging):
        count.append(1)
        time.sleep(0.2)
        return writer()(staging)

    stores = [store() for _ in range(4)]
    threads = [threading.Thread(target=one.build, args=(made, {}, slow)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) == 1
    assert sorted(len(one.built) for one in stores) == [0, 0, 0, 1]
    assert json.loads((made.path / "manifest.json").read_text())["complete"]
