"""Where `out` lies: no file locks, limits on files, another working directory, another user's folder."""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
from pathlib import Path

import pytest

from assimilate import evaluate, report, train
from assimilate.jobs.command import stage
from tests.chain_run import SMOKE, results, run, stamps

WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def refusing(number, *, after=0):
    """flock of a file system without a lock manager, from the call after the first `after` on."""
    flock, calls = fcntl.flock, []

    def answer(descriptor, operation):
        calls.append(operation)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        flock(descriptor, operation)

    return answer


@pytest.mark.parametrize("number", WITHOUT_LOCKS)
def test_a_file_system_without_locks_is_named_before_anything_is_touched(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert run(train, f"out={tmp_path}") == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert f"out={tmp_path} cannot be locked ({os.strerror(number)})" in line
    assert "give an out= on a local disk" in line
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_locks_that_fail_later_are_not_another_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK, after=1))
    assert run(train, f"out={tmp_path}") == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert "cannot be locked (No locks available)" in line
    assert "waiting for another process" not in said.out


def test_artifacts_on_another_disk_are_looked_at_too(tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    for folder in (other, tmp_path / "out"):
        folder.mkdir()
    (tmp_path / "out" / "artifacts").symlink_to(other)
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK, after=1))
    assert run(train, f"out={tmp_path / 'out'}") == 2
    assert f"out={tmp_path / 'out'}: {tmp_path / 'out' / 'artifacts'} cannot be locked" in capsys.readouterr().err
    assert not list(other.iterdir())


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        assert run(train, f"out={tmp_path}") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ulimit -f" in line


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_paths_are_relative_to_where_the_command_was_typed(flags, tmp_path, monkeypatch):
    seen = []

    def body(job):
        seen.append((job.out, Path.cwd()))

    monkeypatch.chdir(tmp_path)
    words = [*SMOKE, "out=o", "hydra.job.chdir=true", *flags]
    assert stage("train")(body)(words) == 0
    assert seen == [(tmp_path / "o", tmp_path)]
    assert not (tmp_path / "o" / "o").exists()


# ------------------------------------------------------------------------------------------------ two users


@pytest.fixture
def others(chain, tmp_path):
    """A finished run in a folder that this user may read and not write."""
    out = tmp_path / "out"
    shutil.copytree(chain, out)
    paths = [out, *out.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield out
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextlib.contextmanager
def not_as_root(out):
    """Root may write anywhere; within the block this process is nobody, who may enter these folders from then on."""
    if os.geteuid() != 0:
        yield
        return
    for folder in out.parents:  # some are those of other processes' tests too, so none is closed again
        if not (mode := folder.stat().st_mode) & 0o001:
            folder.chmod(mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]])
def test_a_report_makes_no_folder(tmp_path, monkeypatch, capsys, words):
    def refused(*more):
        assert report.main([*words, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("assimilate.report: ")

    monkeypatch.setenv("ASSIMILATE_OUT", str(tmp_path / "outputs"))
    told = f"no runs yet: out={tmp_path}/%s is not there. A run makes it: python -m assimilate.train%s"
    assert refused() == told % ("outputs", "")
    assert refused(f"out={tmp_path}/other") == told % ("other", f" out={tmp_path}/other")
    assert not list(tmp_path.iterdir())
    (tmp_path / "digits").mkdir()
    wanted = f"out={tmp_path}/digit: there is no such folder. Did you mean {tmp_path}/digits?"
    assert refused(f"out={tmp_path}/digit") == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.mark.xdist_group("chain")
@pytest.mark.parametrize("show", [train, evaluate, report], ids=["train", "evaluate", "report"])
def test_a_second_user_sees_a_finished_run(show, others, capsys):
    before = stamps(others)
    with not_as_root(others):
        assert run(show, f"out={others}") == 0
    said = capsys.readouterr()
    assert not said.err
    (result,) = results(others)
    assert str(result.parent / "report.html") in said.out
    assert show is report or "Acc@1" in said.out
    assert stamps(others) == before


@pytest.mark.xdist_group("chain")
def test_a_second_user_is_told_at_once_that_another_run_cannot_be_written(others, capsys):
    with not_as_root(others):
        assert run(train, "seed=7", f"out={others}") == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert f"out={others} cannot be written (Permission denied)" in line
    assert not said.out
