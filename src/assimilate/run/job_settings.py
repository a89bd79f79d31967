"""How a run is computed and reported: settings that are recorded and decide no number."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator

from assimilate.data.dataset import Mean, Std
from assimilate.data.shard import is_shard
from assimilate.data.statistics import MEANS, STDS, divided_by_255
from assimilate.graph.settings import NAMED, PATH, Allowed, Count, Flag, Seed, Settings, Text, Whole
from assimilate.run.analysis_settings import Analysis


def _shard(text: str | None) -> str | None:
    if text is not None and not is_shard(text):
        raise ValueError("no part")
    return text


class Placement(Settings):
    """Where images and caches lie, and how views are drawn."""

    placement: Literal["auto", "device", "host"]
    compile_augmentation: Flag
    normalize: Flag
    std: Annotated[Std | None, Allowed(STDS, divided_by_255)]

    def unused(self) -> Mapping[str, str]:
        """What is not normalised has no std."""
        return {} if self.normalize else {"std": "data.normalize=false leaves pixels in [0, 1]"}


class Monitor(Settings):
    """The kNN curve."""

    every_n_epochs: Annotated[Whole, Allowed("a whole number ≥ 0 (0: off)")]


class Hardware(Settings):
    """The group `trainer`."""

    accelerator: Literal["auto", "cpu", "gpu"]
    strategy: Literal["auto", "ddp"]
    devices: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    num_threads: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    channels_last: Flag
    compile: Annotated[
        Flag | Literal["reduce-overhead", "max-autotune"],
        Allowed("true, false, reduce-overhead (CUDA graphs) or max-autotune"),
    ]
    cudnn_benchmark: Flag
    checkpoint_every_n_epochs: Count


class Logger(Settings):
    """The group `logger`."""

    name: Annotated[str, NAMED]
    project: Annotated[Text, Allowed("a name")] = "assimilate"
    entity: Annotated[Text | None, Allowed("null or a name")] = None
    mode: str = "auto"
    every_n_steps: Annotated[Count, Allowed("a whole number of steps ≥ 1")] = 50
    checkpoints: Flag = False
    suffix: Annotated[str | int | float | None, Allowed("null or a word")] = None


class Reading(Settings):
    """How the weights of `checkpoint=` read images (`input`)."""

    image_size: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    mean: Annotated[Mean | None, Allowed(MEANS, divided_by_255)]
    std: Annotated[Std | None, Allowed(STDS, divided_by_255)]
    stem: Literal["cifar", "cifar_maxpool", "imagenet"] | None
    prefix: Annotated[str | None, Allowed("null, or what stands before a ResNet's names")]


class JobSettings(Settings):
    """The settings that stand in no group, and the groups of how a run is computed."""

    seed: Seed
    out: Annotated[Text | int | float, PATH, Allowed("a folder")]
    prepare: Literal["auto", "only", "plan", "never"]
    force: Flag
    verify: Flag
    preview: Flag
    shard: Annotated[
        str | None,
        AfterValidator(_shard),
        Allowed("null or k/n with 1 ≤ k ≤ n, the third of eight is 3/8"),
    ]
    objective: Annotated[Text | None, Allowed("null, knn5_train or a metric of metrics.json")]
    checkpoint: Annotated[Text | None, PATH, Allowed("null, a file or timm/<model>.<tag>")]
    data: Placement
    knn: Monitor
    trainer: Hardware
    logger: Logger
    input: Reading
    analysis: Analysis
