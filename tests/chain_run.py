"""What the tests of the chain share: commands at the smoke budget, and where they leave what."""

from pathlib import Path

# What SLURM sets for the second of two tasks.
SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_JOB_NAME": "paper",
    "SLURM_NODELIST": "node[1-2]",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}
SMOKE = ["budget=smoke", "trainer=cpu", "trainer.num_threads=1"]


def run(stage, *overrides):
    return stage.main([*SMOKE, *overrides])


def artifacts(out: Path, kind: str) -> list[Path]:
    return sorted(path for path in (out / "artifacts" / kind).glob("*/*") if path.is_dir())


def results(out: Path) -> list[Path]:
    return sorted(out.rglob("metrics.json"))


def stamps(out: Path) -> dict[str, int]:
    """When each file of each finished artifact was written."""
    return {str(path): path.stat().st_mtime_ns for path in (out / "artifacts").rglob("*") if path.is_file()}
