"""logger=wandb without network: N jobs are N runs, and their files hold what was measured."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from assimilate.errors import UserError
from assimilate.jobs.dashboard import tell_views
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.tracking.run_tracker import open_tracker, run_id
from assimilate.tracking.tracker import FileTracker, Relay, Tracker
from assimilate.tracking.wandb_tracker import WandbTracker, chosen_mode
from assimilate.views.synthesised import WPerturb
from tests.chain_run import SMOKE, results
from tests.offline_wandb import read_run, told_of, values_of

pytestmark = pytest.mark.xdist_group("chain")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No key anywhere, and no way out: a connection would fail the test's run."""
    for name in ("API_KEY", "MODE", "BASE_URL", "DISABLED", "PROJECT", "ENTITY"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")


def test_four_jobs_are_four_offline_runs(copy, offline, capfd):
    from assimilate import train

    words = ["seed=1,2", "loss.alpha=0.25,0.75", "logger=wandb", "logger.every_n_steps=1", "logger.checkpoints=true"]
    assert train.main(["-m", *words, *SMOKE, f"out={copy}"]) == 0
    shown = capfd.readouterr()
    assert shown.out.count("wandb sync ") == 4
    assert "api key" not in (shown.out + shown.err).lower()
    folders = sorted((copy / "wandb").glob("offline-run-*"))
    ids = {re.fullmatch(r"offline-run-\d+_\d+-(\w+)", folder.name).group(1) for folder in folders}
    assert len(folders) == len(ids) == 4
    measured = {}
    for path in results(copy):
        result = json.loads(path.read_text())
        measured[result["seed"], result["config"]["loss"]["alpha"]] = path, result
    seen = set()
    for folder in folders:
        records = read_run(folder)
        (run,) = (record.run for record in records if record.HasField("run"))
        config = values_of(run.config.update)
        which = config["seed"], config["loss"]["alpha"]
        path, result = measured[which]
        seen.add(which)
        # Who it is.
        assert run.display_name == path.parent.relative_to(copy).as_posix()
        assert (run.run_group, run.job_type) == ("smoke/adhoc", "train")
        assert "budget=smoke" in run.tags
        assert (config["budget"]["name"], config["command"]) == ("smoke", result["command"])
        # What it measured: its own files say the same.
        for name, value in result["metrics"].items():
            assert told_of(records, "summary", f"final/{name}") == [value["mean"]]
            assert told_of(records, "summary", f"final/{name}_std") == [value["std"]]
        curve = [accuracy for _, accuracy in result["knn_curve"]]
        assert told_of(records, "history", "train/knn5") == curve
        with (path.parent / "history.csv").open() as stream:
            epochs = list(csv.DictReader(stream))
        for name in ("loss", "base", "alignment"):
            steps = told_of(records, "history", f"train/{name}")
            assert len(steps) == int(epochs[-1]["step"]) == 4  # every_n_steps=1, two epochs of two steps
            for epoch, row in enumerate(epochs):
                assert np.mean(steps[2 * epoch : 2 * epoch + 2]) == pytest.approx(float(row[name]), rel=1e-6)
        assert told_of(records, "history", "train/lr")[1] == pytest.approx(float(epochs[0]["lr"]))
        assert min(told_of(records, "history", "train/images_per_second")) > 0
        for name in ("views/grid", "train/first_batch"):
            assert told_of(records, "history", name) == ["image-file"]
            assert list(folder.glob(f"files/media/images/{name}_*.png"))
        assert told_of(records, "history", "views/distance_to_anchor") == ["histogram"]
        # A smoke run is told from a paper's by its group, tag, config and summary; its metrics have the same names.
        assert told_of(records, "summary", "budget") == ["smoke"]
        # What was measured, and what it is made from.
        epsilon1 = json.loads(next(copy.glob("artifacts/calibrations/*/*/calibration.json")).read_text())["epsilon1"]
        found = {
            key: value
            for record in records
            if record.HasField("config")
            for key, value in values_of(record.config.update).items()
        }
        assert found["measured"] == {"epsilon1": epsilon1}
        assert set(found["made_from"]) == {"generators", "latents", "encoders", "calibrations", "views"}
        assert f"views/digits/{found['made_from']['views']}" in result["artifacts"]
        assert any(record.HasField("artifact") for record in records)
    assert seen == {(seed, alpha) for seed in (1, 2) for alpha in (0.25, 0.75)}
    # A run that goes on, or is looked at again, is the same run.
    assert train.main(["seed=2", "loss.alpha=0.75", "logger=wandb", *SMOKE, f"out={copy}"]) == 0
    again = sorted((copy / "wandb").glob("offline-run-*"))
    assert len(again) == 5
    assert {folder.name.split("-")[-1] for folder in again} == ids


def test_wandb_is_not_imported_unless_chosen(copy):
    script = (
        "import sys; from assimilate.train import main;"
        f"assert main({[*SMOKE, f'out={copy}']!r}) == 0; assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


# ------------------------------------------------------------------------------------------------ which run it is


def job_of(stage, *words):
    words = ("logger=wandb", *words)
    return make_job(stage, compose(words), words)


def test_a_run_is_known_by_its_identity():
    run = run_id(job_of("train", "seed=1"))
    for same in (("train", "seed=1", "trainer=cpu", "knn.every_n_epochs=0"), ("evaluate", "seed=1")):
        assert run_id(job_of(*same)) == run
    others = [("train", "seed=2"), ("train", "seed=1", "budget=smoke"), ("make_views", "seed=1")]
    others += [("train", "seed=1", "loss.alpha=0.1"), ("train", "seed=1", "logger.suffix=again")]
    assert len({run, *(run_id(job_of(*other)) for other in others)}) == 6


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("offline", {"WANDB_API_KEY": "k"}, "offline"),
        ("online", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled", "WANDB_DISABLED": "true"}, "online"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "online", "WANDB_DISABLED": "true"}, "disabled"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_DISABLED": "false"}, "online"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "dryrun"}, "offline"),
    ],
)
def test_offline_unless_there_is_a_key(offline, monkeypatch, asked, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert chosen_mode(asked) == mode


def test_a_login_elsewhere_counts(offline, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password x")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert chosen_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert chosen_mode("auto") == "online"


@pytest.mark.parametrize("mode", ["online", "sometimes"])
def test_nobody_is_asked_to_log_in(offline, mode):
    with pytest.raises(UserError, match=r"logger\.mode"):
        chosen_mode(mode)


@pytest.mark.parametrize(
    ("words", "project", "entity"),
    [((), "theirs", "a-team"), (("logger.project=mine", "logger.entity=null"), "mine", None)],
)
def test_the_environment_names_the_project_unless_an_override_does(offline, monkeypatch, words, project, entity):
    settings = job_of("train").config["logger"]
    assert (settings["project"], settings["entity"]) == ("assimilate", None)
    before = run_id(job_of("train", *words))
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "a-team")
    job = job_of("train", *words)
    assert (job.config["logger"]["project"], job.config["logger"]["entity"]) == (project, entity)
    assert run_id(job) == before


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"WANDB_MODE": "offlin"}, "WANDB_MODE=offlin is unknown; allowed are online, offline, disabled"),
        ({"WANDB_MODE": "online"}, "WANDB_MODE=online needs a key"),
        ({"WANDB_CONSOLE": "nope"}, "refuses its settings: .*console.*'nope'"),
    ],
)
def test_what_wandb_cannot_use_is_one_line(offline, monkeypatch, tmp_path, capsys, environment, why):
    import wandb

    wandb.teardown()  # in one process it reads its environment once
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused(tmp_path, capsys, why)


