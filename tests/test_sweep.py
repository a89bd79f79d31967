"""Multiruns: ready-made ones, jobs that fail, and the table at the end."""

import json
import math
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assimilate import train
from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.sweep import JobRecord, SweepFolder, print_summary, summarize
from assimilate.run.composing import compose
from assimilate.run.config import expand_sweep, make_job, own_words, plan_sweep
from assimilate.run.known_keys import CONF

PRESETS = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))

# What the cells of each table differ in, typed from the paper.
VARIED = {
    "table7": (
        ["view.n_used", "view.n_sampled"],
        [(16, 1), (8, 8), (8, 4), (8, 1), (4, 4), (4, 1), (2, 2), (2, 1), (1, 1)],
    ),
    "table13": (
        ["view.epsilon1", "view.epsilon2"],
        [(0.1, 0.15), (0.2, 0.35), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.1)],
    ),
    "table14": (
        ["view.epsilon1", "view.epsilon2"],
        [(0.1, 0.15), (0.2, 0.15), (0.3, 0.15), (0.5, 0.15), (0.7, 0.15)],
    ),
    "table15": (
        ["view.epsilon1", "view.epsilon2", "view.lambda"],
        [(0.3, 0.5, 0), (0.3, 0.5, 0.005), (0.3, 0.5, 0.01), (0.3, 0.5, 0.02)],
    ),
    "table16": (
        ["view.sigma", "view.projected"],
        [(None, None), (0.1, False), (0.2, False), (0.4, False), (1.0, False), (0.2, True)],
    ),
    "table17": (["view.sigma"], [(0.1,), (0.2,), (0.4,), (1.0,)]),
}
DATASETS = {"table17": "cifar100"}


def jobs_of(*words):
    plan = plan_sweep(words)
    return [
        make_job("train", compose(job), own_words(job)) for job in expand_sweep(plan.overrides, searches=plan.searches)
    ]


def value_at(config, key):
    group, name = key.split(".")
    value = config[group].get(name)
    # Fewer cached views are the first ones of a larger cache; all of it where no number says so.
    return config["view"]["n_cached"] if key == "view.n_used" and value is None else value


# ------------------------------------------------------------------------------------------------ ready-made sweeps


def test_there_is_a_sweep_for_every_ablation():
    assert set(VARIED) <= set(PRESETS)


@pytest.mark.parametrize("table", VARIED)
def test_a_sweep_launches_exactly_the_cells_of_its_table(table):
    keys, cells = VARIED[table]
    configs = [compose(job) for job in expand_sweep(plan_sweep([f"sweep={table}"]).overrides)]
    launched = [tuple(value_at(config, key) for key in keys) for config in configs]
    assert sorted(launched, key=str) == sorted(cells, key=str)
    assert {config["dataset"]["name"] for config in configs} == {DATASETS.get(table, "cifar10")}
    assert {config["assim"]["name"] for config in configs} == {"a2"}
    assert all(config["row"].startswith(f"{table}/") for config in configs)


def test_the_command_line_wins_over_a_sweep():
    jobs = jobs_of("sweep=table15", "dataset=digits", "seed=0,1", "budget=smoke")
    assert len({job.run_dir for job in jobs}) == len(jobs) == 8
    assert {job.config["dataset"]["name"] for job in jobs} == {"digits"}
    assert all(job.row is not None and job.row.startswith("table15/") for job in jobs)  # no adhoc run
    assert not any("sweep=" in word for job in jobs for word in job.overrides)


