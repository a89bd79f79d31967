"""One changed byte in any file, finished or half-made: it is found, and what comes of it is never a wrong value."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate import make_views, report, train
from assimilate.artifacts import store
from assimilate.artifacts.artifact import Artifact, read_manifest
from assimilate.artifacts.store import Store, damage
from assimilate.data import parts
from assimilate.data.bulk_decoding import decode_into
from assimilate.data.decoding import Decoded
from assimilate.data.row_writer import RowWriter
from assimilate.files import checked_files
from assimilate.files.checked_files import check_zip, read_sealed, seal_zip, write_sealed
from assimilate.files.plain_files import load_plain, load_resume_point, previous_of, save_plain, save_resume_point
from assimilate.graph.place import Built
from tests.chain_run import run
from tests.made_up_step import Thing


def flip(path: Path, offset: int, *, keep_times: bool = True) -> None:
    """Change one byte as an editor does, and put its time of change back as a copying program does."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        (byte,) = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def offsets(path: Path, count: int = 5) -> list[int]:
    size = path.stat().st_size
    return sorted({0, size - 1, *np.random.default_rng(size).integers(0, size, count).tolist()}) if size else []


def files(folder: Path) -> dict[str, bytes]:
    """What a finished artifact would hold of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


# ------------------------------------------------------------------------------------------------ finished artifacts


@dataclass
class OnDisk:
    """A finished artifact as its own manifest describes it."""

    path: Path
    key: str
    parents: dict[str, "OnDisk"]

    def manifest(self) -> dict:
        return read_manifest(self.path)


def on_disk(root: Path, label: str) -> OnDisk:
    manifest = read_manifest(root / label)
    parents = {role: on_disk(root, entry["path"]) for role, entry in manifest["parents"].items()}
    return OnDisk(root / label, manifest["key"], parents)


def check_finished(root: Path) -> set[str]:
    """Change bytes of each file of each finished artifact below `root`, each is found; the kinds that were there."""
    folders = sorted(path.parent for path in root.rglob("manifest.json"))
    for folder in folders:
        artifact = on_disk(root, folder.relative_to(root).as_posix())
        assert damage(artifact) is None
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            for offset in offsets(path):
                flip(path, offset)
                assert damage(artifact) is not None, (path, offset)
                flip(path, offset)
        assert damage(artifact) is None
    return {folder.relative_to(root).parts[0] for folder in folders}


def test_every_file_of_every_kind_of_finished_artifact(copy):
    kinds = {"datasets", "generators", "latents", "encoders", "calibrations", "views", "floors", "probes"}
    assert check_finished(copy / "artifacts") == kinds


def test_every_byte_of_a_manifest(copy):
    (path,) = (copy / "artifacts" / "calibrations").rglob("manifest.json")
    whole = path.read_bytes()
    for offset in [*range(0, len(whole), 7), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        with pytest.raises(ValueError):
            read_manifest(path.parent)
    path.write_bytes(whole)
    assert json.loads(whole)["sha256"]
    assert "sha256" not in read_manifest(path.parent)


def test_an_artifact_of_schema_1_is_used_as_it_is(copy):
    (path,) = (copy / "artifacts" / "calibrations").rglob("manifest.json")
    artifact = on_disk(copy / "artifacts", path.parent.relative_to(copy / "artifacts").as_posix())
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    assert damage(artifact) is not None, "schema 2 has a checksum"
    path.write_text(json.dumps(manifest | {"schema": 1}))
    assert damage(artifact) is None
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"sha256": "0" * 64}))
    assert damage(artifact) is not None


def large(root: Path, size: int) -> Artifact:
    """An artifact with one sparse file."""

    def build(staging: Path) -> Built:
        with (staging / "images.npy").open("wb") as stream:
            stream.truncate(size)
        return Built({})

    artifact = Artifact(Thing({"size": size}, kind="views"), "digits", root, {})
    Store("auto", lambda wanted: "", print).build(artifact, {}, build)
    return artifact


def test_a_sparse_file_above_the_limit(tmp_path):
    artifact = large(tmp_path, store.HASH_UP_TO_BYTES + 2**20)
    assert damage(artifact) is None
    flip(artifact.path / "images.npy", store.HASH_UP_TO_BYTES // 2)
    assert damage(artifact) == "images.npy does not match its checksum"


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_large_file_is_read_again_when_it_has_been_touched_and_not_otherwise(tmp_path, monkeypatch, keep_times):
    monkeypatch.setattr(store, "HASH_UP_TO_BYTES", 1000)
    artifact = large(tmp_path, 5000)
    path, read = artifact.path / "images.npy", []
    digest_file = checked_files.digest_file
    monkeypatch.setattr(checked_files, "digest_file", lambda file: read.append(file) or digest_file(file))
    assert damage(artifact) is None
    assert damage(artifact) is None
    assert len(read) == 2, "it is so young that a change might leave no trace"
    monkeypatch.setattr(checked_files, "_SETTLED_NS", 0)
    assert damage(artifact) is None
    assert damage(artifact) is None
    assert len(read) == 3
    for offset in (0, 1234, 4999):
        flip(path, offset, keep_times=keep_times)
        assert damage(artifact) == "images.npy does not match its checksum"
        flip(path, offset)
        assert damage(artifact) is None
    count = len(read)
    assert damage(artifact, thorough=True) is None
    assert len(read) == count + 1
    (tmp_path / "views" / "digits" / f"{artifact.path.name}.seen.json").write_text("}")
    assert damage(artifact) is None
    assert len(read) == count + 2


def test_a_build_that_lacked_only_its_rename_is_looked_at_first(tmp_path):
    artifact = large(tmp_path, 5000)
    artifact.path.rename(artifact.staging)
    flip(artifact.staging / "images.npy", 77)

    def again(staging: Path) -> Built:
        (staging / "images.npy").write_bytes(b"made again")
        return Built({})

    Store("auto", lambda wanted: "", print).build(artifact, {}, again)
    assert (artifact.path / "images.npy").read_bytes() == b"made again"


# ------------------------------------------------------------------------------------------------ checkpoints


def test_every_byte_of_a_resume_point(tmp_path):
    path = tmp_path / "last.ckpt"
    save_resume_point(path, {"step": 1, "weight": torch.zeros(9)})
    save_resume_point(path, {"step": 2, "weight": torch.ones(9)})
    for offset in range(0, path.stat().st_size, 3):
        flip(path, offset)
        with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
            content = load_resume_point(path)
        assert content is not None
        assert content["step"] == 1, offset
        save_resume_point(path, {"step": 2, "weight": torch.ones(9)})
        assert load_plain(previous_of(path))["step"] == 1
    assert load_resume_point(path)["step"] == 2  # type: ignore[index]
    flip(path, 500)
    flip(previous_of(path), -500)
    with pytest.warns(UserWarning, match="the training starts again"):
        assert load_resume_point(path) is None


def test_a_file_of_torch_save_without_a_seal_never_loads_with_wrong_values(tmp_path):
    path = tmp_path / "theirs.pt"
    torch.save({"weight": torch.arange(32.0)}, path)
    for offset in range(0, path.stat().st_size, 3):
        flip(path, offset)
        with contextlib.suppress(ValueError):
            assert torch.equal(load_plain(path)["weight"], torch.arange(32.0)), offset
        flip(path, offset)


def test_a_file_that_was_cut_is_not_taken_for_one_without_a_seal(tmp_path):
    """The seal is the archive's comment, behind all else: what is cut off there leaves an archive that can be read."""
    path = tmp_path / "ours.pt"
    save_plain(path, {"weight": torch.arange(3.0)})
    whole = path.read_bytes()
    check_zip(path)
    for changed in (*(whole[:-cut] for cut in (1, 17, 64, 81, 82, 83, 200)), whole + b"\n"):
        path.write_bytes(changed)
        with pytest.raises(ValueError):
            check_zip(path)