def test_wandb_without_a_home_is_one_line(offline, homeless, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("NETRC")
    refused(tmp_path, capsys, "needs a home folder")


def refused(tmp_path, capsys, why):
    from assimilate import train

    assert train.main([*SMOKE, "assim=simclr", "logger=wandb", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert re.search(why, error), error
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_disabled_is_neither_imported_nor_kept(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DISABLED", "true")
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ("logger=wandb", f"out={tmp_path}")
    said = []
    with open_tracker(make_job("train", compose(words), words), said.append) as tracker:
        assert not tracker.listens
    assert "disabled" in said[0]
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ ranks


class Listener(Tracker):
    listens = True

    def __init__(self):
        self.heard = []

    def log(self, metrics):
        self.heard.append(dict(metrics))


def test_what_a_rank_writes_its_parent_hears_once(tmp_path):
    writer, listener = FileTracker(tmp_path / "metrics"), Listener()
    relay = Relay(tmp_path / "metrics", listener)
    relay()
    writer.log({"train/loss": 1.5, "train/step": 50})
    relay()
    relay()
    assert listener.heard == [{"train/loss": 1.5, "train/step": 50}]
    with (tmp_path / "metrics").open("a") as stream:  # half of a line is not yet one
        stream.write('{"train/loss": 0.5, "tra')
    relay()
    assert len(listener.heard) == 1
    with (tmp_path / "metrics").open("a") as stream:
        stream.write('in/step": 100}\n')
    relay()
    assert listener.heard[1:] == [{"train/loss": 0.5, "train/step": 100}]


def test_a_launch_passes_on_what_its_rank_measures(tmp_path, monkeypatch):
    from assimilate.jobs import children

    monkeypatch.setattr(children, "RELAY_EVERY_SECONDS", 0.05)
    script = (
        "import os, time\n"
        "for step in range(3):\n"
        "    with open(os.environ['ASSIMILATE_RANK_METRICS'], 'a') as stream:\n"
        "        stream.write('{\"train/step\": %d}\\n' % step)\n"
        "    time.sleep(0.1)\n"
        "raise SystemExit(3)"
    )
    path = tmp_path / ".metrics.jsonl"
    path.write_text('{"train/step": 99}\n')  # of a launch that was killed
    session = SimpleNamespace(tracker=Listener())
    assert children._run_and_relay(session, [sys.executable, "-c", script], dict(os.environ), path) == 3
    assert session.tracker.heard == [{"train/step": step} for step in range(3)]
    assert not path.exists()


def test_progress_is_logged_now_and_then():
    listener, shown = Listener(), []
    report = listener.following(lambda done, total, values: shown.append(done), "generator", every=4)
    for done in range(1, 11):
        report(done, 10, {"d": done / 2})
    assert shown == list(range(1, 11))
    assert [point["generator/step"] for point in listener.heard] == [4, 8, 10]
    assert listener.heard[0] == {"generator/d": 2.0, "generator/step": 4}
    silent = Tracker()
    assert silent.loggers("train") == []


@pytest.mark.parametrize("measured", [True, False])
def test_views_without_distances_are_told_of_without_any(tmp_path, measured):
    """W-perturb's cache holds NaN where W-search's holds distances; W&B makes no histogram of those."""
    heard = {}

    class Notes(Tracker):
        listens = True

        def histogram(self, name, values):
            heard[name] = np.histogram(values)

        def picture(self, name, png, caption):
            heard[name] = caption

        def conclude(self, values):
            heard.update(values)

    np.save(tmp_path / "images.npy", np.zeros((3, 2, 3, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "steps.npy", np.full(3, 7 if measured else 0, dtype=np.int32))
    for name in ("distances", "distances_original"):
        np.save(tmp_path / f"{name}.npy", np.full((3, 2), 0.25 if measured else np.nan, dtype=np.float32))
    (tmp_path / "summary.json").write_text('{"views": 6}')
    dataset = SimpleNamespace(train=SimpleNamespace(images=np.zeros((3, 3, 8, 8), dtype=np.uint8)))
    chain = SimpleNamespace(views=SimpleNamespace(path=tmp_path, step=WPerturb.model_construct()))
    tell_views(SimpleNamespace(tracker=Notes(), chain=chain, dataset=dataset, folder=lambda step: tmp_path))
    assert heard["views/views"] == 6
    assert "views/grid" in heard
    assert ("views/distance_to_anchor" in heard) == ("views/search_steps" in heard) == measured
    assert heard.get("views/distance_to_anchor_mean") == (0.25 if measured else None)


def test_a_long_name_keeps_its_budget(tmp_path, monkeypatch):
    """W&B cuts names at 128 characters: never the word that says that a number is no paper number."""
    made = {}

    class Run:
        dir, summary = str(tmp_path / "a folder" / "files"), {}

        def define_metric(self, *words, **more):
            pass

    def init(**given):
        made.update(given)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=lambda **_: None))
    long = "x" * 120
    words = ("logger=wandb", "logger.mode=offline", "budget=smoke", f"dataset.name={long}", "dataset=folder")
    words += (f"dataset.root={tmp_path}", "assim=simclr", f"out={tmp_path}")
    said = []
    WandbTracker(make_job("train", compose(words), words), said.append, "offline")
    *_, folder = shlex.split(said[-1].strip())
    assert folder == str(Path(Run.dir).parent)
    assert len(made["name"]) == 128
    assert made["name"].startswith("smoke/")
    assert made["name"].endswith(f"{long[:50]}/seed0")


def test_a_run_that_ended_before_its_curves_tells_them_next_time(tmp_path, monkeypatch):
    """W&B knows a run from its first process on; what it was never told is owed until it is."""

    class Run:
        dir, summary = str(tmp_path), {}

        def define_metric(self, *words, **more):
            pass

        def finish(self, exit_code):
            pass

    def init(**given):
        (tmp_path / "wandb" / f"offline-run-20260101_000000-{given['id']}").mkdir(exist_ok=True)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=lambda **_: None))
    words = ("logger=wandb", "logger.mode=offline", "budget=smoke", "assim=simclr", f"out={tmp_path}")
    job = make_job("train", compose(words), words)
    knew = []
    for told in (False, True, False):  # the first falls over before the training, the second tells the curves
        tracker = WandbTracker(job, lambda line: None, "offline")
        knew.append(tracker.knows_curves())
        if told:
            tracker.curves_are_told()
        tracker.close(failed=not told)
    assert knew == [False, False, True]
