"""`checkpoint=`: weights from elsewhere, to be probed in place of a row's own. Torch-free."""

from collections.abc import Mapping, Sequence
from typing import Any

from assimilate.errors import UserError
from assimilate.graph.settings import File

TIMM = "timm/"
STAGES = ("evaluate", "report", "prepare_data")
# What probing given weights depends on, beside where it is computed; every other override would be ignored.
_USED = ("checkpoint", "input", "dataset", "recipe", "probe", "metrics", "budget", "data.normalize")


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
    if stage not in STAGES:
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