def test_other_programs_read_a_sealed_file(tmp_path):
    save_plain(tmp_path / "ours.pt", {"weight": torch.arange(3.0)})
    assert torch.load(tmp_path / "ours.pt", weights_only=True)["weight"].tolist() == [0, 1, 2]
    with (tmp_path / "tile.npz").open("w+b") as stream:
        np.savez(stream, codes=np.arange(3))
        seal_zip(stream)
    check_zip(tmp_path / "tile.npz")
    assert np.load(tmp_path / "tile.npz")["codes"].tolist() == [0, 1, 2]


def test_equal_content_has_equal_bytes(tmp_path):
    """Strings that are equal and not the same, and containers that are shared or not."""
    literal, computed, shared = "exp_avg", "".join(["exp", "_avg"]), [1.0]
    assert computed is not literal
    save_plain(tmp_path / "a.pt", {"x": {literal: shared}, "y": {literal: shared}})
    save_plain(tmp_path / "b.pt", {"x": {literal: [1.0]}, "y": {computed: [1.0]}})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


# ------------------------------------------------------------------------------------------------ half-made arrays


ROWS, FIELDS = (6, 2, 3, 4, 4), {"distances": ((6, 2), "<f4"), "steps": ((6,), "<i4")}


def fill_rows(folder: Path, count: int = 6) -> int:
    """Go on filling up to `count` rows; how many were damaged."""
    with RowWriter(folder, ROWS, FIELDS) as writer:
        for index in writer.pending()[:count]:
            views = np.random.default_rng(index).integers(0, 256, ROWS[1:], dtype=np.uint8)
            writer.write(index, views, distances=np.full(2, index / 7, np.float32), steps=np.int32(index + 1))
        return writer.num_damaged