def test_what_is_expanded_is_what_hydra_launches(tmp_path):
    """The guard and the summary count on `expand_sweep`; Hydra's own sweeper decides."""
    words = ["sweep=table15", "dataset=digits", "seed=1", "budget=smoke", f"out={tmp_path}"]
    launched = []

    @stage("train")
    def main(job):
        launched.append((job.row, job.config["seed"], job.identity))

    assert main(["-m", *words]) == 0
    assert launched == [(job.row, job.config["seed"], job.identity) for job in jobs_of(*words)]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_nothing_but_what_is_swept(preset):
    """It is left out of a job's own overrides, so it may not carry any value."""
    from omegaconf import OmegaConf

    assert set(OmegaConf.load(CONF / "sweep" / f"{preset}.yaml")) - {"defaults"} == {"hydra"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep=table13"], "sweep=table13 is a sweep: add -m"),
        (["-m", "+sweep=table13"], "without +"),
        (["-m", "sweep=table13,table14"], "one ready-made sweep at a time"),
        (["-m", "sweep=tabel13"], "tabel13"),
        (["-m", "sweep=table13", "+table3=glob(*)"], "one row at a time"),
        (["-m", "view.epsilon1=interval(0.1,0.5)"], "is for a sweeper that samples"),
        (["-m", "seed=0,1", "hydra/launcher=nonsense"], "nonsense"),
    ],
)
def test_wrong_sweeps_start_nothing(tmp_path, capsys, words, said):
    @stage("train")
    def main(job):
        raise AssertionError("nothing is to run")

    assert main([*words, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "extra"),
    [("hydra/launcher=joblib", "joblib"), ("hydra/sweeper=optuna", "sweep"), ("sweep=optuna_wsearch", "sweep")],
)
def test_a_plugin_that_is_not_installed_names_its_extra(word, extra):
    plugin = {"joblib": "hydra_joblib_launcher", "sweep": "hydra_optuna_sweeper"}[extra]
    try:
        __import__(f"hydra_plugins.{plugin}")
    except ImportError:
        with pytest.raises(UserError, match=f"make extras EXTRAS={extra}$"):
            plan_sweep([word])
    else:
        pytest.skip(f"{plugin} is installed")


# ------------------------------------------------------------------------------------------------ jobs that fail


def run_with_failures(tmp_path, capsys):
    seen = []

    @stage("train")
    def main(job):
        seen.append(job.config["seed"])
        if job.config["seed"] == 1:
            raise UserError("no luck today")
        if job.config["seed"] == 2:
            raise ZeroDivisionError("a bug of ours")

    code = main(["-m", "seed=0,1,2,3", f"out={tmp_path}"])
    shown = capsys.readouterr()
    return code, seen, shown.out, shown.err


def test_failed_jobs_stop_nothing_and_are_told_of(tmp_path, capsys):
    code, seen, out, error = run_with_failures(tmp_path, capsys)
    assert code == 1
    assert seen == [0, 1, 2, 3]
    assert "4 jobs, 2 done, 2 failed" in out
    assert "#1 seed=1" in error
    assert "no luck today" in error
    assert "ZeroDivisionError: a bug of ours" in error
    assert "2 jobs of the sweep failed" in error
    # Neither Hydra's words nor a stack trace: that is in the job's log.
    for leaked in ("Traceback", "Error executing job", "HYDRA_FULL_ERROR"):
        assert leaked not in out + error
    (log,) = tmp_path.rglob("2.log")
    assert str(log) in error
    assert "Traceback" in log.read_text()
    assert "ZeroDivisionError" in log.read_text()


def test_lines_of_a_job_are_in_its_log(tmp_path):
    @stage("train")
    def main(job):
        from assimilate.jobs.terminal import Terminal

        Terminal(log=job.log).say(f"this is seed {job.config['seed']}")

    assert main(["-m", "seed=3,4", f"out={tmp_path}"]) == 0
    assert [path.read_text() for path in sorted(tmp_path.rglob("*.log"))] == ["this is seed 3\n", "this is seed 4\n"]


def test_a_sweep_forgets_its_earlier_self(tmp_path, capsys):
    for _ in range(2):
        run_with_failures(tmp_path, capsys)
    assert len(list(tmp_path.rglob("[0-9].json"))) == 4


def test_a_job_that_was_killed_counts_as_failed(tmp_path, capsys):
    folder = SweepFolder(tmp_path, "train", ["seed=0,1,2"], 3)
    folder.clear()
    folder.write(JobRecord(0, ("seed=0",), "done", row=None, dataset="digits", budget="smoke"))
    folder.write(JobRecord(1, ("seed=1",), "running", row=None, dataset="digits", budget="smoke"))
    said = []
    assert print_summary(folder, said.append) == 2
    assert "killed" in said[0]
    assert "1 never started" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ the table


def finished(tmp_path, number, seed, word, *, acc1=None, status="done"):
    run_dir = tmp_path / f"run{number}"
    run_dir.mkdir()
    if acc1 is not None:
        metrics = {"acc1": {"mean": acc1, "std": 9.0, "n": 5, "values": [acc1]}}
        (run_dir / "metrics.json").write_text(json.dumps({"metrics": metrics}))
    overrides = (word, f"seed={seed}", "loss.temperature=0.5")
    return JobRecord(number, overrides, status, run_dir=str(run_dir), dataset="digits", seed=seed, budget="smoke")


