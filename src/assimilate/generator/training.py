"""The training of a StyleGAN2, which resumes exactly where it was killed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays
from assimilate.files.plain_files import load_resume_point, save_resume_point
from assimilate.generator.adversarial import has_finite_moments
from assimilate.generator.architecture import Architecture
from assimilate.generator.checkpoint import parse_stylegan2, stylegan2_content
from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.ranks import Ranks, check_ranks
from assimilate.generator.real_images import RealImages
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.state import GeneratorState
from assimilate.generator.steps import AdversarialTraining
from assimilate.graph.place import Progress, silent


@dataclass(frozen=True)
class Observer:
    """Receives the state of a training every so many images; must not change it.

    ``every_images`` is the interval in real images, ``batch_size`` of which a step sees. ``at_the_end``: after the last
    step too.
    """

    observe: Callable[[GeneratorState], None]
    every_images: int
    batch_size: int
    at_the_end: bool = True

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the images of ``step`` (counted from 1) reach or pass a multiple of the interval."""
        seen = step * self.batch_size
        passed = seen // self.every_images > (seen - self.batch_size) // self.every_images
        return passed or (last and self.at_the_end)


_CHECKPOINT = "training.pt"
# In the checkpoint: losses of the interval that is not over, by name.
_UNTOLD = "untold_losses"
_LOSSES = ("discriminator", "generator", "r1", "path")


def train_stylegan2(
    images: ImageArrays,
    *,
    architecture: Architecture,
    settings: TrainingSettings,
    workdir: Path,
    seed: int,
    device: torch.device | str = "cpu",
    augmentation: Augmentation | None = None,
    diffaugment: DiffAugment | None = None,
    observers: Sequence[Observer] = (),
    progress: Progress = silent,
) -> GeneratorState:
    """Train a StyleGAN2 on uint8 images and return its state.

    ``workdir`` keeps a checkpoint and the one before it, one every ``settings.checkpoint_every`` steps and written
    atomically, from which the same call goes on exactly. ``augmentation`` is applied to real images with
    ``settings.augmentation_probability`` and leaks into the generator by design (Appendix I); ``diffaugment`` is
    applied to real and generated images and does not. ``observers`` are shown the networks while they learn; one that
    falls due on a step that is saved is called first, so that a kill loses none.

    Within a process group of torch.distributed all ranks make this call, share each batch, and end with the weights
    that one process would have, to rounding; rank 0 alone writes and calls observers. The number of ranks may change
    between a kill and the continuation.

    Raises ValueError if the images do not fit the architecture, if the ranks cannot share a batch, if ``workdir`` holds
    a training with other settings, and if a loss or a weight stops being finite: the checkpoint then keeps the last
    good state.
    """
    _check_images(images, architecture)
    device, ranks = torch.device(device), Ranks.current()
    check_settings(settings, ranks.count)
    training = AdversarialTraining(
        architecture, settings, seed=seed, device=device, diffaugment=diffaugment, ranks=ranks
    )
    # A longer training is the same training; so is one that saves at other times.
    identity = {key: value for key, value in asdict(settings).items() if key not in ("num_steps", "checkpoint_every")}
    identity |= {"seed": seed, "num_images": len(images), "augmentation": repr(augmentation)}
    if diffaugment is not None:
        identity["diffaugment"] = repr(diffaugment)
    path = workdir / _CHECKPOINT
    sums: dict[str, list[Tensor]] = {name: [] for name in _LOSSES}
    if (saved := load_resume_point(path)) is not None:
        _check_identity(path, saved.get("extra", {}), identity)
        training.restore(parse_stylegan2(saved, origin=f"out: {path}", image_size=architecture.image_size))
        untold = saved.get(_UNTOLD, {})
        sums |= {name: list(torch.tensor(losses, device=device)) for name, losses in untold.items()}
    stream = RealImages(
        images,
        batch_size=settings.batch_size,
        seed=seed,
        flip_probability=settings.flip_probability,
        augmentation=augmentation,
        augmentation_probability=settings.augmentation_probability,
        device=device,
    )
    while training.step < settings.num_steps:
        for name, loss in training.train_step(stream.batch(training.step)).items():
            sums[name].append(loss)
        progress(training.step, settings.num_steps, {})
        last = training.step == settings.num_steps
        saving = last or training.step % settings.checkpoint_every == 0
        due = [observer for observer in observers if observer.is_due(training.step, last=last)]
        if last or training.step % settings.log_every == 0:
            means = _means(sums, ranks)
            _check_finite(training, means, path)
            training.history.append({"step": float(training.step)} | means)
            progress(training.step, settings.num_steps, means)
            sums = {name: [] for name in _LOSSES}
        elif saving:
            # Logged with the rest of their interval, so that results do not depend on when a state is saved.
            sums = {name: list(ranks.mean(torch.stack(losses))) if losses else [] for name, losses in sums.items()}
            _check_finite(training, _means(sums, ranks), path)
        elif due:
            _check_finite(training, {}, path)
        if ranks.index == 0:
            for observer in due:
                observer.observe(training.state())
            if saving:
                untold = {name: torch.stack(losses).tolist() for name, losses in sums.items() if losses}
                content = stylegan2_content(training.state(), extra=identity)
                save_resume_point(path, content | ({_UNTOLD: untold} if untold else {}))
    return training.state()


