"""Distributed training through the command: every job's ranks run that job alone, every artifact is built once."""

import json
import os

import pytest

from tests.chain_run import SLURM
from tests.warm_process import WarmProcess

pytestmark = pytest.mark.xdist_group("ddp")


def test_two_ranks_under_multirun_from_nothing(tmp_path):
    words = ["-m", "seed=0,1", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "budget=smoke"]
    # What clusters set for any process is no word about ranks of ours, nor an argument of torch's launcher.
    cluster = {"RANK": "3", "WORLD_SIZE": "7", "LOCAL_RANK": "3", "PET_NNODES": "5", "MASTER_ADDR": "nowhere.invalid"}
    cluster |= {"MASTER_PORT": "1", **SLURM}
    environment = {**os.environ, **cluster, "OMP_NUM_THREADS": "1"}
    process = WarmProcess("assimilate.train", [*words, f"out={tmp_path}"], environment=environment)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said[-6000:]
    results = sorted(tmp_path.rglob("metrics.json"))
    assert [path.parent.name for path in results] == ["seed0", "seed1"]
    assert results[0].parent.parent == results[1].parent.parent  # seeds of one setting lie side by side
    assert [json.loads(path.read_text())["seed"] for path in results] == [0, 1]
    for kind, count in {"generators": 1, "latents": 1, "calibrations": 1, "views": 1, "encoders": 3}.items():
        built = [path for path in (tmp_path / "artifacts" / kind / "digits").iterdir() if path.is_dir()]
        assert len(built) == count, built
        assert not [path for path in built if path.name.endswith((".partial", ".corrupt"))]
    # The generator and f once, and one training a seed: each launched for its own job.
    assert said.count("on 2 ranks") == 4
    (generator,) = (tmp_path / "artifacts" / "generators" / "digits").glob("*/manifest.json")
    assert json.loads(generator.read_text())["facts"]["ranks"] == 2
    for path in results:
        encoder = next(label for label in json.loads(path.read_text())["artifacts"] if "a2-wsearch" in label)
        manifest = json.loads((tmp_path / "artifacts" / encoder / "manifest.json").read_text())
        assert manifest["facts"]["ranks"] == 2
        assert manifest["seed"] == int(path.parent.name.removeprefix("seed"))
