"""Training of the in-domain encoder: MSE, perceptual and adversarial terms of Eq. 5."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.data.images import ImageArrays
from assimilate.data.seed import derive_seed
from assimilate.files.plain_files import load_resume_point, save_resume_point
from assimilate.generator.adversarial import (
    continue_adam,
    descend,
    discriminator_loss,
    has_finite_moments,
    lazy_adam,
    non_saturating_loss,
    r1_penalty,
)
from assimilate.generator.checkpoint import load_strictly
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.real_images import RealImages
from assimilate.graph.place import Progress, silent
from assimilate.inversion.encoder import InversionEncoder, InversionEncoderSpec, inversion_encoder_content
from assimilate.inversion.perceptual import FeatureExtractor, perceptual_distance
from assimilate.inversion.settings import EncoderSettings

# In the working folder: e, d, their optimisers, and how far they are.
TRAINING_CHECKPOINT = "encoder-training.pt"
# In the checkpoint: losses of the interval that is not over, a mapping a step.
_UNTOLD = "untold_losses"
# How errors name the state of the discriminator's Adam.
D_OPTIM = "generator.checkpoint: d_optim"


class EncoderTraining:
    """Encoder, the discriminator that opposes it, and their optimisers.

    The discriminator continues from the GAN's, and so does its Adam from ``discriminator_optimizer``, the
    state dict of the one that trained it: moments, rate and betas, of which the protocol gives others for e alone.
    Without one it is a new Adam of the encoder's rate, with what lazy regularisation makes of it. Raises ValueError if
    that state is of other parameters.
    """

    def __init__(
        self,
        generator: LatentGenerator,
        discriminator: Discriminator | None,
        features: FeatureExtractor,
        spec: InversionEncoderSpec,
        settings: EncoderSettings,
        *,
        seed: int,
        device: torch.device,
        discriminator_optimizer: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator = generator
        self.features = features
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "initial encoder weights"))
            self.encoder = InversionEncoder(spec).to(device)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=settings.lr, betas=(0.9, 0.99), fused=True)
        # A copy: the discriminator of the generator stays as it is, also where it serves as perceptual network.
        self.discriminator = copy.deepcopy(discriminator)
        if self.discriminator is not None:
            self.discriminator.to(device).requires_grad_(True)
            self.discriminator_optimizer = lazy_adam(self.discriminator, settings.lr, settings.r1_every)
            if discriminator_optimizer is not None:
                try:
                    continue_adam(self.discriminator_optimizer, discriminator_optimizer, origin=D_OPTIM)
                except ValueError as error:
                    raise ValueError(f"{error}; of a checkpoint without d_optim that Adam begins anew") from None
        self.history: list[dict[str, float]] = []
        self.step = 0

    def train_step(self, real: Float[Tensor, "batch 3 size size"]) -> dict[str, Tensor]:
        """Update encoder and discriminator once and return the losses of this step."""
        settings = self.settings
        reconstruction = self.generator.synthesize(self.encoder(real))
        mse = (reconstruction - real).square().mean()
        loss = settings.mse_weight * mse
        losses = {"mse": mse.detach()}
        if settings.perceptual_weight > 0:
            with torch.no_grad():
                target = self.features(real)
            distance = perceptual_distance(self.features(reconstruction), target, settings.perceptual_norm)
            perceptual = torch.as_tensor(distance).mean()
            loss = loss + settings.perceptual_weight * perceptual
            losses["perceptual"] = perceptual.detach()
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
            adversarial = non_saturating_loss(self.discriminator(reconstruction))
            loss = loss + settings.adversarial_weight * adversarial
            losses["adversarial"] = adversarial.detach()
        # The reference updates the discriminator first.
        descend(self.optimizer, loss)
        if self.discriminator is not None:
            losses |= self._update_discriminator(self.discriminator.requires_grad_(True), real, reconstruction.detach())
        self.step += 1
        return losses

    def _update_discriminator(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        loss = discriminator_loss(*discriminator(torch.cat([real, fake]), num_batches=2).chunk(2))
        descend(self.discriminator_optimizer, loss)
        losses = {"discriminator": loss.detach()}
        if self.settings.r1_weight > 0 and self.step % self.settings.r1_every == 0:
            penalty = r1_penalty(discriminator, real)
            descend(self.discriminator_optimizer, penalty * (self.settings.r1_weight / 2 * self.settings.r1_every))
            losses["r1"] = penalty.detach()
        return losses

    def content(self, identity: dict[str, Any]) -> dict[str, Any]:
        """Everything that ``restore`` needs."""
        content = inversion_encoder_content(self.encoder) | {
            "e_optim": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "extra": identity,
        }
        if self.discriminator is not None:
            content |= {"d": self.discriminator.state_dict(), "d_optim": self.discriminator_optimizer.state_dict()}
        return content

    def restore(self, content: dict[str, Any], *, origin: str) -> None:
        """Go on from what ``content`` returned."""
        load_strictly(self.encoder, content["e"], origin=origin)
        self.optimizer.load_state_dict(content["e_optim"])
        if self.discriminator is not None:
            load_strictly(self.discriminator, content["d"], origin=origin)
            self.discriminator_optimizer.load_state_dict(content["d_optim"])
        self.history = list(content["history"])
        self.step = content["step"]


def train_inversion_encoder(
    generator: LatentGenerator,
    images: ImageArrays,
    *,
    channels: tuple[int, ...],
    settings: EncoderSettings,
    features: FeatureExtractor,
    discriminator: Discriminator | None,
    workdir: Path,
    seed: int,
    device: torch.device | str = "cpu",
    discriminator_optimizer: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> tuple[InversionEncoder, list[dict[str, float]]]:
    """Train the encoder on real images and return it, frozen, with its record of mean losses.

    ``channels`` are its widths from 4×4 upwards. ``discriminator`` is the GAN's, from which the adversarial term
    starts, and ``discriminator_optimizer`` the state of its Adam, None to begin a new one; the former may be None only
    if ``settings.adversarial_weight`` is 0. Generator and ``features`` live on ``device``
    already. The same call goes on exactly from the checkpoint in ``workdir``. Raises ValueError as ``train_stylegan2``
    does.
    """
    device = torch.device(device)
    if settings.adversarial_weight > 0 and discriminator is None:
        raise ValueError(
            f"inversion.adversarial_weight={settings.adversarial_weight}: the generator came without a discriminator; "
            "give a generator.checkpoint with the key d, or set inversion.adversarial_weight=0"
        )
    spec = InversionEncoderSpec(generator.image_size, generator.num_codes, generator.latent_dim, channels)
    opponent = discriminator if settings.adversarial_weight > 0 else None
    training = EncoderTraining(
        generator,
        opponent,
        features,
        spec,
        settings,
        seed=seed,
        device=device,
        discriminator_optimizer=discriminator_optimizer,
    )
    identity = settings.identity() | {"seed": seed, "num_images": len(images), "encoder": spec.to_dict()}
    path = workdir / TRAINING_CHECKPOINT
    records: list[dict[str, Tensor]] = []
    if (content := load_resume_point(path)) is not None:
        if content.get("extra") != identity:
            raise ValueError(f"out: {path} is a training with other settings; remove it, or choose another out")
        training.restore(content, origin=f"out: {path}")
        untold = content.get(_UNTOLD, [])
        records = [{name: torch.tensor(loss, device=device) for name, loss in losses.items()} for losses in untold]
    stream = RealImages(
        images,
        batch_size=settings.batch_size,
        seed=derive_seed(seed, "encoder"),
        flip_probability=settings.flip_probability,
        device=device,
    )
    while training.step < settings.num_steps:
        records.append(training.train_step(stream.batch(training.step)))
        progress(training.step, settings.num_steps, {})
        last = training.step == settings.num_steps
        saving = last or training.step % settings.checkpoint_every == 0
        telling = last or training.step % settings.log_every == 0
        if saving or telling:
            means = _means(records)
            _check_finite(training, means, path)
        if telling:
            training.history.append({"step": float(training.step)} | means)
            progress(training.step, settings.num_steps, means)
            records = []
        if saving:
            # Logged with the rest of their interval, so that results do not depend on when a state is saved.
            untold = [{name: float(loss) for name, loss in losses.items()} for losses in records]
            save_resume_point(path, training.content(identity) | ({_UNTOLD: untold} if untold else {}))
    return training.encoder.eval().requires_grad_(False), training.history


def _means(records: list[dict[str, Tensor]]) -> dict[str, float]:
    names = sorted({name for record in records for name in record})
    return {name: float(torch.stack([record[name] for record in records if name in record]).mean()) for name in names}


def _check_finite(training: EncoderTraining, means: dict[str, float], path: Path) -> None:
    # Of d too: it steps after the losses are measured, and no training can resume from a NaN.
    networks: list[nn.Module] = [training.encoder]
    optimizers = [training.optimizer]
    if training.discriminator is not None:
        networks.append(training.discriminator)
        optimizers.append(training.discriminator_optimizer)
    weights_finite = all(bool(torch.isfinite(weight).all()) for each in networks for weight in each.parameters())
    if (
        weights_finite
        and all(map(has_finite_moments, optimizers))
        and all(math.isfinite(value) for value in means.values())
    ):
        return
    kept = f"the last good state is kept in {path}" if path.exists() else "no checkpoint had been written yet"
    raise ValueError(
        f"inversion.lr={training.settings.lr}: encoder training is not finite by step {training.step} ({means}); "
        f"{kept}; a lower inversion.lr helps"
    )