@pytest.mark.parametrize("name", ["images.npy", "distances.npy", "steps.npy", "done.npy", ".checksums.npy"])
def test_every_byte_of_a_half_made_cache(tmp_path, name):
    fill_rows(tmp_path / "whole")
    fill_rows(tmp_path / "half", 4)
    whole, half = files(tmp_path / "whole"), tmp_path / "half" / name
    damaged = 0
    for offset in range(0, half.stat().st_size, 1 if name == "done.npy" else 5):
        shutil.copytree(tmp_path / "half", tmp_path / "cut")
        flip(tmp_path / "cut" / name, offset)
        damaged += fill_rows(tmp_path / "cut")
        assert files(tmp_path / "cut") == whole, offset
        shutil.rmtree(tmp_path / "cut")
    assert damaged > 0


def test_a_row_that_changes_while_others_are_made_is_not_sealed(tmp_path):
    with RowWriter(tmp_path, ROWS, FIELDS) as writer:
        for index in writer.pending():
            writer.write(index, np.full(ROWS[1:], index, np.uint8), distances=np.zeros(2), steps=np.int32(0))
        writer.flush()
        flip(tmp_path / "images.npy", -1)
        assert writer.check() == 1
        assert writer.pending() == [5]


def test_every_byte_of_half_decoded_images(tmp_path):
    names = [f"{index}.png" for index in range(5)]

    def decode(name: str) -> Decoded:
        return Decoded(np.random.default_rng(int(name[0])).integers(0, 256, (3, 4, 4), dtype=np.uint8), int(name[0]))

    def fails(name: str) -> Decoded:
        if name == "4.png":
            raise ValueError("not now")
        return decode(name)

    path = tmp_path / "train_images.npy"
    decode_into(path, names, decode, image_size=4)
    whole = path.read_bytes()
    path.unlink()
    decode_into(path, names, fails, image_size=4)
    half = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for file, content in half.items():
        for offset in range(0, len(content), 5):
            for each, bytes_of in half.items():
                each.write_bytes(bytes_of)
            flip(file, offset)
            _, failed, bits = decode_into(path, names, decode, image_size=4)
            assert path.read_bytes() == whole, (file, offset)
            assert not failed
            assert bits.tolist() == [0, 1, 2, 3, 4]


def test_every_byte_of_the_note_of_a_part(tmp_path):
    parts.begin(tmp_path / "part", 3, {"generator": "a"})
    fill_rows(tmp_path / "part")
    parts.seal(tmp_path / "part", 3, {"generator": "a"})
    assert parts.damage(tmp_path / "part") is None
    for path in sorted((tmp_path / "part").glob("[!.]*")):
        for offset in range(0, path.stat().st_size, 3):
            flip(path, offset)
            assert parts.damage(tmp_path / "part") is not None, (path, offset)
            flip(path, offset)


def test_every_byte_of_a_sealed_json(tmp_path):
    write_sealed(tmp_path / "note.json", {"first": 3, "name": "ä"})
    for offset in range((tmp_path / "note.json").stat().st_size):
        flip(tmp_path / "note.json", offset)
        with pytest.raises(ValueError, match="does not match its checksum"):
            read_sealed(tmp_path / "note.json")
        flip(tmp_path / "note.json", offset)
    assert read_sealed(tmp_path / "note.json") == {"first": 3, "name": "ä"}


def test_a_half_made_cache_of_a_chain_is_mended_and_said(copy, capsys):
    (views,) = (path for path in (copy / "artifacts" / "views").glob("*/*") if path.is_dir())
    whole = files(views)
    shutil.rmtree(views)
    assert run(make_views, "shard=1/2", f"out={copy}") == 0
    partial = views.with_name(views.name + ".partial")
    (part,) = views.parent.glob("*.shard1of2/")
    # As if the process had been killed before it could seal.
    note = read_sealed(part / "part.json")
    write_sealed(part / "part.json", note | {"complete": False, "files": {}})
    flip(part / "images.npy", -1)
    assert run(make_views, f"out={copy}") == 0
    assert f"{part.name} is damaged: 1 image does not match its checksum" in capsys.readouterr().out
    assert not partial.exists()
    for name in whole.keys() - {"manifest.json"}:
        assert (views / name).read_bytes() == whole[name], name


# ------------------------------------------------------------------------------------------------ results


def test_an_edited_result_is_not_believed(copy, capsys):
    (path,) = copy.rglob("metrics.json")
    before = json.loads(path.read_bytes())
    metrics = json.loads(json.dumps(before["metrics"]))
    metrics["knn5"]["mean"] += 1
    path.write_text(json.dumps(before | {"metrics": metrics}))
    assert report.main([f"out={copy}"]) == 0
    assert "says other metrics than probes/" in (copy / "report.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert run(report, f"out={copy}") == 2
    assert "says other metrics than probes/" in capsys.readouterr().err
    changes = {"dataset": "cifar10", "seed": 5, "metrics": metrics, "untrained": {}, "baseline": {}, "knn_curve": []}
    path.write_text(json.dumps(before | changes))
    assert run(train, f"out={copy}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"says other {', '.join(changes)} than its artifacts; it is written anew" in said
    after = json.loads(path.read_bytes())
    assert {key: after[key] for key in changes} == {key: before[key] for key in changes}
