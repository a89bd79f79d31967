"""The GPU pack's rehearsal: its very commands and scripts, on the CPU at toy size, in this process."""

import contextlib
import importlib
import io
import json
import os
import runpy
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path += [str(BENCHMARKS / "gpu"), str(BENCHMARKS)]

import archive as archives  # noqa: E402
import context as contexts  # noqa: E402
import pack  # noqa: E402
import wheels as carried  # noqa: E402
from notebook import Notebook  # noqa: E402

import profile_steps  # noqa: E402

# The rehearsal is made once: its tests belong to one process.
pytestmark = pytest.mark.xdist_group("gpu pack")

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")


def jpeg(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    coarse.save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of the expected layout: 9 training and 5 test images a class."""
    path = tmp_path_factory.mktemp("archive") / "images.tar.xz"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:xz") as stream:
        for part, count in (("train", 9), ("test", 5)):
            for name in CLASSES:
                for index in range(count):
                    content = jpeg(rng)
                    member = tarfile.TarInfo(f"./{part}/{name}/{index:04d}.jpg")
                    member.size = len(content)
                    stream.addfile(member, io.BytesIO(content))
    return path


def here(words, environment, seconds, log):
    """A command of the pack without a process of its own."""
    saved = sys.argv
    try:
        if words[1] == "-m":
            return importlib.import_module(words[2]).main(list(words[3:]))
        sys.argv = [*words[1:]]
        runpy.run_path(str(BENCHMARKS.parent / words[1]), run_name="__main__")
        return 0
    finally:
        sys.argv = saved


def call(archive, folder, *pieces, launch=here, extra=()):
    words = ["--piece", *map(str, pieces), "--archive", str(archive), "--out", str(folder / "out")]
    words += ["--work", str(folder / "work"), "--rehearse", *extra]
    saved = list(sys.path)
    try:
        return pack.main(words, launch=launch)
    finally:
        sys.path[:] = saved


def lines(path: Path) -> list[dict]:
    return [json.loads(text) for text in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def rehearsed(archive, tmp_path_factory):
    """All pieces, one after the other."""
    folder = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        # On a machine with a GPU a rehearsal is of the CPU all the same.
        patch.setattr(profile_steps, "device_here", lambda: pytest.fail("a rehearsal asks for the device that is here"))
        assert call(archive, folder, 0, 1, 2, 3) == 0
    return folder


def test_every_piece_runs_through(rehearsed):
    found = {line["measurement"]: line for line in lines(rehearsed / "out" / "measurements.jsonl")}
    assert all(line["rehearsal"] for line in found.values())
    assert not [name for name, line in found.items() if "failed" in line]
    for prefix in ("environment", "simclr step/", "simclr shares/", "a2 shares/", "generator synthesis", "wsearch/"):
        assert any(name.startswith(prefix) for name in found), prefix
    step = next(line for name, line in found.items() if name.startswith("simclr step/"))
    assert step["ratio"] == pytest.approx(step["step_ms"] / step["bare_step_ms"], rel=1e-3)
    for name, line in found.items():
        if name.startswith("generator synthesis"):
            assert line["gradient_error"] < (1e-4 if "fp32" in name else 0.1), name


def test_table3_has_all_its_rows_alike(rehearsed):
    runs = lines(rehearsed / "out" / "runs.jsonl")
    short = [run for run in runs if run["probe"] == "essl"]
    rows = {(run["assim"], run["view"]) for run in short}
    views = ("wsearch", "wperturb", "wmix")
    assert rows == {("simclr", "expert"), *((assim, view) for assim in ("a1", "a2") for view in views)}
    assert len({(run["epochs"], run["batch_size"], run["num_images"]) for run in short}) == 1
    assert all({"acc1", "knn5"} <= run["metrics"].keys() for run in runs)
    (recipe,) = (run for run in runs if run["probe"] == "dkobak_precomputed")
    assert "knn10" in recipe["metrics"]
    # f of W-search is the SimCLR row's encoder, not another one.
    assert len(list((rehearsed / "work").rglob("encoders/*/simclr-*/manifest.json"))) == 2


def test_the_page_shows_what_was_found(rehearsed):
    page = (rehearsed / "out" / "summary.md").read_text()
    assert "rehearsal at toy size" in page
    for title in ("Training step", "W-search", "Generator", "Runs", "Stages", "Commands"):
        assert f"## {title}" in page
    assert "assimilate.train" in page
    assert list((rehearsed / "out").glob("*.png"))


def test_what_is_there_is_not_made_again(rehearsed, archive):
    before = (rehearsed / "out" / "measurements.jsonl").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in (rehearsed / "work").rglob("manifest.json")}
    assert call(archive, rehearsed, 1, 2) == 0
    assert (rehearsed / "out" / "measurements.jsonl").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_cut_is_said_and_goes_on(archive, tmp_path, capsys):
    seen = []

    def cut_second(words, *rest):
        seen.append(words)
        return None if len(seen) == 2 else 0

    assert call(archive, tmp_path, 0, launch=cut_second) == pack.CUT
    assert "goes on from here" in capsys.readouterr().out
    assert call(archive, tmp_path, 2, launch=cut_second) == 0
    # Piece 0 was not complete, so it comes first again.
    assert [Path(words[1]).name if words[1] != "-m" else words[2] for words in seen] == [
        *("environment.py", "assimilate.prepare_data"),
        *("environment.py", "assimilate.prepare_data", "assimilate.train"),
    ]
    seen.clear()
    assert call(archive, tmp_path, 2, launch=lambda words, *rest: seen.append(words) or 0) == 0
    assert [words[2] for words in seen] == ["assimilate.train"]


def test_a_piece_that_fails_does_not_cost_the_others(archive, tmp_path, capsys):
    done = []

    def launch(words, *rest):
        done.append(words)
        return int("recipe=dkobak_100" in words)

    assert call(archive, tmp_path, 2, 3, launch=launch) == 1
    assert "piece 2 failed: exit code 1" in capsys.readouterr().err
    assert {"assimilate.make_views", "assimilate.train"} <= {words[2] for words in done[-7:]}


def test_overrides_and_the_commit_reach_every_command(archive, tmp_path):
    seen = []

    def launch(words, environment, *rest):
        seen.append((words, environment))
        return 0

    extra = ("--commit", "abc123", "--set", "trainer.compile=true", "probe.seeds=[0]")
    assert call(archive, tmp_path, 2, 3, launch=launch, extra=extra) == 0
    stages = [words for words, _ in seen if words[1] == "-m"]
    assert all(words.count("trainer.compile=true") == 1 and "probe.seeds=[0]" in words for words in stages)
    assert all(environment["ASSIMILATE_COMMIT"] == "abc123" for _, environment in seen)
    # Nothing is given twice, so nothing depends on which of two wins.
    keys = [[word.split("=")[0] for word in words if "=" in word] for words in stages]
    assert all(len(set(given)) == len(given) for given in keys)


def test_a_command_is_stopped_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(contexts, "PATIENCE_SECONDS", 0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    )
    started = time.monotonic()
    assert contexts.launch([sys.executable, "-c", stubborn], os.environ, 3.0, tmp_path / "log") is None
    assert time.monotonic() - started < 20
    assert contexts.launch([sys.executable, "-c", "raise SystemExit(7)"], os.environ, 30.0, tmp_path / "log") == 7
    assert (tmp_path / "log").read_text() == "on\n"


def test_the_total_is_kept(archive, tmp_path):
    ledger = tmp_path / "work" / pack.LEDGER
    ledger.parent.mkdir()
    ledger.write_text('{"pieces": [1], "seconds": 1490}\n')
    arguments = ["--piece", "2", "--archive", str(archive), "--out", str(tmp_path), "--work", str(ledger.parent)]
    assert pack.main(arguments, launch=here) == pack.CUT  # of 1,500 s are 10 left, less than stopping may take


def test_an_archive_of_another_layout_is_refused(tmp_path):
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as stream:
        member = tarfile.TarInfo("train/ant/0.jpg")
        stream.addfile(member, io.BytesIO())
    with pytest.raises(ValueError, match="has no test/<class>"):
        archives.unpack(path, tmp_path / "images")
    path.write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match="cannot be read"):
        archives.unpack(path, tmp_path / "images")


def test_an_archive_is_unpacked_once_and_in_part(archive, tmp_path):
    folder = tmp_path / "images"
    archives.unpack(archive, folder, per_class=2)
    assert len(list(folder.glob("train/*/*.jpg"))) == 2 * len(CLASSES)
    (folder / "train" / "ant" / "0000.jpg").unlink()
    archives.unpack(archive, folder, per_class=2)
    assert len(list(folder.glob("train/*/*.jpg"))) == 2 * len(CLASSES) - 1  # left alone
    archives.unpack(archive, folder)
    assert len(list(folder.glob("*/*/*.jpg"))) == 14 * len(CLASSES)


def test_wheels_are_put_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder, site = tmp_path / "wheels", tmp_path / "site"
    folder.mkdir()
    with zipfile.ZipFile(folder / "carried_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_thing.py", "answer = 42\n")
    monkeypatch.setattr(carried, "CARRIED", {"carried_thing": "carried-thing==1.0"})
    carried.unpack_wheels(folder, site)
    assert importlib.import_module("carried_thing").answer == 42
    monkeypatch.setattr(carried, "CARRIED", {"no_such_module": "no-such-module==3"})
    with pytest.raises(ValueError, match=r"lacks no-such-module==3.*pip wheel"):
        carried.unpack_wheels(folder, site)
    (folder / "compiled-1.0-cp312-cp312-linux_x86_64.whl").touch()
    with pytest.raises(ValueError, match="not pure Python"):
        carried.unpack_wheels(folder, site)


def test_a_line_that_a_kill_cut_is_passed_over(tmp_path):
    notebook = Notebook(tmp_path, {"device": "here"})
    notebook.record("first", value=1)
    with notebook.path.open("a") as stream:
        stream.write('{"measurement": "second", "val')
    assert not notebook.has("second")
    notebook.record("third", value=3)
    assert [line["measurement"] for line in notebook.lines()] == ["first", "third"]


@pytest.mark.slow
def test_the_rehearsal_as_processes(archive, tmp_path):
    """As it is typed; about two minutes, most of it imports."""
    command = [sys.executable, "benchmarks/gpu/pack.py", "--piece", "0", "1", "2", "3", "--rehearse"]
    command += ["--archive", str(archive), "--out", str(tmp_path / "out")]
    with contextlib.chdir(BENCHMARKS.parent):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    assert len(lines(tmp_path / "out" / "runs.jsonl")) == 8
