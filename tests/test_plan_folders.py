"""What plans leave on the disk, which is nothing, and how a command names a folder that it cannot use."""

import contextlib
import copy
import json
import logging
import tempfile

import pytest

from assimilate import prepare_data, train
from assimilate.jobs.command import stage
from assimilate.jobs.sweep import JobRecord, SweepFolder
from assimilate.pages.result_file import read_metrics
from tests.chain_run import SMOKE, run
from tests.test_out_folder import not_as_root


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Where a command is typed; temporary files lie in `tmp` beside it, the home folder too."""
    for name in ("typed", "tmp", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "typed")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "typed"


def everything(folder):
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.parent.rglob("*")}


@pytest.mark.parametrize(
    "words",
    [
        ["prepare=plan", "out=new/out"],
        ["prepare=plan", "out=~/out"],
        ["-m", "prepare=plan", "out=new/out", "seed=0,1"],
        ["-m", "prepare=plan", "out=a,~/b"],
        ["-m", "prepare=plan", "sweep=table14", "dataset=digits", "hydra.mode=MULTIRUN"],
        ["prepare=plan", "hydra.run.dir=mine", "hydra.job.chdir=true"],
        ["prepare=plan", "hydra.output_subdir=kept", "hydra/job_logging=default"],
        ["-m", "prepare=plan", "seed=0,1", "hydra.sweep.dir=many", "hydra.run.dir=one", "hydra.output_subdir=kept"],
    ],
    ids=" ".join,
)
def test_a_plan_leaves_nothing(words, typed, capsys, monkeypatch):
    for name in ("handlers", "level"):  # as they were before hydra/job_logging=default
        monkeypatch.setattr(logging.root, name, copy.copy(getattr(logging.root, name)))
    before = everything(typed)
    assert run(train, *words) == 0
    assert everything(typed) == before
    said = capsys.readouterr().out
    assert "logs:" not in said
    assert "in all about" in said


def test_a_plan_leaves_another_multirun_as_it_is(typed, capsys):
    main = stage("train")(lambda job: None)
    assert main([*SMOKE, "-m", "out=o", "seed=0,1"]) == 0
    before = everything(typed)
    assert before
    assert run(train, "-m", "out=o", "seed=0,1", "prepare=plan") == 0
    assert everything(typed) == before


def test_each_multirun_keeps_its_own_configuration_and_nothing_lies_elsewhere(typed):
    main = stage("train")(lambda job: None)
    assert main([*SMOKE, "-m", "out=o", "seed=0,1"]) == 0
    assert main([*SMOKE, "-m", "out=o,p", "seed=2"]) == 0
    kept = [path.read_text() for path in typed.rglob("multirun.yaml")]
    assert sorted("out=o,p" in text for text in kept) == [False, True]
    assert sorted(path.name for path in typed.iterdir()) == ["o", "p"]
    assert all(path.parent == next(path.parent.glob("0.json")).parent for path in typed.rglob("multirun.yaml"))


def test_a_multirun_that_plans_only_some_jobs_keeps_its_records(typed, capsys):
    assert run(prepare_data, "-m", "prepare=plan,only", "out=o") == 0
    said = capsys.readouterr().out
    assert "2 jobs, 2 done, 0 failed" in said
    (folder,) = (typed / "o" / "multirun").iterdir()
    assert f"logs:    {folder}" in said
    assert {path.name for path in folder.iterdir()} == {"0.json", "0.log", "1.json", "1.log", "multirun.yaml"}


def test_plans_side_by_side_do_not_meet(typed):
    folders = [SweepFolder(typed / "o", "train", ["seed=0,1"], 2, is_plan=True) for _ in range(2)]
    for folder in folders:
        folder.clear()
        folder.write(JobRecord(0, ("seed=0",), "done"))
    for folder in folders:
        assert [record.number for record in folder.read()] == [0]
        folder.close()
    assert not list((typed.parent / "tmp").iterdir())


def test_the_log_of_a_planned_job_that_crashed_is_where_it_is_said_to_be(typed, capsys):
    def body(job):
        if job.config["seed"] == 1:
            raise ZeroDivisionError("a bug of ours")

    assert stage("train")(body)([*SMOKE, "-m", "out=o", "seed=0,1", "prepare=plan"]) == 1
    (log,) = (typed.parent / "tmp").rglob("1.log")
    assert "ZeroDivisionError" in log.read_text()
    assert f"(traceback in {log})" in capsys.readouterr().err
    assert not list(typed.iterdir())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_plan_that_is_stopped_leaves_nothing(stop, typed):
    def body(job):
        raise stop

    with contextlib.suppress(SystemExit):
        assert stage("train")(body)([*SMOKE, "-m", "out=o", "seed=0,1", "prepare=plan"]) == 130
    assert {path.name for path in typed.parent.rglob("*")} == {"typed", "tmp", "home"}


def test_a_run_below_the_home_folder_leaves_nothing_where_it_was_typed(typed):
    seen = []
    assert stage("train")(lambda job: seen.append(job.out))([*SMOKE, "out=~/zz"]) == 0
    assert seen == [typed.parent / "home" / "zz"]
    assert not list(typed.iterdir())


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("prepare", ["plan", "auto"])
def test_the_folder_that_was_given_is_named_before_the_one_above_it(prepare, tmp_path, capsys):
    tmp_path.chmod(0o555)
    out = tmp_path / "new" / "of" / "mine"
    with not_as_root(tmp_path / "x"):
        assert run(train, f"out={out}", f"prepare={prepare}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"out={out} cannot be made: {tmp_path} cannot be written (Permission denied)" in line


@pytest.mark.parametrize("prepare", ["plan", "auto"])
def test_below_a_folder_that_may_not_be_entered_a_run_is_refused_in_one_line(prepare, tmp_path, capsys):
    locked = tmp_path / "locked"
    (locked / "out").mkdir(parents=True)
    locked.chmod(0o644)
    try:
        with not_as_root(tmp_path / "x"):
            assert run(train, f"out={locked / 'out'}", f"prepare={prepare}") == 2
    finally:
        locked.chmod(0o755)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"out={locked / 'out'} cannot be made: {locked} cannot be written (Permission denied)" in line


def test_a_result_that_may_not_be_read_is_none(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"metrics": {}}))
    assert read_metrics(path.parent) is not None
    path.chmod(0)
    with not_as_root(path):
        assert read_metrics(path.parent) is None


def test_a_plan_asks_whether_the_folder_that_it_would_be_in_can_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train.main([f"out={tmp_path / 'file' / 'new' / 'out'}", "prepare=plan"]) == 2
    assert f"cannot be made: {tmp_path / 'file'} cannot be written (Not a directory)" in capsys.readouterr().err


def test_a_job_that_runs_is_refused_beside_a_plan_that_may_be_there(tmp_path, capsys):
    """Plans may be made in another user's folder; a multirun with jobs that run may not."""
    for name, mode in (("a", 0o777), ("b", 0o555)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    with not_as_root(tmp_path / "a" / "x"):
        words = ["-m", "prepare=only,plan", f"out={tmp_path / 'a'},{tmp_path / 'b'}"]
        assert stage("train")(lambda job: None)([*SMOKE, *words]) == 2
    assert f"out={tmp_path / 'b'} cannot be written (Permission denied)" in capsys.readouterr().err
    assert not (tmp_path / "a" / "multirun").exists()