def check_settings(settings: TrainingSettings, num_ranks: int) -> None:
    """Raise ValueError unless ``num_ranks`` ranks can share the batches of a training with ``settings``."""
    batch = settings.batch_size
    path_length_batch = settings.path_length_batch(batch) if settings.path_length_weight > 0 else 0
    check_ranks(num_ranks, batch_size=batch, path_length_batch=path_length_batch)


def _means(sums: dict[str, list[Tensor]], ranks: Ranks) -> dict[str, float]:
    """Mean of each loss over the interval and over ranks; a NaN on one rank is a NaN on all."""
    means = {name: torch.stack(values).mean() for name, values in sums.items() if values}
    return dict(zip(means, ranks.mean(torch.stack(list(means.values()))).tolist(), strict=True))


def _check_images(images: ImageArrays, architecture: Architecture) -> None:
    height, width = images.images.shape[2:]
    if height != width or height != architecture.image_size:
        raise ValueError(
            f"dataset.image_size={architecture.image_size}: the images are {height}×{width}; "
            "the generator needs square images of its own size"
        )
    if len(images) == 0:
        raise ValueError("dataset.root: there are no training images")


def _check_identity(path: Path, found: dict[str, Any], identity: dict[str, Any]) -> None:
    different = sorted(key for key in identity.keys() | found.keys() if identity.get(key) != found.get(key))
    if different:
        raise ValueError(
            f"out: {path} is a training with other settings ({', '.join(different)}); remove it, or choose another out"
        )


def _check_finite(training: AdversarialTraining, means: dict[str, float], path: Path) -> None:
    """Losses of the whole interval, all weights and Adam's moments must be finite: none of them recovers."""
    broken = [f"{name} loss" for name, value in means.items() if not math.isfinite(value)]
    for name, network, optimizer in (
        ("generator", training.generator, training.generator_optimizer),
        ("discriminator", training.discriminator, training.discriminator_optimizer),
    ):
        if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
            broken.append(f"{name} weights")
        elif not has_finite_moments(optimizer):
            broken.append(f"moments of the {name}'s Adam")
    if broken:
        kept = f"the last good state is kept in {path}" if path.exists() else "no checkpoint had been written yet"
        raise ValueError(
            f"generator.lr={training.settings.lr}: training is not finite by step {training.step} "
            f"({', '.join(broken)}); {kept}; a lower generator.lr or a higher generator.r1_weight helps, "
            "and is another training, which starts anew"
        )
