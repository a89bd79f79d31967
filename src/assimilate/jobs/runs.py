"""The folder of a run: which run owns it, and its result."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from assimilate.errors import UserError
from assimilate.files.whole_file import write_whole
from assimilate.graph.identity import differing_keys
from assimilate.pages.result_file import IDENTITY, METRICS, disagreement, read_metrics, same_json
from assimilate.pages.run import Run, parse_place, parse_run
from assimilate.pages.tables import TABLE, read_layout
from assimilate.run.analysis_settings import measures_pair
from assimilate.run.composing import own_folders
from assimilate.run.job import MEASURING_STAGE, Job
from assimilate.run.known_keys import EXPERIMENTS
from assimilate.run.recipe import Recipe
from assimilate.run.titles import titles_of

# What a run's result has from the probe and the encoder, beside its place: equal artifacts give equal values.
_MEASURED = (
    *("metrics", "protocols", "spread_over", "untrained", "floors", "paired_with", "baseline", "knn_curve"),
    "data_fingerprint",
)
_PLACE = ("row", "dataset", "seed", "budget")


def check_run_folder(job: Job) -> None:
    """Make sure that the run's folder is free or holds this very run.

    Raises:
        UserError: it holds a run of another identity; the keys that differ are listed. A `table.toml` of its row that
            cannot be read.
    """
    papers_numbers(job)  # refused now rather than after the training
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
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # a finished one may belong to another user
        write_whole(path, text)


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


def papers_numbers(job: Job) -> dict[str, Any]:
    """What the table prints for the job's row and data set, by our names of metrics; nothing for a folder of images.

    Raises:
        UserError: the folder of the row has a `table.toml` that cannot be read.
    """
    dataset = job.config["dataset"]
    if job.row is None or not Recipe(job.config).dataset_class.published:  # images may be called "cifar10"
        return {}
    measured_as: dict[str, str] = {}
    for folder in (place / job.row.partition("/")[0] for place in (EXPERIMENTS, *own_folders())):
        try:
            measured_as |= read_layout(folder).measured_as
        except ValueError as error:
            raise UserError(f"{folder / TABLE} cannot be used: {error}") from error
    numbers: dict[str, Any] = job.config["paper"].get(dataset["name"], {})
    return {measured_as.get(name, name): value for name, value in numbers.items()}


def write_metrics(job: Job, result: dict[str, Any], say: Callable[[str], None]) -> None:
    """Write a run's result; one that is there already, made of the same bytes, and says so, stays as it is.

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
        "overrides": list(job.typed),
        "command": job.command,
        "python_path": job.python_path,
        "paper": papers_numbers(job),
        "titles": titles_of(config),
    }
    found = read_metrics(job.run_dir)
    if found is not None and found.get("artifacts") == result["artifacts"] and not config["force"]:
        right = head | result
        different = [key for key in (*_PLACE, *_MEASURED) if key in right and not same_json(found.get(key), right[key])]
        if not different:
            return
        if other := [key for key in different if key in found]:
            path = job.run_dir / METRICS
            say(f"warning: {path} says other {', '.join(other)} than its artifacts; it is written anew")
    tail = {"config": {key: value for key, value in config.items() if key != "paper"}}
    text = json.dumps({**head, **result, **tail}, indent=1, ensure_ascii=False)
    write_whole(job.run_dir / METRICS, text + "\n")


def finished_run(job: Job) -> Run:
    """The result of a job's run.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    result, path = read_metrics(job.run_dir), job.run_dir / METRICS
    maker = MEASURING_STAGE if measures_pair(job.config) else "train"
    if result is None:
        raise UserError(
            f"{path} is not there yet: run {job.command_of(maker, job.typed)}. "
            "The page about everything that was run: python -m assimilate.report, without overrides but out="
        )
    if (wrong := disagreement(result, job.out)) is not None:
        raise UserError(f"{path} {wrong}: {job.command_of(maker, job.typed)}")
    try:
        return parse_run(result, parse_place(job.run_dir.relative_to(job.out).parts))
    except ValueError as error:
        raise UserError(f"{path} {error}") from error
