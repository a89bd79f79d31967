"""A command that is told to stop: what it says, its exit code, and that nothing which it started outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from assimilate.jobs.command import stage
from assimilate.jobs.stopping import TerminatedError, termination_raised
from assimilate.run.job import rank
from assimilate.tracking.tracker import Tracker

PARENT = """
import os, sys, time
from assimilate.jobs.stopping import start_child

child = start_child([sys.executable, "-c", sys.argv[1]], os.environ)
print(child.pid, flush=True)
time.sleep(60)
"""
# A child that starts another, as that of a launch has ranks, and waits for it; neither is told that it should end.
CHILD = """
import subprocess, sys

watching = "import time; from assimilate.jobs.stopping import die_with_parent as watch; "
watching += "watch(); print('up', flush=True); time.sleep(60)"
sys.exit(subprocess.run([sys.executable, "-c", watching]).returncode)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_parent_started_ends_with_it(number):
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        assert "up" in said
        (child,) = (int(word) for word in said - {"up"})
        assert not gone(child)
        os.kill(parent.pid, number)
        parent.wait(10)
        deadline = time.monotonic() + 10
        while not gone(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert gone(child)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGUSR1, 138, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_is_one_line_and_its_own_exit_code(number, code, word, flags, tmp_path, capsys):
    def body(job):
        os.kill(os.getpid(), number)
        time.sleep(1)
        raise AssertionError("nobody stopped it")

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    assert stage("train")(body)(["dataset=digits", "budget=smoke", f"out={tmp_path}", *flags]) == code
    assert capsys.readouterr().err.strip() == f"assimilate.train: {word}; the same command resumes"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_of_a_signal_to_every_process_of_a_job_the_parent_speaks():
    """SLURM sends SIGUSR1 to all processes of a step; a child that died of it first would look like one that failed."""
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        (child,) = {int(word) for word in (parent.stdout.readline(), parent.stdout.readline()) if word.strip() != "up"}
        (grandchild,) = map(int, Path(f"/proc/{child}/task/{child}/children").read_text().split())
        os.kill(child, signal.SIGUSR1)
        os.kill(grandchild, signal.SIGUSR1)
        time.sleep(0.1)
        assert not gone(child)
        assert not gone(grandchild)
        parent.kill()


@pytest.mark.parametrize(
    ("variables", "note"),
    [
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "", "WORLD_SIZE": "", "RANK": "", "LOCAL_RANK": ""}, None),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "SLURM_NTASKS=2"),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, "WORLD_SIZE=4"),
    ],
)
def test_what_a_cluster_sets_makes_no_rank_and_copies_hear_that_they_wait(
    variables, note, tmp_path, monkeypatch, capsys
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ranks = []
    assert stage("train")(lambda job: ranks.append(rank()))(["budget=smoke", f"out={tmp_path}"]) == 0
    assert ranks == [None]
    said = capsys.readouterr().err
    assert (said == "") == (note is None)
    assert note is None or f"note: {note}: copies of one command do not train together" in said


def test_libraries_read_no_empty_variable_of_a_launch(tmp_path):
    script = """
import sys
from assimilate.jobs.command import stage

@stage("train")
def main(job):
    from lightning.fabric.utilities.rank_zero import rank_zero_only
    import lightning.pytorch, torchmetrics
    print("rank", rank_zero_only.rank)

sys.exit(main(["budget=smoke", f"out={sys.argv[1]}"]))
"""
    names = (
        "RANK",
        "LOCAL_RANK",
        "SLURM_PROCID",
        "JSM_NAMESPACE_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "NODE_RANK",
        "GROUP_RANK",
    )
    environment = {**os.environ, **dict.fromkeys(names, "")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["rank", "0"]), done.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_nothing_calls_the_end_of_ranks_that_are_stopped_a_failure(tmp_path):
    from assimilate.jobs import children

    script = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def preempt():
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    session = SimpleNamespace(tracker=Tracker())
    threading.Thread(target=preempt).start()
    with termination_raised(), pytest.raises(TerminatedError):
        children._run_and_relay(session, [sys.executable, "-c", script], dict(os.environ), tmp_path / ".metrics")
    assert gone(int((tmp_path / "pid").read_text()))
