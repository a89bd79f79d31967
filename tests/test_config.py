"""What a command means, and what is refused before anything runs. Nothing here imports torch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hydra.experimental.callback import Callback

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.run import known_keys
from assimilate.run.composing import compose
from assimilate.run.config import expand_sweep, make_job
from assimilate.run.known_keys import EXPERIMENTS


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


# ------------------------------------------------------------------------------------------------ Hydra's own


class Noting(Callback):
    """Notes what Hydra calls it for."""

    calls: ClassVar[list[str]] = []

    def on_run_start(self, config, **more):
        self.calls.append("run")

    def on_job_start(self, config, **more):
        self.calls.append(f"job {config.hydra.job.name} {os.environ['SEED']}")

    def on_job_end(self, config, job_return, **more):
        self.calls.append(f"job done {job_return.status.name}")

    def on_run_end(self, config, **more):
        self.calls.append("run done")


def test_a_job_has_the_environment_callbacks_and_folder_that_hydra_is_told_of(probe_stage, tmp_path):
    main, jobs = probe_stage
    words = ["+hydra.job.env_set.SEED=7", "seed=${oc.env:SEED}", f"out={tmp_path / 'out'}"]
    words += [f"+hydra.callbacks.noting._target_={__name__}.Noting", "hydra.output_subdir=.hydra"]
    assert main(words) == 0
    (job,) = jobs
    assert job.config["seed"] == 7
    assert "SEED" not in os.environ
    assert Noting.calls == ["run", "job train 7", "job done COMPLETED", "run done"]
    assert "seed: ${oc.env:SEED}" in (tmp_path / "out" / ".hydra" / "config.yaml").read_text()


def test_a_multirun_is_asked_for_with_m(probe_stage, capsys, tmp_path):
    main, jobs = probe_stage
    assert main(["hydra.mode=MULTIRUN", f"out={tmp_path}"]) == 2
    assert not jobs
    assert capsys.readouterr().err == "assimilate.train: hydra.mode=MULTIRUN cannot be used: add -m\n"
    assert main(["hydra.mode=RUN", f"out={tmp_path}"]) == 0
    assert len(jobs) == 1


# ------------------------------------------------------------------------------------------------ meaning


def test_defaults_are_the_demo():
    config = job_of().config
    assert (config["dataset"]["name"], config["view"]["name"], config["assim"]["name"]) == ("digits", "wsearch", "a2")
    assert config["dataset"]["flip"] == 0
    assert config["view"]["epsilon1"] == "auto"


def test_main_job_is_a2_infonce_with_the_papers_numbers():
    config = job_of("dataset=cifar100", "view=wsearch", "assim=a2").config
    assert config["loss"] == {
        "_target_": "assimilate.assimilation.loss.InfoNCE",
        "name": "infonce",
        "temperature": 0.5,
        "base_temperature": 0.07,
        "alpha": 0.5,
        "align_anchors": [0, 1],
    }
    assert (config["view"]["epsilon1"], config["view"]["epsilon2"]) == (0.2, 0.35)
    assert (config["encoder"]["backbone"], config["epochs"], config["batch_size"]) == ("resnet50", 1200, 512)
    assert config["batchnorm"] == "concatenated"


@pytest.mark.parametrize(
    ("overrides", "loss"),
    [
        (["dataset=cifar100", "assim=simclr"], "ntxent"),
        (["dataset=cifar100", "assim=a1"], "ntxent"),
        (["dataset=cifar100", "assim=a2"], "infonce"),
        (["dataset=cifar100", "assim=a2", "loss=ntxent"], "ntxent"),
        (["dataset=cifar10", "assim=simclr"], "infonce"),
    ],
)
def test_loss_is_the_data_sets_unless_a2(overrides, loss):
    assert job_of(*overrides).config["loss"]["name"] == loss


def test_table9_is_the_default():
    config = job_of("dataset=cifar10", "assim=simclr").config
    assert config["optimizer"]["lr"] == 0.015
    assert config["optimizer"]["weight_decay"] == 5e-5
    assert (config["epochs"], config["batch_size"], config["loss"]["temperature"]) == (800, 128, 0.5)
    assert (config["encoder"]["hidden_dim"], config["encoder"]["output_dim"]) == (2048, 2048)


def test_budget_caps_after_row_and_data_set_and_says_what_it_changed():
    job = job_of("+table3=expert_expert_wsearch_a2", "dataset=cifar10", "budget=smoke", "epochs=7")
    assert job.config["epochs"] == 2
    assert job.config["view"]["n_cached"] == 2
    assert any("epochs 7 → 2" in notice for notice in job.notices)
    assert job_of("budget=smoke", "epochs=1").config["epochs"] == 1


# ------------------------------------------------------------------------------------------------ identity

ROW = "+table3=expert_expert_wsearch_a2"


def test_a_row_has_its_own_folder(tmp_path):
    job = job_of(ROW, "dataset=cifar10", "seed=3", "budget=short", f"out={tmp_path}")
    assert job.row == "table3/expert_expert_wsearch_a2"
    assert job.run_dir == tmp_path / "short/table3/expert_expert_wsearch_a2/cifar10/seed3"


@pytest.mark.parametrize(
    "neutral",
    [
        "generator.sample_every=9",
        "generator.frechet=encoder",
        "trainer=cpu",
        "logger=none",
        "prepare=never",
        "data.placement=host",
        "force=true",
    ],
)
def test_neutral_keys_leave_the_row_a_row(neutral):
    assert job_of(ROW, neutral).run_dir == job_of(ROW).run_dir


def test_saying_the_default_leaves_the_row_a_row():
    assert job_of(ROW, "loss.alpha=0.5").row is not None
    assert job_of(ROW, "loss.alpha=5e-1").run_dir == job_of(ROW).run_dir


def test_precision_is_no_hardware():
    assert job_of(ROW, "trainer.precision=bf16-mixed").row is None


@pytest.mark.parametrize("change", ["loss.alpha=1", "view.epsilon1=0.4", "epochs=10", "view.seed=1", "probe.lr=1"])
def test_a_changed_row_never_passes_for_the_row(change):
    job = job_of(ROW, change)
    assert job.row is None
    assert "/adhoc/" in str(job.run_dir)
    assert change.split("=")[0] in str(job.run_dir)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("loss={temperature: 0.2,alpha: 1}", ["loss.temperature=0.2", "loss.alpha=1"]),
        ("optimizer={lr: 0.123}", ["optimizer.lr=0.123"]),  # and the recipe's warm-up
    ],
)
def test_a_mapping_is_the_run_of_its_settings(mapping, words):
    whole, apart = job_of(mapping), job_of(*words)
    assert whole.config == apart.config
    assert (whole.run_dir, sorted(whole.typed)) == (apart.run_dir, sorted(apart.typed))


def test_values_within_a_mapping_are_recorded_as_they_would_be_alone():
    words = ["epochs=7", "dataset.max_train_images=${epochs}"]
    assert job_of("epochs=7", "dataset={max_train_images: ${epochs}}").typed == job_of(*words).typed == tuple(words)


def test_a_mapping_counts_setting_by_setting():
    """Where images lie is no change of a row, how many there are is one."""
    elsewhere, changed = (
        job_of(ROW, "dataset=cifar10", f"dataset={{root: /elsewhere{more}}}") for more in ("", ",max_train_images: 100")
    )
    assert elsewhere.row is not None
    assert elsewhere.run_dir == job_of(ROW, "dataset=cifar10").run_dir
    assert changed.row is None
    assert changed.run_dir == job_of(ROW, "dataset=cifar10", "dataset.max_train_images=100").run_dir


def test_adhoc_folders_differ_with_the_identity_only():
    assert job_of("loss.alpha=1").identity == job_of("loss.alpha=1.0").identity
    assert job_of("loss.alpha=1").run_dir != job_of("loss.alpha=2").run_dir


def test_simclr_is_the_same_run_whatever_the_view():
    assert job_of("assim=simclr").identity == job_of("assim=simclr", "view=wperturb").identity


FOLDER = job_of("recipe=narrow", "dataset.image_size=32", "assim=simclr", "dataset=digits").run_dir


@pytest.mark.parametrize(
    "words",
    [
        ["dataset.image_size=32", "recipe=narrow", "assim=simclr"],
        ["dataset.image_size=32", "recipe=narrow", "assim=simclr", "view=wsearch"],  # of which SimCLR uses none
        ["recipe=narrow", "dataset.image_size=3.2e1", "assim=simclr"],
        ["recipe=narrow", "dataset={image_size: 32}", "assim=simclr"],
        ["assim=simclr", "dataset.image_size=16", "recipe=narrow", "dataset.image_size=32"],  # the last counts
        ["assim=simclr", "recipe=narrow", "loss=infonce", "dataset.image_size=32"],  # the loss that it has anyway
        ["assim=simclr", "recipe=narrow", "encoder.width=16", "dataset.image_size=32"],  # what the recipe says anyway
        ["assim=simclr", "recipe=narrow", "dataset.image_size=32", "trainer=cpu"],
    ],
)
def test_a_run_has_one_folder_however_its_words_were_typed(words):
    assert FOLDER.parent.parent.name.startswith("assim=simclr,recipe=narrow,dataset.image_size=32-")
    assert job_of(*words, "dataset=digits").run_dir == FOLDER


def test_a_value_of_the_defaults_counts_where_an_option_has_another():
    assert "recipe=narrow,encoder.width=64-" in str(job_of("encoder.width=64", "recipe=narrow").run_dir)
    assert "adhoc/recipe=narrow-" in str(job_of("encoder.width=16", "recipe=narrow").run_dir)


def test_long_overrides_make_short_folders():
    long = [f"view.search.{key}=1" for key in ("lr", "tolerance", "initial_noise", "iterations", "width")]
    assert len(job_of(*long).run_dir.parent.parent.name) <= 80 + 9


# ------------------------------------------------------------------------------------------------ the guard


def test_cached_expert_views_may_be_larger_than_the_images():
    job = job_of("view=expert", "view.cached=true", "data.crop_size=20", "assim.generated_transform=none")
    assert job.config["data"]["crop_size"] == 20


def test_a_view_that_simclr_ignores_is_a_notice():
    assert any("view=wperturb is not used" in notice for notice in job_of("assim=simclr", "view=wperturb").notices)


# ------------------------------------------------------------------------------------------------ multirun


def test_glob_and_seeds_launch_every_row_from_any_directory(tmp_path, probe_stage, monkeypatch):
    main, jobs = probe_stage
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "+table8=glob(*)", "seed=0,1", "budget=smoke", f"out={tmp_path}"]) == 0
    assert len(jobs) == 4
    assert len({job.run_dir for job in jobs}) == 4
    assert {job.row for job in jobs} == {f"table8/{path.stem}" for path in (EXPERIMENTS / "table8").glob("*.yaml")}


def test_a_failed_job_does_not_stop_the_next(tmp_path, capsys):
    seen = []

    @stage("train")
    def main(job):
        seen.append(job.config["seed"])
        if job.config["seed"] == 1:
            raise UserError("no luck today")

    assert main(["-m", "seed=0,1,2", f"out={tmp_path}"]) == 1
    assert seen == [0, 1, 2]
    assert "1 job of the sweep failed" in capsys.readouterr().err


def test_a_wrong_value_in_a_sweep_stops_it_before_the_first_job(tmp_path, probe_stage, capsys):
    main, jobs = probe_stage
    assert main(["-m", "view.epsilon1=0.1,-0.2", f"out={tmp_path / 'out'}"]) == 2
    assert "view.epsilon1=-0.2" in capsys.readouterr().err
    assert not jobs


def test_sweep_expansion():
    assert expand_sweep(["seed=0,1", "loss.alpha=0.5", "view=choice(wsearch,wperturb)"]) == [
        ["seed=0", "loss.alpha=0.5", "view=wsearch"],
        ["seed=0", "loss.alpha=0.5", "view=wperturb"],
        ["seed=1", "loss.alpha=0.5", "view=wsearch"],
        ["seed=1", "loss.alpha=0.5", "view=wperturb"],
    ]


# ------------------------------------------------------------------------------------------------ imports


def test_help_guard_and_composition_import_no_torch(tmp_path):
    script = (
        f"import sys; from assimilate.train import main; code = main(['view.epsilon1=-1', 'out={tmp_path}']);"
        "assert code == 2; assert 'torch' not in sys.modules, 'torch'; assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_conf_and_experiments_are_found():
    assert (known_keys.CONF / "config.yaml").is_file()
    assert Path(known_keys.EXPERIMENTS).is_dir()
