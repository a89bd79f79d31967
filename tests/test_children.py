"""What a child process of a job is handed, and what it reads."""

import json
import subprocess
import sys

import pytest

from assimilate.artifacts.artifact import Artifact, artifact_root
from assimilate.jobs.children import _written
from assimilate.jobs.pace import Pace
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.job import Job
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
