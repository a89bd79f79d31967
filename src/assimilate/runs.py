"""The folder of a run: whose it is, its result, and how results are read back."""

import json
from pathlib import Path
from typing import Any

from assimilate.artifacts import provenance, write_text_atomically
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.identity import differing_keys

IDENTITY = "identity.json"
METRICS = "metrics.json"


def claim_run_folder(job: Job) -> None:
    """Mark the run's folder as this job's.

    Raises:
        UserError: it holds a run of another identity; the keys that differ are listed.
    """
    path = job.run_dir / IDENTITY
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = {}
        different = differing_keys(found, job.identity)
        if different and not job.config["force"]:
            raise UserError(
                f"{job.run_dir} holds another run ({'; '.join(different[:8])}): choose another out= or dataset.name=, "
                "or replace it with force=true"
            )
    job.run_dir.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(job.identity, indent=1, ensure_ascii=False) + "\n")


def read_metrics(run_dir: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    path = run_dir / METRICS
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def write_metrics(job: Job, result: dict[str, Any]) -> None:
    """Write a run's result with its provenance (DESIGN §5)."""
    config = job.config
    head = {
        "schema": 1,
        "row": job.row,
        "dataset": config["dataset"]["name"],
        "seed": config["seed"],
        "budget": config["budget"]["name"],
        "overrides": list(job.overrides),
        "command": job.command,
        "paper": config["paper"].get(config["dataset"]["name"], {}) if job.row else {},
    }
    tail = {"provenance": provenance(), "config": {key: value for key, value in config.items() if key != "paper"}}
    write_text_atomically(
        job.run_dir / METRICS, json.dumps({**head, **result, **tail}, indent=1, ensure_ascii=False) + "\n"
    )
