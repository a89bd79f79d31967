"""What a child process of a job is handed, and what it reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assimilate.artifacts.artifact import Artifact, artifact_root
from assimilate.jobs.children import _written
from assimilate.jobs.terminal import Pace
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.job import RANK_TARGET, Job
from assimilate.run.recipe import Recipe

WORDS = ["view=viewmaker", "assim=a2", "loss.temperature=0.3", "trainer.devices=4", "budget=smoke", "force=true"]

READS = """
import json, sys
sys.modules["hydra"] = sys.modules["omegaconf"] = sys.modules["torch"] = None
import assimilate.jobs.session
from pathlib import Path
from assimilate.run.job import Job
from assimilate.run.recipe import Recipe
job = Job.read(json.loads(Path(sys.argv[1]).read_text()))
print(Recipe(job.config).encoder.key, job.config["trainer"]["devices"], job.config["shard"], job.config["force"])
"""


def test_a_child_reads_the_composed_job_and_needs_no_hydra(tmp_path):
    words = [*WORDS, f"out={tmp_path}"]
    job = make_job("train", compose(words), words)
    artifact = Artifact.of(Recipe(job.config).encoder, "digits", artifact_root(job.out))
    file = _written(job, artifact, "job.json", Pace({}), shard="2/3", trainer={"devices": 1})
    content = json.loads(file.read_text())
    assert content["artifact"] == artifact.label
    read = Job.read(content)
    assert (read.out, read.run_dir, read.overrides, read.identity) == (job.out, job.run_dir, tuple(words), job.identity)
    done = subprocess.run([sys.executable, "-c", READS, str(file)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [artifact.key, "1", "2/3", "False"], done.stderr


def test_a_child_says_which_step_of_the_job_it_is(tmp_path):
    words = [*WORDS, f"out={tmp_path}"]
    job = make_job("train", compose(words), words)
    artifact = Artifact.of(Recipe(job.config).encoder, "digits", artifact_root(job.out))
    pace = Pace({"data": 1.0, artifact.label: 100.0, "probe": 50.0})
    pace.end("data")
    pace.begin(artifact.label)
    read = Pace.taken_over(json.loads(_written(job, artifact, "job.json", pace).read_text())["pace"])
    assert read.position == pace.position == "2/3"
    assert read.left(100.0) == pytest.approx(150.0, rel=0.01)


# -------------------------------------------------------------------------------------------- what they are forked from

# It says so into a buffer, and has started a process that has ended.
SLOW = """
import os, subprocess
print("imported")
other = subprocess.Popen(["true"])
os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
"""

FORKS = """
import atexit, os, sys, time
from pathlib import Path
from assimilate.jobs.child import run_forked

def main(file):
    said = " ".join([file.stem, os.environ["RANK"], os.environ.get("MASTER_PORT", "none")])
    os.write(1, (said + "\\n").encode())  # in one piece, as another process writes too
    if file.stem == "fails":
        return 7
    if file.stem == "waits":
        time.sleep(120)
    if file.stem == "leaves":
        atexit.register(print, "leaves at last")
        sys.exit(3)
    return 0

sys.exit(run_forked(main, [Path(word) for word in sys.argv[1:]]))
"""


def fork(folder, *names, environment=None, **streams):
    (folder / "slow_to_import.py").write_text(SLOW)
    files = [folder / name for name in names]
    for index, file in enumerate(files):
        child = {"environment": {"RANK": str(index)}, "is_heard": file.stem != "unheard"}
        file.write_text(json.dumps({"imports": ["slow_to_import"], **child}))
    path = {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "PYTHONUNBUFFERED": ""}
    environment = {**os.environ, **path, **(environment or {})}
    command = [sys.executable, "-c", FORKS, *map(str, files)]
    done = subprocess.run(command, env=environment, text=True, timeout=100, check=False, **streams)
    assert "Traceback" not in done.stderr
    return done, files


def forked(folder, *names, environment=None):
    done, files = fork(folder, *names, environment=environment, capture_output=True)
    assert done.stdout.count("imported") == 1, done.stderr
    told = sorted(line.split() for line in done.stdout.splitlines() if line != "imported")
    return done.returncode, told, sorted(file.name for file in files if file.exists())


def test_shards_import_once_and_one_that_fails_stops_no_other(tmp_path):
    code, told, left = forked(tmp_path, "first", "fails", "unheard")
    assert told == [["fails", "1", "none"], ["first", "0", "none"]]
    assert (code, left) == (7, ["fails"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_import_that_cannot_be_heard_ends_no_child(tmp_path):
    with open("/dev/full", "w") as full:
        done, files = fork(tmp_path, "unheard", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, [file for file in files if file.exists()]) == (0, [])


def test_a_child_ends_as_any_python_does(tmp_path):
    code, told, left = forked(tmp_path, "leaves", "first")
    assert told == [["first", "1", "none"], ["leaves", "0", "none"], ["leaves", "at", "last"]]
    assert (code, left) == (3, ["leaves"])


def test_ranks_know_where_they_meet_and_one_that_fails_ends_the_others(tmp_path):
    code, told, left = forked(tmp_path, "waits", "fails", environment={RANK_TARGET: "encoders/x", "MASTER_PORT": "1"})
    ports = {port for _, _, port in told}
    assert len(ports) == 1
    assert ports.isdisjoint({"1", "none"})
    assert ["fails", "1"] in [words[:2] for words in told]  # the other may be killed before it speaks
    assert (code, left) == (7, ["fails", "waits"])
