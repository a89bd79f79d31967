"""Values that no run can use, refused before anything starts: the key, the value, what is allowed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assimilate.assimilation.step import OWN_SETTINGS, Trained
from assimilate.assimilation.training_settings import Training
from assimilate.errors import UserError
from assimilate.graph.settings import File, listed
from assimilate.graph.step import Step
from assimilate.graph.wiring import places_of
from assimilate.run.job_settings import JobSettings

# Stages whose images can be shared among processes with shard=k/n.
SHARING_STAGES = ("invert", "make_views")
# An objective that every run with labels has: leave-one-out 5-NN among the training images.
KNN_TRAIN = "knn5_train"
# `checkpoint=`: weights from elsewhere, to be probed in place of a row's own.
TIMM = "timm/"
GIVEN_STAGES = ("evaluate", "report", "prepare_data")
# What probing given weights depends on, beside where it is computed; every other override would be ignored.
_USED = ("checkpoint", "input", "dataset", "recipe", "probe", "metrics", "budget", "data.normalize")


def check_homes(settings: Any, key: str = "") -> None:
    """Check every path that begins with a home folder, `~/x` or `~user/x`.

    Raises:
        UserError: the system knows no such folder, as in a container whose user has neither HOME nor a name.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            check_homes(value, f"{key}.{name}" if key else str(name))
    elif isinstance(settings, list):
        for value in settings:
            check_homes(value, key)
    elif isinstance(settings, str) and settings.startswith("~") and (settings == "~" or "/" in settings):
        try:
            Path(settings).expanduser()
        except RuntimeError as error:
            raise UserError(
                f"{key}={settings} cannot be used: {settings.split('/')[0]} is no home folder that this system knows; "
                "give the whole path, or set HOME"
            ) from error


def check_stage(job: JobSettings, stage: str, *, samples: bool) -> None:
    """Refuse shard, verify, preview and force where the stage would ignore them.

    Args:
        job: how the run is computed.
        stage: the command.
        samples: whether the images are made by a generator.

    Raises:
        UserError: shard= with another stage than those that share their work, or with images that are decoded; verify=
            or preview= with another than make_views; two of shard, verify, preview and force that exclude each other.
    """
    given = {key: getattr(job, key) for key in ("verify", "shard", "preview", "force")}
    asked = [key for key, value in given.items() if value not in (None, False)]
    for key in ("verify", "preview"):
        if key in asked and stage != "make_views":
            raise UserError(f"{key}=true would be ignored: only assimilate.make_views looks at a cache of views")
    if len(asked) > 1 and asked != ["preview", "force"]:
        raise UserError(
            f"{asked[0]}={str(given[asked[0]]).lower()} and {asked[1]}={str(given[asked[1]]).lower()} exclude each "
            "other: give one of them"
        )
    if job.shard is not None and stage not in SHARING_STAGES and not (samples and stage == "prepare_data"):
        raise UserError(
            f"shard={job.shard} would be ignored: assimilate.{stage} does its work as a whole, only "
            f"{' and '.join(SHARING_STAGES)} share theirs, and prepare_data with a data set that a generator makes"
        )


def check_objective(objective: str, metrics: Sequence[str]) -> None:
    """Refuse an objective that is none of the metrics of a run.

    Raises:
        UserError: it is none.
    """
    known = [KNN_TRAIN, *metrics]
    if objective not in known:
        raise UserError(f"objective={objective} cannot be used: allowed is null, {listed(known)}")


def check_own(own: Mapping[str, Any]) -> None:
    """Refuse settings that f's training (`view.encoder.training`) cannot have of its own: images and hardware.

    Raises:
        UserError: such a setting.
    """
    read = {key.partition(".")[0] for key, _, _ in places_of(None, Trained)}
    allowed = sorted(read - {"dataset", *JobSettings.model_fields})
    for group in own:
        if group not in allowed:
            raise UserError(f"{OWN_SETTINGS}.{group} is no setting of f's training: it may have {listed(allowed)}")


def given_content(checkpoint: str) -> dict[str, str]:
    """What the value of `checkpoint=` is known by: the bytes of a file, or a timm model's name.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    if checkpoint.startswith(TIMM):
        return {"timm": checkpoint.removeprefix(TIMM)}
    try:
        return File.checked(checkpoint).known_as
    except ValueError as error:
        raise UserError(f"checkpoint={checkpoint}: {error}") from error


def check_given(
    config: Mapping[str, Any], keys: Sequence[str], stage: str, neutral: Sequence[str], *, samples: bool
) -> None:
    """Refuse what has no meaning with `checkpoint=`, and `input.` without it.

    Args:
        config: the resolved configuration.
        keys: the keys of the command line's overrides.
        stage: the command.
        neutral: keys that may always be given.
        samples: whether a generator makes the images.

    Raises:
        UserError: another stage than evaluate, an override that would be ignored, half a normalisation, a data
            set that others are probed in place of.
    """
    if config["checkpoint"] is None:
        lost = [key for key in keys if key.split(".")[0] == "input"]
        if lost:
            raise UserError(f"{', '.join(lost)} would be ignored: it says how the weights of checkpoint= read images")
        return
    if stage not in GIVEN_STAGES:
        raise UserError(
            f"checkpoint={config['checkpoint']} is probed by python -m assimilate.evaluate; assimilate.{stage} has no "
            "use for it (an encoder f of your own is view.encoder.checkpoint=)"
        )
    allowed = (*_USED, *neutral)
    ignored = [key for key in keys if not any(key == name or key.startswith(f"{name}.") for name in allowed)]
    if ignored:
        raise UserError(f"{', '.join(ignored)} would be ignored: checkpoint= is probed as it is, nothing is trained")
    dataset = config["dataset"]
    if samples or dataset.get("evaluation") is not None:
        real = (dataset.get("evaluation") or {}).get("name", "<one with labels>")
        raise UserError(
            f"dataset={dataset['name']} cannot be used with checkpoint=, which is probed on the data set's own images: "
            f"give dataset={real}"
        )
    if (config["input"]["mean"] is None) != (config["input"]["std"] is None):
        raise UserError("input.mean and input.std go together: give both, or neither")


def accumulation_notice(training: Training) -> list[str]:
    """What accumulating batches does not do, for a user who wants a larger batch."""
    accumulate, batch_size = training.accumulate_grad_batches, training.batch_size
    if accumulate == 1:
        return []
    seen = "they are contrasted, and seen by BatchNorm," if training.loss.contrasts else "BatchNorm sees them"
    return [
        f"accumulate_grad_batches={accumulate} averages the gradients of {accumulate} batches, but {seen} one by one: "
        f"this is not batch_size={accumulate * batch_size}"
    ]


def check_cuda_graphs(compiling: bool | str, steps: Iterable[Step]) -> None:
    """Refuse trainings whose tensors a CUDA graph would overwrite: each replay takes the memory of the last.

    Args:
        compiling: trainer.compile, a word where there are CUDA graphs.
        steps: all of a run.

    Raises:
        UserError: there is such a training.
    """
    if isinstance(compiling, bool):
        return
    instead = "which CUDA graphs overwrite; take trainer.compile=true"
    for step in steps:
        if not isinstance(step, Training):
            continue
        if step.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.compile={compiling} cannot be used with "
                f"accumulate_grad_batches={step.accumulate_grad_batches}: it adds to the gradients of the batch "
                f"before, {instead}"
            )
        if step.view is not None and step.view.looks_through_the_trained:
            raise UserError(
                f"trainer.compile={compiling} cannot be used with view={step.view.name} and view.frozen=false: the "
                f"search looks through the backbone and then the projector without gradients, {instead}"
            )
