"""One job at work: its chain of artifacts, found or built, on one device, with a terminal to report to."""

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from assimilate.artifacts.artifact import Artifact, artifact_root
from assimilate.artifacts.chain import Chain, build_chain
from assimilate.artifacts.store import Store
from assimilate.data.dataset import Dataset, Images
from assimilate.data.images import ImageDataset, load_prepared
from assimilate.encoder.step import Encoder
from assimilate.errors import UserError
from assimilate.graph.cost import Cost, Speed, duration
from assimilate.graph.place import Built, Progress, RowWork
from assimilate.graph.step import Step
from assimilate.jobs.children import run_ranks
from assimilate.jobs.rows import fill_whole
from assimilate.jobs.terminal import Terminal
from assimilate.run.job import MEASURING_STAGE, PROBING_STAGES, Job, rank, shell_word
from assimilate.run.job_settings import JobSettings
from assimilate.run.recipe import Recipe
from assimilate.tracking.run_tracker import open_tracker

# There where NVIDIA's driver is loaded.
DRIVER = Path("/proc/driver/nvidia/version")


class Session:
    """Finds, builds and remembers what a job needs.

    Args:
        job: the composed job.
        prepare: instead of the job's own `prepare`.

    Raises:
        UserError: the data set cannot be read, a checkpoint is missing, no GPU where one is asked for.
    """

    def __init__(self, job: Job, *, prepare: str | None = None) -> None:
        self.job = job
        self.config = job.config
        self.prepare = prepare or str(job.config["prepare"])
        self.terminal = Terminal(quiet=rank() not in (None, 0), log=job.log, turn=job.turn)
        self.tracker = job.ending.enter_context(open_tracker(job, self.terminal.say))
        self.store = Store(self.prepare, self.command_for, self.terminal.say)
        data = Recipe(job.config).dataset
        data.require()
        self.data = Artifact.of(data, data.name, artifact_root(job.out))
        self._started = time.monotonic()
        self._looked_at: set[str] = set()
        if job.turn:
            self.say(f"job {job.turn}: {' '.join(map(shell_word, job.typed))}")
        for notice in job.notices:
            self.say(f"note: {notice}")

    # ------------------------------------------------------------------------------------------ the chain

    @cached_property
    def chain(self) -> Chain:
        """The artifacts of the job. Prepares the images first, unless this is only a plan."""
        if self.prepare == "plan" and not self.store.has(self.data):
            images = None
        else:
            self.ensure(self.data)
            dataset = self.dataset
            self.say(f"{dataset.name}: {dataset.summary}")
            images = Images(
                fingerprint=dataset.fingerprint,
                num_train=len(dataset.train),
                labelled=dataset.train.labels is not None,
                has_test=dataset.test is not None,
                mean=dataset.mean,
                std=dataset.std,
            )
        stage = self.job.stage
        return build_chain(
            self.config, self.job.out, images, probed=stage in PROBING_STAGES, measured=stage == MEASURING_STAGE
        )

    @cached_property
    def dataset(self) -> ImageDataset:
        """The prepared images."""
        return load_prepared(self.data.path)

    @cached_property
    def num_train(self) -> int:
        """Training images, prepared or not."""
        return self._count(self.data)

    def _count(self, data: Artifact) -> int:
        if self.store.has(data):
            return int(data.manifest()["facts"]["num_train"])
        assert isinstance(data.step, Dataset)
        return data.step.count()

    def _images_of(self, artifact: Artifact) -> int:
        """Training images that an artifact is made from: a probe's are those of `dataset.evaluation` where that is."""
        if isinstance(artifact.step, Dataset):  # by itself: what else the run is made of may not be known yet
            return self._count(artifact)
        if artifact in self.data.parents.values():  # what images are sampled with: the chain needs those first
            return self.num_train
        evaluation = self.chain.evaluation
        if evaluation is not None and evaluation.label in (parent.label for parent in artifact.parents.values()):
            return self._count(evaluation)
        return self.num_train

    def require_images(self, artifact: Artifact) -> None:
        """Refuse, before hours are spent upstream of it, a step that needs more training images than there are."""
        artifact.step.require_images(self._images_of(artifact))

    def cost_of(self, artifact: Artifact, speed: Speed, images: int | None = None) -> Cost:
        """What building an artifact may take, of its training images or of so many."""
        return artifact.step.effort(self._images_of(artifact) if images is None else images).cost(speed)

    def ensure(self, artifact: Artifact) -> Path:
        """Find the artifact or build it, its parents first.

        Returns:
            Its folder.

        Raises:
            UserError: it is missing or damaged under prepare=never, or cannot be built.
        """
        self.look_ahead([artifact])
        for parent in sorted(artifact.parents.values(), key=lambda parent: not parent.step.is_brought):
            self.ensure(parent)
        if self.store.has(artifact):
            self.store.reuse(artifact)
            return artifact.path
        if rank() is not None:
            raise UserError(
                f"{artifact.label} is missing, and a rank does not build it: "
                "run the same command with prepare=only first"
            )
        self.device  # noqa: B018  a GPU that is asked for and not there costs no minutes
        if not isinstance(artifact.step, Dataset) and artifact not in self.data.parents.values():
            self.dataset  # noqa: B018  images first, whatever else is missing

        def build(staging: Path) -> Built:
            started = time.monotonic()
            self.terminal.pace.begin(artifact.label)
            built: Built = artifact.step.build(staging, self)
            seconds = time.monotonic() - started
            self.say(f"  {artifact.step.doing} ({artifact.name}): done in {duration(seconds)}")
            facts = {"seconds": round(seconds, 3), "device": self.device_name, **built.facts}
            return replace(built, facts=facts)

        self.store.build(artifact, self.config, build)
        self.terminal.pace.end(artifact.label)
        built_now = any(artifact.label == built.label for built, _ in self.store.built)
        if isinstance(artifact.step, Encoder) and built_now and artifact.label == self.chain.encoder.label:
            self.tracker.curves_are_told()
        return artifact.path

    def look_ahead(self, artifacts: Sequence[Artifact]) -> None:
        """Let each missing step check the user's files that it will read: a bad one fails before hours of work."""
        if self.prepare == "never" or rank() is not None:
            return
        for artifact in artifacts:
            if artifact.label not in self._looked_at and not self.store.has(artifact):
                self._looked_at.add(artifact.label)
                self.look_ahead(list(artifact.parents.values()))
                try:
                    artifact.step.foresee(self)
                except ValueError as error:
                    raise UserError(str(error)) from error

    def ensure_all(self, artifacts: Sequence[Artifact]) -> None:
        """`ensure` each of them, in order, once all have looked ahead."""
        self.look_ahead(artifacts)
        for artifact in artifacts:
            self.ensure(artifact)

    # ------------------------------------------------------------------------------------------ a place to build

    @cached_property
    def settings(self) -> JobSettings:
        """How the job is computed."""
        return Recipe(self.config).job

    def say(self, line: str) -> None:
        """Tell the user one line."""
        self.terminal.say(line)

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """A progress bar for the block."""
        return self.terminal.bar(title)

    def subject(self, step: Step) -> str:
        """What the curves of a step's training are called."""
        return "train" if self.artifact(step).label == self.chain.encoder.label else "f"

    def artifact(self, step: Step) -> Artifact:
        """A step's place on disk."""
        return Artifact.of(step, str(self.config["dataset"]["name"]), artifact_root(self.job.out))

    def folder(self, step: Step) -> Path:
        """The folder of a step's finished artifact."""
        return self.artifact(step).path

    def manifest(self, step: Step) -> dict[str, Any]:
        """The manifest of a step's finished artifact."""
        return self.artifact(step).manifest()

    def load(self, step: Step) -> Any:
        """What a step's artifact holds."""
        return step.load(self.folder(step), self)

    def fill_rows(self, step: Step, work: RowWork, into: Path) -> None:
        """Fill the rows of a step's artifact, by as many processes as the job has devices; what is there is kept."""
        fill_whole(self, self.artifact(step), work, into)

    def fit_on_ranks(self, step: Step) -> None:
        """Call the step's `fit` in as many processes as the job has devices."""
        run_ranks(self, self.artifact(step))

    # ------------------------------------------------------------------------------------------ words

    def command_for(self, artifact: Artifact) -> str:
        """The command that builds an artifact of this job."""
        left_out = ("prepare=", "force=", "verify=", "shard=", "preview=")
        words = [word for word in self.job.typed if not word.startswith(left_out)]
        if self.job.stage == MEASURING_STAGE:  # no other reads the settings of an analysis
            return self.job.command_of(MEASURING_STAGE, [*words, "prepare=only"])
        if isinstance(artifact.step, Encoder) and artifact.label != self.chain.encoder.label:
            words.append("prepare=only")
        return self.job.command_of(artifact.step.stage, words)

    def gpu_is_likely(self) -> bool:
        """Whether the run would find a GPU, judged without importing torch: a plan is to be quick."""
        wanted = self.config["trainer"]["accelerator"]
        # CUDA takes the devices up to the first that is none, so an empty word or -1 in front hides all.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
        return wanted == "gpu" or (wanted == "auto" and not hidden and DRIVER.exists())

    def summarize(self) -> None:
        """What was reused and what was built."""
        reused = [artifact.label for artifact in self.store.reused]
        built = [f"{artifact.label} ({duration(seconds)})" for artifact, seconds in self.store.built]
        for what, names in (("reused:", reused), ("built:", built or ["nothing, all of it was there"])):
            for name in names:
                self.say(f"{what:<8}{name}")
                what = ""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the session began."""
        return time.monotonic() - self._started

    # ------------------------------------------------------------------------------------------ the machine

    @cached_property
    def machine(self) -> ModuleType:
        """What imports torch: `jobs.machine`."""
        from assimilate.jobs import machine

        return machine

    @cached_property
    def device(self) -> str:
        """ "cuda" or "cpu".

        Raises:
            UserError: trainer=gpu without a GPU.
        """
        device: str = self.machine.choose_device(self.config["trainer"]["accelerator"])
        self.machine.use_threads(self.config["trainer"]["num_threads"])
        return device

    @cached_property
    def device_name(self) -> str:
        """What the device is called, e.g. "CPU (2 threads)"."""
        return str(self.machine.describe_device(self.device))
