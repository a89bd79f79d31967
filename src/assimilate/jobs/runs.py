"""The folder of a run: whose it is, its result, and how results are read back."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assimilate.artifacts.store import artifact_root, read_manifest
from assimilate.checked_files import digest_file
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.graph.identity import differing_keys
from assimilate.run.recipe import Recipe
from assimilate.whole_file import write_text_atomically

IDENTITY = "identity.json"
METRICS = "metrics.json"
# Of a probe's artifact: what it measured.
PROBED = "probe.json"
# What a run's result has from the probe and the encoder, beside its place: equal artifacts give equal values.
_MEASURED = ("metrics", "protocols", "spread_over", "untrained", "baseline", "knn_curve", "data_fingerprint")
_PLACE = ("row", "dataset", "seed", "budget")


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
    different = differing_keys(found if isinstance(found, dict) else {}, job.identity)
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


def disagreement(result: Mapping[str, Any], out: Path) -> str | None:
    """Where a result says something else than the probes that it names; None where nowhere, or where they are gone."""
    probes = [label for label in result.get("artifacts", {}) if label.startswith("probes/")]
    parts: dict[str, Any] = {probes[-1]: result} if probes else {}
    baseline = result.get("baseline")
    if isinstance(baseline, dict) and isinstance(baseline.get("artifact"), str):
        parts[baseline["artifact"]] = baseline
    for label, part in parts.items():
        measured = _measured_by(artifact_root(out) / label)
        if different := [key for key, value in measured.items() if not _same(part.get(key), value)]:
            return f"says other {', '.join(different)} than {label} measured: was it edited? The run's command mends it"
    return None


def _measured_by(probe: Path) -> dict[str, Any]:
    """What a probe measured; empty where its artifact is gone or damaged."""
    try:
        recorded = read_manifest(probe)["files"][PROBED]["sha256"]
        if digest_file(probe / PROBED) != recorded:
            return {}
        measured: dict[str, Any] = json.loads((probe / PROBED).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return measured


def _same(first: Any, second: Any) -> bool:
    """Whether two values are the same JSON; NaN is NaN there."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def papers_numbers(job: Job) -> dict[str, Any]:
    """What the paper prints for the job's row and data set; nothing for a folder of images called "cifar10"."""
    dataset = job.config["dataset"]
    if job.row is None or not Recipe(job.config).dataset_class.published:
        return {}
    numbers: dict[str, Any] = job.config["paper"].get(dataset["name"], {})
    return numbers


def write_metrics(job: Job, result: dict[str, Any], say: Callable[[str], None]) -> None:
    """Write a run's result (DESIGN §5); one that is there already, made of the same bytes, and says so, stays as it is.

    Args:
        job: the run.
        result: what was measured, and of what it is made.
        say: prints one line for the user.
    """
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
    found = read_metrics(job.run_dir)
    if found is not None and found.get("artifacts") == result["artifacts"] and not config["force"]:
        right = head | result
        different = [key for key in (*_PLACE, *_MEASURED) if key in right and not _same(found.get(key), right[key])]
        if not different:
            return
        other = ", ".join(different)
        say(f"warning: {job.run_dir / METRICS} says other {other} than its artifacts; it is written anew")
    tail = {"config": {key: value for key, value in config.items() if key != "paper"}}
    text = json.dumps({**head, **result, **tail}, indent=1, ensure_ascii=False)
    write_text_atomically(job.run_dir / METRICS, text + "\n")
