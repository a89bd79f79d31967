"""logger=tensorboard, logger=mlflow and a tracker of one's own: what they hear is what the run's files hold."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from assimilate import train
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.tracking.run_tracker import run_group, run_name
from assimilate.tracking.tracker import Tracker
from assimilate.tracking.wandb_tracker import WandbTracker
from tests.chain_run import SMOKE, results

pytestmark = pytest.mark.xdist_group("chain")


def result_of(out, seed):
    """(metrics.json, history.csv as rows) of the run of a seed."""
    (path,) = (path for path in results(out) if json.loads(path.read_text())["seed"] == seed)
    with (path.parent / "history.csv").open() as stream:
        return json.loads(path.read_text()), list(csv.DictReader(stream))


def trained(out, option, *words):
    assert train.main(["seed=7", f"logger={option}", "logger.every_n_steps=1", *words, *SMOKE, f"out={out}"]) == 0
    return result_of(out, 7)


def mean_by_epoch(losses):
    return [sum(losses[start : start + 2]) / 2 for start in range(0, len(losses), 2)]


# ------------------------------------------------------------------------------------------------ one's own


class Heard(Tracker):
    """As somebody's package would have it."""

    listens = True
    last = None

    def __init__(self, job, say):
        type(self).last = self
        self.points, self.results, self.settings, self.used, self.ends = [], {}, {}, {}, []
        say(f"  heard of {job.stage}")

    def log(self, metrics):
        self.points.append(dict(metrics))

    def conclude(self, values):
        self.results |= values

    def describe(self, values):
        self.settings |= values

    def use(self, folder, name, kind):
        assert folder.name == name
        self.used[kind] = name

    def close(self, *, failed):
        self.ends.append(failed)


def test_a_tracker_of_ones_own_is_an_option(copy, tmp_path, capsys):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    option = f"name: mine\ntracker: {__name__}.Heard\nevery_n_steps: 50\n"
    (tmp_path / "conf" / "logger" / "mine.yaml").write_text(option)
    result, history = trained(copy, "mine", "--config-dir", str(tmp_path / "conf"))
    assert "  heard of train" in capsys.readouterr().out
    told = Heard.last
    losses = [point["train/loss"] for point in told.points if "train/loss" in point]
    assert mean_by_epoch(losses) == pytest.approx([float(row["loss"]) for row in history], rel=1e-6)
    assert told.results["final/knn5"] == result["metrics"]["knn5"]["mean"]
    (calibration,) = copy.glob("artifacts/calibrations/*/*/calibration.json")
    assert told.settings["measured"] == {"epsilon1": json.loads(calibration.read_text())["epsilon1"]}
    assert told.used.keys() == {"generator", "latent", "encoder", "calibration", "view"}
    made_from = {f"{kind}s/digits/{name}" for kind, name in told.used.items()}
    assert made_from < set(result["artifacts"])
    assert told.ends == [False]


@pytest.mark.parametrize("path", ["no_such_package.Tracker", "assimilate.tracking.tracker.EVERY_N_STEPS"])
def test_a_tracker_that_cannot_be_used_is_one_line(tmp_path, capsys, path):
    words = ["logger=wandb", f"logger.tracker={path}", *SMOKE, f"out={tmp_path}"]
    assert train.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"assimilate.train: logger.tracker={path} cannot be")
    assert error.count("\n") == 1