def test_the_table_is_mean_and_spread_over_seeds(tmp_path):
    records = [
        finished(tmp_path, 0, 0, "loss.alpha=0.5", acc1=90.0),
        finished(tmp_path, 1, 1, "loss.alpha=0.5", acc1=91.0),
        finished(tmp_path, 2, 2, "loss.alpha=0.5", acc1=95.0),
        finished(tmp_path, 3, 0, "loss.alpha=1.0", acc1=80.0),
        finished(tmp_path, 4, 1, "loss.alpha=1.0", acc1=99.0, status="failed"),  # of an earlier run: not this one's
    ]
    first, second = summarize(records)
    # What all jobs share is no part of a name; the seed has none.
    assert (first.name, second.name) == ("loss.alpha=0.5", "loss.alpha=1.0")
    mean = (90 + 91 + 95) / 3
    spread = math.sqrt(((90 - mean) ** 2 + (91 - mean) ** 2 + (95 - mean) ** 2) / 2)
    assert first.text("acc1") == f"{mean:.2f} ± {spread:.2f}"
    assert first.text("knn5") == "–"
    assert (second.text("acc1"), len(second.failed)) == ("80.00", 1)


def test_a_setting_below_raw_pixels_is_marked_above_the_floors(tmp_path, capsys):
    records = [finished(tmp_path, number, number, "loss.alpha=0.5", acc1=90.0 + number) for number in (0, 1)]
    for record in records:
        path = Path(record.run_dir) / "metrics.json"
        found = json.loads(path.read_text())
        found["metrics"]["knn5"] = {"mean": 97.0}
        found["floors"] = {"commonest class": {"acc1": 99.0}, "raw pixels": {"acc1": 96.4, "knn5": 96.0}}
        path.write_text(json.dumps(found))
    (summary,) = summarize(records)
    assert (summary.text("acc1"), summary.text("knn5")) == ("90.50 ± 0.71 ▽", "97.00 ± 0.00")
    folder = SweepFolder(tmp_path, "train", [], 2)
    folder.clear()
    for record in records:
        folder.write(record)
    assert print_summary(folder, print) == 0
    shown = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines() if "floor: " in line]
    assert shown == [
        ["floor:", "commonest", "class", "digits", "99.00", "–"],
        ["floor:", "raw", "pixels", "digits", "96.40", "96.00"],
    ]


def test_the_floors_of_several_settings_are_a_range_and_budgets_stand_apart(tmp_path, capsys):
    folder = SweepFolder(tmp_path, "train", [], 3)
    folder.clear()
    for number, (word, random, budget) in enumerate([("4", 60.0, "cpu"), ("64", 85.0, "cpu"), ("4", 40.0, "smoke")]):
        record = replace(finished(tmp_path, number, 0, f"encoder.width={word}", acc1=90.0), budget=budget)
        path = Path(record.run_dir) / "metrics.json"
        floors = {"random network": {"acc1": random}, "raw pixels": {"acc1": 91.0 if number else 0.0}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"floors": floors}))
        folder.write(record)
    assert print_summary(folder, print) == 0
    lines = [line.split() for line in capsys.readouterr().out.replace("│", " ").splitlines()]
    assert [line[1:] for line in lines if line[:1] == ["floor:"]] == [
        ["random", "network", "digits", "cpu", "60.00", "to", "85.00"],
        ["raw", "pixels", "digits", "cpu", "0.00", "to", "91.00"],
        ["random", "network", "digits", "smoke", "40.00"],
        ["raw", "pixels", "digits", "smoke", "91.00"],
    ]
    assert [line[1:] for line in lines if line[:1] and line[0].startswith("encoder.width")] == [
        ["digits", "cpu", "1", "90.00"],
        ["digits", "cpu", "1", "90.00", "▽"],
        ["digits", "smoke", "1", "90.00", "▽"],
    ]


def test_a_run_that_two_jobs_share_counts_once(tmp_path):
    first = finished(tmp_path, 0, 0, "trainer.num_threads=1", acc1=90.0)
    second = replace(first, number=1, overrides=("trainer.num_threads=2", "seed=0", "loss.temperature=0.5"))
    other = finished(tmp_path, 2, 1, "trainer.num_threads=1", acc1=92.0)
    records = [replace(record, row="table3/expert_expert_simclr") for record in (first, second, other)]
    (summary,) = summarize(records)
    assert summary.values["acc1"] == [90.0, 92.0]


