"""How a run is computed and reported: settings that are recorded and decide no number."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator

from assimilate.assimilation.attached import FurtherLogger
from assimilate.data.dataset import Mean, Std
from assimilate.data.parts import Shard
from assimilate.data.statistics import MEANS, STDS, divided_by_255
from assimilate.graph.called import NAMED_CLASSES
from assimilate.graph.settings import NAMED, PATH, Allowed, Compiling, Count, Flag, Seed, Settings, Text, Whole
from assimilate.run.analysis_settings import Analysis


def _shard(text: str | None) -> str | None:
    return None if text is None else str(Shard.parse(text))


class Placement(Settings):
    """Where images and caches lie, and how views are drawn.

    Attributes:
        placement: where arrays and caches lie: auto, on the accelerator if they fit; device; host, a memory map that is
            read one batch at a time.
        compile_augmentation: torch.compile for the expert transformation: a minute of compiling, then faster steps.
            Views are the same up to rounding.
        normalize: normalise images by the data set's mean and std; false: networks see pixels in [0, 1].
        std: replaces the data set's; null: the data set's own.
    """

    placement: Literal["auto", "device", "host"]
    compile_augmentation: Flag
    normalize: Flag
    std: Annotated[Std | None, Allowed(STDS, divided_by_255)]

    def unused(self) -> Mapping[str, str]:
        """What is not normalised has no std."""
        return {} if self.normalize else {"std": "data.normalize=false leaves pixels in [0, 1]"}


class Monitor(Settings):
    """The kNN curve.

    Attributes:
        every_n_epochs: epochs between two points of the 5-NN curve; 0 turns it off.
    """

    every_n_epochs: Annotated[Whole, Allowed("a whole number ≥ 0 (0: off)")]


class Hardware(Settings):
    """The group `trainer`.

    Attributes:
        accelerator: auto: a GPU if there is one, else the CPU.
        strategy: ddp: one process per device, BatchNorm synchronised, negatives gathered. Comes with trainer=ddp.
        devices: number of processes, one per GPU, or so many on the CPU.
        precision: number format of training; bf16-mixed needs hardware that has it. Losses stay in fp32.
        num_threads: CPU threads of a process; null: all cores, shared among the ranks of this machine.
        channels_last: memory format of the encoder's weights: faster, with other rounding.
        compile: torch.compile the networks. It takes minutes at the start.
        cudnn_benchmark: let cuDNN try its algorithms and take the fastest for these shapes; its choice may differ
            between two runs.
        checkpoint_every_n_epochs: epochs between two checkpoints, so what a kill may cost. A full ResNet-18's
            checkpoint has 95 MB.
    """

    accelerator: Literal["auto", "cpu", "gpu"]
    strategy: Literal["auto", "ddp"]
    devices: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    num_threads: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    channels_last: Flag
    compile: Compiling
    cudnn_benchmark: Flag
    checkpoint_every_n_epochs: Count


class Logger(Settings):
    """The group `logger`.

    Attributes:
        tracker: what keeps runs: a class or function that takes (job, say) and gives an
            assimilate.tracking.tracker.Tracker; null: nothing.
        package: what the tracker needs beside assimilate's own packages, an extra of the same name; null: nothing.
        files: keep the losses and the kNN curve as CSV files in the run's folder.
        project: W&B project, or MLflow experiment; the default is $WANDB_PROJECT or $MLFLOW_EXPERIMENT_NAME.
        entity: W&B user or team; the default is $WANDB_ENTITY.
        mode: auto (as WANDB_DISABLED or WANDB_MODE say, offline without a key), online or offline.
        every_n_steps: training steps between two points of a curve.
        checkpoints: keep trained encoders with the run, as artifacts.
        suffix: a word that makes it another run: W&B never takes the id of a deleted run again.
    """

    name: Annotated[str, NAMED]
    tracker: Annotated[Text | None, Allowed("null or a dotted path, module.Class")] = None
    package: Annotated[Text | None, Allowed("null or the name of a package")] = None
    files: Flag = True
    project: Annotated[Text, Allowed("a name")] = "assimilate"
    entity: Annotated[Text | None, Allowed("null or a name")] = None
    mode: str = "auto"
    every_n_steps: Annotated[Count, Allowed("a whole number of steps ≥ 1")] = 50
    checkpoints: Flag = False
    suffix: Annotated[str | int | float | None, Allowed("null or a word")] = None


class Reading(Settings):
    """How the weights of `checkpoint=` read images (`input`).

    Attributes:
        image_size: side to which images are resized; null: a timm model's own size, else dataset.image_size.
        mean: null: that of an encoder of ours or of a timm model, else the data set's.
        std: goes with input.mean.
        stem: null: read from conv1, where 7×7 is imagenet and 3×3 is cifar. Weights cannot tell cifar_maxpool.
        prefix: which of several ResNets in a file (MoCo, BYOL, DINO): how the names of its weights begin, e.g.
            module.encoder_q.
    """

    image_size: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    mean: Annotated[Mean | None, Allowed(MEANS, divided_by_255)]
    std: Annotated[Std | None, Allowed(STDS, divided_by_255)]
    stem: Literal["cifar", "cifar_maxpool", "imagenet"] | None
    prefix: Annotated[str | None, Allowed("null, or what stands before a ResNet's names")]


class JobSettings(Settings):
    """The settings that stand in no group, and the groups of how a run is computed.

    Attributes:
        seed: seed of this run's training. The generator, the inversion, the view and f (view.encoder) have their own
            seeds.
        out: folder of artifacts, runs and reports; ASSIMILATE_OUT is its default. The absolute path is printed.
        prepare: auto: build what is missing; only: build what is missing upstream, then stop; plan: show what exists
            and what would be built, then stop; never: fail if anything is missing.
        yes: go on with what takes a CPU more than 24 hours; false: ask, and refuse where there is nobody to ask.
        force: train a finished run again.
        verify: make_views: check every byte of the cache instead of building it.
        preview: make_views: also draw a grid of images beside their views.
        shard: make_views, invert, and prepare_data of a sampled data set: do one of several parts of the work, in a
            process or on a machine of its own. The same command without shard= joins the parts.
        objective: what a sweeper that searches (hydra/sweeper=optuna) maximises. knn5_train: leave-one-out 5-NN among
            the training images, without any test image. A metric of metrics.json is measured on test images, so the
            best value that such a search finds is no estimate of test accuracy.
        checkpoint: evaluate: probe these weights instead of a row's own. A file (an encoder of ours, or a state dict of
            torchvision's ResNet-18, -34 or -50, however wrapped, prefixed or numbered), or timm/<model>.<tag> (extra:
            timm).
        loggers: by names of yours, each with the `_target_` of a class and its arguments, beside logger=.
    """

    seed: Seed
    out: Annotated[Text | int | float, PATH, Allowed("a folder")]
    prepare: Literal["auto", "only", "plan", "never"]
    yes: Flag
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
    loggers: Annotated[dict[str, FurtherLogger], Allowed(NAMED_CLASSES)] = {}  # noqa: RUF012
    input: Reading
    analysis: Analysis