# ------------------------------------------------------------------------------------------------ Lightning's


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, capsys, monkeypatch, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    assert train.main([f"logger={package}", *SMOKE, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert f"make extras EXTRAS={package}" in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_the_extras_are_there():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert {"tensorboard", "mlflow"} <= project["optional-dependencies"].keys()


def test_a_missing_package_is_said_before_torch_is_imported(tmp_path):
    script = (
        "import importlib.util, sys; found = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *more: None if name == 'tensorboard' else found(name, *more);"
        "from assimilate.train import main;"
        f"assert main(['logger=tensorboard', 'out={tmp_path}']) == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_tensorboard_shows_what_the_run_measured(copy):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result, history = trained(copy, "tensorboard")
    (folder,) = {path.parent for path in (copy / "tensorboard").rglob("events.*")}
    assert folder.name == "seed7"
    told = EventAccumulator(str(folder)).Reload()
    losses = told.Scalars("train/loss")
    assert [point.step for point in losses] == [1, 2, 3, 4]
    assert mean_by_epoch([point.value for point in losses]) == pytest.approx(
        [float(row["loss"]) for row in history], rel=1e-6
    )
    assert [point.value for point in told.Scalars("train/knn5")] == pytest.approx(
        [accuracy for _, accuracy in result["knn_curve"]]
    )
    assert told.Scalars("final/acc1")[0].value == pytest.approx(result["metrics"]["acc1"]["mean"])
    assert told.Images("views/grid")[0].encoded_image_string.startswith(b"\x89PNG")
    assert told.Histograms("views/distance_to_anchor")[0].histogram_value.num > 0
    assert "_hparams_/session_start_info" in told.summary_metadata


def test_mlflow_shows_what_the_run_measured(copy, monkeypatch, capsys):
    pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    from mlflow.tracking import MlflowClient

    words = ("mlflow", "logger.checkpoints=true")
    result, history = trained(copy, *words)
    trained(copy, *words, "trainer.checkpoint_every_n_epochs=2")  # another command; the same run goes on
    client = MlflowClient(f"sqlite:///{copy}/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("assimilate").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["budget"] == "smoke"
    assert run.data.tags["group"] == "smoke/adhoc"
    assert run.data.tags["mlflow.runName"].endswith("digits/seed7")
    assert run.data.params["budget/name"] == "smoke"
    assert float(run.data.params["measured/epsilon1"]) > 0
    assert run.data.metrics["final/acc1"] == pytest.approx(result["metrics"]["acc1"]["mean"])
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in losses) == [1, 2, 3, 4]
    told = [point.value for point in sorted(losses, key=lambda point: point.step)]
    assert mean_by_epoch(told) == pytest.approx([float(row["loss"]) for row in history], rel=1e-6)
    (encoder,) = (copy / "mlflow" / "files").rglob("encoder.pt")
    (label,) = (label for label in result["artifacts"] if label.startswith("encoders/digits/a2"))
    assert encoder.read_bytes() == (copy / "artifacts" / label / "encoder.pt").read_bytes()
    assert list((copy / "mlflow" / "files").rglob("views/grid.png"))


# ------------------------------------------------------------------------------------------------ what runs are called


def job_of(*words):
    return make_job("train", compose(words), words)


@pytest.mark.parametrize(
    ("words", "name", "group"),
    [
        (("+table3=expert_expert_simclr", "dataset=cifar10"), "table3/expert_expert_simclr/cifar10/seed0", "table3"),
        (
            ("+table3=expert_expert_simclr", "dataset=cifar10", "budget=smoke"),
            "smoke/table3/expert_expert_simclr/cifar10/seed0",
            "smoke/table3",
        ),
    ],
)
def test_a_run_of_another_budget_is_told_by_name_and_group(words, name, group):
    job = job_of(*words)
    assert (run_name(job), run_group(job)) == (name, group)


def test_the_sweep_of_the_documentation_starts_jobs_that_can_run():
    """W&B's agent puts `key=value` words in the place of ${args_no_hyphens}."""
    page = (Path(__file__).parents[1] / "docs" / "wandb.md").read_text()
    sweep = yaml.safe_load(re.search(r"```yaml\n(program.*?)```", page, re.S)[1])
    python, flag, module, *words = sweep["command"][1:]
    assert (python, flag, module) == ("python", "-m", sweep["program"])
    chosen = [
        f"{key}={(values.get('values') or [values.get('min')])[0]}" for key, values in sweep["parameters"].items()
    ]
    place = words.index("${args_no_hyphens}")
    job = job_of(*words[:place], *chosen, *words[place + 1 :])
    assert job.config["logger"]["name"] == "wandb"
    assert job.config["view"]["epsilon1"] == sweep["parameters"]["view.epsilon1"]["min"]
    assert sweep["metric"]["name"] == "final/knn5"


def test_wandb_is_told_what_a_run_is_made_from(tmp_path, monkeypatch):
    """Online: an artifact that another run has kept, else a reference to the folder."""
    used = []

    class Error(Exception):
        pass

    class Artifact:
        def __init__(self, name, type):
            self.name, self.type = name, type

        def add_reference(self, uri, checksum):
            self.uri = uri

    class Run:
        dir, url, summary = str(tmp_path), "https://wandb.example.org", {}

        def define_metric(self, *words, **more):
            pass

        def use_artifact(self, artifact):
            if artifact == "simclr-b:latest":
                raise Error
            used.append(artifact)

    errors = SimpleNamespace(Error=Error)
    stand_in = SimpleNamespace(init=lambda **_: Run(), Settings=lambda **_: None, Artifact=Artifact, errors=errors)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    job = job_of("logger=wandb", "logger.checkpoints=true", "assim=simclr", f"out={tmp_path}")
    tracker = WandbTracker(job, lambda line: None, "online")
    tracker.use(tmp_path / "stylegan2-a", "stylegan2-a", "generator")
    tracker.use(tmp_path / "simclr-b", "simclr-b", "encoder")
    assert used[0] == "stylegan2-a:latest"
    assert (used[1].name, used[1].type) == ("simclr-b", "encoder")
    assert used[1].uri == (tmp_path / "simclr-b").as_uri()
    used.clear()
    WandbTracker(job, lambda line: None, "offline").use(tmp_path, "simclr-b", "encoder")
    assert not used, "W&B looks nothing up offline"