def test_a_smoke_table_says_so(tmp_path, capsys):
    folder = SweepFolder(tmp_path, "train", [], 1)
    folder.clear()
    folder.write(finished(tmp_path, 0, 0, "loss.alpha=0.5", acc1=90.0))
    assert print_summary(folder, print) == 0
    shown = capsys.readouterr().out
    assert "multirun: 1 job, 1 done, 0 failed" in shown
    assert "90.00" in shown
    assert "budget=smoke: not comparable with the paper" in shown
    assert "python -m assimilate.report" in shown


@pytest.mark.parametrize(("paper", "said"), [({}, True), ({"acc1": 92.04}, False)])
def test_a_table_of_own_settings_says_so(tmp_path, capsys, paper, said):
    """Nothing is capped at budget=paper, but whether the settings are the paper's is another question."""
    record = replace(finished(tmp_path, 0, 0, "epochs=1", acc1=90.0), budget="paper")
    path = Path(record.run_dir) / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"paper": paper}))
    folder = SweepFolder(tmp_path, "train", [], 1)
    folder.clear()
    folder.write(record)
    assert print_summary(folder, print) == 0
    assert ("own settings: not comparable with the paper" in capsys.readouterr().out) == said


def test_names_of_rows_are_whole_in_a_narrow_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = SweepFolder(tmp_path / "öut", "train", [], 2)
    folder.clear()
    names = ("table3/expert_expert_wsearch_a2", "table3/expert_expert_wperturb_a2")
    for number, row in enumerate(names):
        folder.write(replace(finished(tmp_path, number, 0, f"word={row}", acc1=90.0), row=row))
    assert print_summary(folder, print) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in names), shown
    # The command below it can be typed as it stands, wherever `out` is.
    words = shlex.split(next(line for line in shown.splitlines() if line.startswith("tables and differences:")))
    assert compose(words[-1:])["out"] == str(tmp_path / "öut")


# ------------------------------------------------------------------------------------------------ other processes


@pytest.mark.slow  # two processes that import torch and build a small chain
def test_parallel_jobs_build_what_they_share_once(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = [sys.executable, "-m", "assimilate.train", "-m", "seed=0,1", "hydra/launcher=joblib"]
    command += ["hydra.launcher.n_jobs=2", "budget=smoke", "trainer=cpu", "trainer.num_threads=1", f"out={tmp_path}"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "2 jobs, 2 done, 0 failed" in done.stdout
    for kind, count in {"generators": 1, "latents": 1, "views": 1, "encoders": 3}.items():
        assert len(list((tmp_path / "artifacts" / kind / "digits").glob("*/manifest.json"))) == count, kind
    # Built by one job; the other found it, most likely after waiting for the lock.
    logs = [path.read_text() for path in sorted(tmp_path.rglob("multirun/*/*.log"))]
    assert sum("Making the generator" in log for log in logs) == 1
    assert sum("generators/" in log.partition("reused: ")[2].partition("built: ")[0] for log in logs) == 1


def test_a_job_that_fails_in_another_process_is_told_of(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = [sys.executable, "-m", "assimilate.train", "-m", "seed=0,1", "hydra/launcher=joblib", "prepare=never"]
    done = subprocess.run(
        [*command, "hydra.launcher.n_jobs=2", f"out={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert "2 jobs, 0 done, 2 failed" in done.stdout
    assert "is missing; this builds it" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_sweep_of_which_a_job_ignores_an_override_is_told_as_two_commands(tmp_path, capsys):
    words = ["budget=smoke", "seed=0,1", "assim=simclr,a2", "view.solver=ray", f"out={tmp_path}"]
    assert train.main(["-m", *words]) == 2
    assert capsys.readouterr().err == (
        "assimilate.train: view.solver would be ignored: two views of the image are contrasted, none is generated "
        "(assim=simclr). Give two commands: "
        f"python -m assimilate.train -m budget=smoke seed=0,1 assim=a2 view.solver=ray out={tmp_path}; "
        f"python -m assimilate.train -m budget=smoke seed=0,1 assim=simclr out={tmp_path}\n"
    )
    assert train.main(["-m", "seed=0,1", "assim=simclr", "view.solver=ray", f"out={tmp_path}"]) == 2
    assert capsys.readouterr().err.endswith("none is generated (assim=simclr)\n")
    assert not list(tmp_path.iterdir())
