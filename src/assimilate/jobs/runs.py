"""The folder of a run: whose it is, its result, and how results are read back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.settings.identity import differing_keys, kept_identity
from assimilate.whole_file import write_text_atomically

IDENTITY = "identity.json"
METRICS = "metrics.json"


def check_run_folder(job: Job) -> None:
    """Make sure that the run's folder is free or holds this very run.

    Raises:
        UserError: it holds a run of another identity; the keys that differ are listed.
    """
    path = job.run_dir / IDENTITY
    if job.config["force"] or not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = {}
    different = differing_keys(kept_identity(found) if isinstance(found, dict) else {}, job.identity)
    if different:
        raise UserError(
            f"{job.run_dir} holds another run ({'; '.join(different[:8])}): choose another out= or dataset.name=, "
            "or replace it with force=true"
        )


def claim_run_folder(job: Job) -> None:
    """Mark the run's folder as this job's."""
    path, text = job.run_dir / IDENTITY, json.dumps(job.identity, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # a finished one may be somebody else's
        write_text_atomically(path, text)


def check_same_content(job: Job, artifacts: Sequence[str]) -> None:
    """A finished run keeps its result: the same configuration over other images or checkpoints is another run.

    Args:
        job: the run.
        artifacts: labels of what its result would be made of now.

    Raises:
        UserError: the folder holds a result that was made of something else.
    """
    found = read_metrics(job.run_dir)
    if found is None or job.config["force"]:
        return
    gone = [label for label in found.get("artifacts", {}) if label not in artifacts]
    if gone:
        raise UserError(
            f"{job.run_dir} holds the result of other content ({', '.join(gone)}): the images or a checkpoint have "
            "changed since. Choose another out= or dataset.name=, or replace it with force=true"
        )


def read_metrics(run_dir: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None where there is none that can be read."""
    path = run_dir / METRICS
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    parts = (result.get("metrics"), result.get("artifacts", {})) if isinstance(result, dict) else (None,)
    return result if all(isinstance(part, dict) for part in parts) else None


def papers_numbers(job: Job) -> dict[str, Any]:
    """What the paper prints for the job's row and data set; nothing for a folder of images called "cifar10"."""
    dataset = job.config["dataset"]
    if job.row is None or dataset["kind"] == "folder":
        return {}
    numbers: dict[str, Any] = job.config["paper"].get(dataset["name"], {})
    return numbers


def write_metrics(job: Job, result: dict[str, Any]) -> None:
    """Write a run's result (DESIGN §5); one that is there already and made of the same bytes stays as it is."""
    found = read_metrics(job.run_dir)
    if found is not None and found.get("artifacts") == result["artifacts"] and not job.config["force"]:
        return
    config = job.config
    head = {
        "schema": 1,
        "row": job.row,
        "dataset": config["dataset"]["name"],
        "seed": config["seed"],
        "budget": config["budget"]["name"],
        "overrides": list(job.overrides),
        "command": job.command,
        "paper": papers_numbers(job),
    }
    tail = {"config": {key: value for key, value in config.items() if key != "paper"}}
    text = json.dumps({**head, **result, **tail}, indent=1, ensure_ascii=False)
    write_text_atomically(job.run_dir / METRICS, text + "\n")
