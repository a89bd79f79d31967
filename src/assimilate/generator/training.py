"""Adversarial training of StyleGAN2 (PROTOCOLS 4), which resumes exactly where it was killed."""

import copy
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays
from assimilate.data.progress import Progress, silent
from assimilate.data.seeding import derive_seed
from assimilate.data.seeding import generator as seeded
from assimilate.generator.adversarial import (
    discriminator_loss,
    non_saturating_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from assimilate.generator.architecture import Architecture
from assimilate.generator.checkpoint import load_stylegan2, read_checkpoint, save_stylegan2
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.optimizers import descend, lazy_adam
from assimilate.generator.real_images import RealImages
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator

_CHECKPOINT = "training.pt"
_LOSSES = ("discriminator", "generator", "r1", "path")


class AdversarialTraining:
    """Generator, discriminator, their optimisers and the moving averages; every draw is a function of (seed, step)."""

    def __init__(
        self, architecture: Architecture, settings: TrainingSettings, *, seed: int, device: torch.device
    ) -> None:
        self.architecture = architecture
        self.settings = settings
        self.seed = seed
        self.device = device
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "initial weights"))
            self.generator = Generator(architecture).to(device)
            self.discriminator = Discriminator(architecture).to(device)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_optimizer = lazy_adam(self.generator, settings.lr, settings.path_length_every)
        self.discriminator_optimizer = lazy_adam(self.discriminator, settings.lr, settings.r1_every)
        self.mean_path_length = torch.zeros((), device=device)
        self.history: list[dict[str, float]] = []
        self.step = 0

    def train_step(self, real: Float[Tensor, "batch 3 size size"]) -> dict[str, Tensor]:
        """Update both networks once, with the regularisers that fall due, and return the losses of this step."""
        settings = self.settings
        losses = {"discriminator": self._update_discriminator(real)}
        if settings.r1_weight > 0 and self.step % settings.r1_every == 0:
            losses["r1"] = self._regularise_discriminator(real)
        losses["generator"] = self._update_generator(len(real))
        if settings.path_length_weight > 0 and self.step % settings.path_length_every == 0:
            losses["path"] = self._regularise_generator(max(1, len(real) // settings.path_length_batch_shrink))
        self._move_average()
        self.step += 1
        return losses

    def draw_codes(self, count: int, rng: torch.Generator, purpose: str) -> Float[Tensor, "batch codes dim"]:
        """Map fresh latents to W+; with the mixing probability, codes from a random layer on are of a second latent."""
        dim, num_codes = self.architecture.latent_dim, self.architecture.num_codes
        latents = torch.randn(2 * count, dim, generator=rng, device=self.device)
        # Scalars that steer the program are drawn on the CPU: reading them from an accelerator would make it wait.
        mixed, place = torch.rand(2, generator=seeded(self.seed, "mixing", purpose, self.step)).tolist()
        if mixed >= self.settings.mixing_probability:
            return self.generator.map(latents[:count])[:, None].expand(-1, num_codes, -1)
        first, second = self.generator.map(latents)[:, None].expand(-1, num_codes, -1).chunk(2)
        crossover = 1 + int(place * (num_codes - 1))
        return torch.cat([first[:, :crossover], second[:, crossover:]], dim=1)

    def _rng(self, purpose: str) -> torch.Generator:
        return seeded(self.seed, purpose, self.step, device=self.device)

    def _synthesize(self, codes: Tensor, rng: torch.Generator) -> Float[Tensor, "batch 3 size size"]:
        return self.generator.synthesize(codes, self.generator.draw_noise(len(codes), rng))

    def _update_discriminator(self, real: Tensor) -> Tensor:
        rng = self._rng("discriminator")
        with torch.no_grad():
            fake = self._synthesize(self.draw_codes(len(real), rng, "discriminator"), rng)
        loss = discriminator_loss(*self.discriminator(torch.cat([real, fake]), num_batches=2).chunk(2))
        descend(self.discriminator_optimizer, loss)
        return loss.detach()

    def _regularise_discriminator(self, real: Tensor) -> Tensor:
        penalty = r1_penalty(self.discriminator, real)
        descend(self.discriminator_optimizer, penalty * (self.settings.r1_weight / 2 * self.settings.r1_every))
        return penalty.detach()

    def _update_generator(self, count: int) -> Tensor:
        rng = self._rng("generator")
        fake = self._synthesize(self.draw_codes(count, rng, "generator"), rng)
        self.discriminator.requires_grad_(False)
        loss = non_saturating_loss(self.discriminator(fake))
        descend(self.generator_optimizer, loss)
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def _regularise_generator(self, count: int) -> Tensor:
        settings = self.settings
        rng = self._rng("path length")
        codes = self.draw_codes(count, rng, "path length")
        fake = self._synthesize(codes, rng)
        noise = torch.randn(fake.shape, generator=rng, device=self.device)
        lengths = path_lengths(fake, codes, noise)
        penalty, self.mean_path_length = path_length_penalty(lengths, self.mean_path_length, settings.path_length_decay)
        descend(self.generator_optimizer, penalty * (settings.path_length_weight * settings.path_length_every))
        return penalty.detach()

    def _move_average(self) -> None:
        averages: list[Tensor] = list(self.generator_ema.parameters())
        weights: list[Tensor] = list(self.generator.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1.0 - self.settings.ema_decay)

    def state(self) -> GeneratorState:
        """Return what a checkpoint holds; the networks are the live ones, not copies."""
        return GeneratorState(
            architecture=self.architecture,
            generator_ema=self.generator_ema,
            latent_mean=mean_latent(self.generator_ema, seed=self.seed),
            generator=self.generator,
            discriminator=self.discriminator,
            step=self.step,
            history=self.history,
            optimizers={
                "g_optim": self.generator_optimizer.state_dict(),
                "d_optim": self.discriminator_optimizer.state_dict(),
            },
            mean_path_length=float(self.mean_path_length),
        )

    def restore(self, state: GeneratorState) -> None:
        """Go on from ``state``, which must be of the same architecture."""
        assert state.generator is not None, "a checkpoint without g"
        assert state.discriminator is not None, "a checkpoint without d"
        for mine, theirs in (
            (self.generator, state.generator),
            (self.discriminator, state.discriminator),
            (self.generator_ema, state.generator_ema),
        ):
            mine.load_state_dict(theirs.state_dict())
        self.generator_optimizer.load_state_dict(state.optimizers["g_optim"])
        self.discriminator_optimizer.load_state_dict(state.optimizers["d_optim"])
        self.mean_path_length = torch.tensor(state.mean_path_length, device=self.device)
        self.history = list(state.history)
        self.step = state.step


def train_stylegan2(
    images: ImageArrays,
    *,
    architecture: Architecture,
    settings: TrainingSettings,
    workdir: Path,
    seed: int,
    device: torch.device | str = "cpu",
    augmentation: Augmentation | None = None,
    progress: Progress = silent,
) -> GeneratorState:
    """Train a StyleGAN2 on uint8 images and return its state.

    ``workdir`` keeps a checkpoint (every ``settings.checkpoint_every`` steps, written atomically) from which the same
    call goes on exactly. ``augmentation`` is applied to real images with ``settings.augmentation_probability`` and
    leaks into the generator by design (Appendix I). Raises ValueError if the images do not fit the architecture, if
    ``workdir`` holds a training with other settings, and if a loss or a weight stops being finite: the checkpoint then
    keeps the last good state.
    """
    _check_images(images, architecture)
    device = torch.device(device)
    training = AdversarialTraining(architecture, settings, seed=seed, device=device)
    # A longer training is the same training; so is one that saves at other times.
    identity = {key: value for key, value in asdict(settings).items() if key not in ("num_steps", "checkpoint_every")}
    identity |= {"seed": seed, "num_images": len(images), "augmentation": repr(augmentation)}
    path = workdir / _CHECKPOINT
    if path.exists():
        _check_identity(path, identity)
        training.restore(load_stylegan2(path, image_size=architecture.image_size))
    stream = RealImages(
        images,
        batch_size=settings.batch_size,
        seed=seed,
        flip_probability=settings.flip_probability,
        augmentation=augmentation,
        augmentation_probability=settings.augmentation_probability,
        device=device,
    )
    sums: dict[str, list[Tensor]] = {name: [] for name in _LOSSES}
    while training.step < settings.num_steps:
        for name, loss in training.train_step(stream.batch(training.step)).items():
            sums[name].append(loss)
        last = training.step == settings.num_steps
        saving = last or training.step % settings.checkpoint_every == 0
        if saving or training.step % settings.log_every == 0:
            means = {name: float(torch.stack(values).mean()) for name, values in sums.items() if values}
            _check_finite(training, means, path)
            training.history.append({"step": float(training.step)} | means)
            progress(training.step, settings.num_steps, means)
            sums = {name: [] for name in _LOSSES}
        if saving:
            save_stylegan2(path, training.state(), extra=identity)
    return training.state()


def _check_images(images: ImageArrays, architecture: Architecture) -> None:
    height, width = images.images.shape[2:]
    if height != width or height != architecture.image_size:
        raise ValueError(
            f"dataset.image_size={architecture.image_size}: the images are {height}×{width}; "
            "the generator needs square images of its own size"
        )
    if len(images) == 0:
        raise ValueError("dataset.root: there are no training images")


def _check_identity(path: Path, identity: dict[str, Any]) -> None:
    found = read_checkpoint(path, key="out").get("extra", {})
    different = sorted(key for key in identity.keys() | found.keys() if identity.get(key) != found.get(key))
    if different:
        raise ValueError(
            f"out: {path} is a training with other settings ({', '.join(different)}); remove it, or choose another out"
        )


def _check_finite(training: AdversarialTraining, means: dict[str, float], path: Path) -> None:
    """Losses of the whole interval and all weights must be finite: a NaN in either spreads to every later step."""
    broken = [f"{name} loss" for name, value in means.items() if not math.isfinite(value)]
    for name, network in (("generator", training.generator), ("discriminator", training.discriminator)):
        if not all(bool(torch.isfinite(weight).all()) for weight in network.parameters()):
            broken.append(f"{name} weights")
    if broken:
        kept = f"the last good state is kept in {path}" if path.exists() else "no checkpoint had been written yet"
        raise ValueError(
            f"generator.lr={training.settings.lr}: training is not finite by step {training.step} "
            f"({', '.join(broken)}); {kept}; a lower generator.lr or a higher generator.r1_weight helps"
        )
