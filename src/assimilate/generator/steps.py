"""One step of adversarial training after the other; every draw is a function of (seed, step)."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.data.seed import derive_seed
from assimilate.data.seeding import generator as seeded
from assimilate.generator.adversarial import (
    descend,
    discriminator_loss,
    lazy_adam,
    non_saturating_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from assimilate.generator.architecture import Architecture
from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.discriminator import STDDEV_GROUP, Discriminator
from assimilate.generator.ranks import ALONE, Places, Ranks
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator


class AdversarialTraining:
    """Generator, discriminator, their optimisers and the moving averages.

    ``diffaugment`` is what real and generated images go through before the discriminator sees them. With several
    ``ranks`` each one draws for the whole batch and computes its share; all hold the same weights after every step.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        diffaugment: DiffAugment | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.architecture = architecture
        self.settings = settings
        self.seed = seed
        self.device = device
        self.diffaugment = diffaugment
        self.ranks = ranks
        # Weights are drawn on the CPU, the same for every device.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "initial weights"))
            self.generator = Generator(architecture).to(device)
            self.discriminator = Discriminator(architecture).to(device)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_optimizer = lazy_adam(self.generator, settings.lr, settings.path_length_every)
        self.discriminator_optimizer = lazy_adam(self.discriminator, settings.lr, settings.r1_every)
        self.mean_path_length = torch.zeros((), device=device)
        self.history: list[dict[str, float]] = []
        self.step = 0

    def train_step(self, real: Float[Tensor, "batch 3 size size"]) -> dict[str, Tensor]:
        """Update both networks once, with the regularisers that fall due.

        ``real`` is the whole batch on every rank. Returns the losses of this step, over this rank's share of it.
        """
        settings, count = self.settings, len(real)
        real = real[self._share(count)]
        losses = {"discriminator": self._update_discriminator(real, count)}
        if settings.r1_weight > 0 and self.step % settings.r1_every == 0:
            losses["r1"] = self._regularise_discriminator(real, count)
        losses["generator"] = self._update_generator(count)
        if settings.path_length_weight > 0 and self.step % settings.path_length_every == 0:
            losses["path"] = self._regularise_generator(settings.path_length_batch(count))
        self._move_average()
        self.step += 1
        return losses

    def draw_codes(
        self, count: int, rng: torch.Generator, purpose: str, places: Places
    ) -> Float[Tensor, "share codes dim"]:
        """Map fresh latents to W+; with the mixing probability, codes from a random layer on are of a second latent.

        Latents are drawn for ``count`` images, of which those at ``places`` are mapped.
        """
        dim, num_codes = self.architecture.latent_dim, self.architecture.num_codes
        latents = torch.randn(2, count, dim, generator=rng, device=self.device)[:, places]
        # Scalars that steer the program are drawn on the CPU: reading them from an accelerator would make it wait.
        mixed, place = torch.rand(2, generator=seeded(self.seed, "mixing", purpose, self.step)).tolist()
        if mixed >= self.settings.mixing_probability:
            return self.generator.map(latents[0])[:, None].expand(-1, num_codes, -1)
        first, second = self.generator.map(latents.flatten(0, 1))[:, None].expand(-1, num_codes, -1).chunk(2)
        crossover = 1 + int(place * (num_codes - 1))
        return torch.cat([first[:, :crossover], second[:, crossover:]], dim=1)

    def _rng(self, purpose: str) -> torch.Generator:
        return seeded(self.seed, purpose, self.step, device=self.device)

    def _share(self, count: int) -> Places:
        return self.ranks.share(count, group=min(count, STDDEV_GROUP), device=self.device)

    def _synthesize(
        self, codes: Tensor, count: int, rng: torch.Generator, places: Places
    ) -> Float[Tensor, "share 3 size size"]:
        noise = [values[places] for values in self.generator.draw_noise(count, rng)]
        return self.generator.synthesize(codes, noise)

    def _augmented(self, images: Tensor, count: int, purpose: str) -> Float[Tensor, "share 3 size size"]:
        if self.diffaugment is None:
            return images
        rng = self._rng(f"diffaugment {purpose}")
        parameters = self.diffaugment.draw(count, self.architecture.image_size, rng)
        return self.diffaugment.apply(images, parameters[self._share(count)])

    def _update_discriminator(self, real: Tensor, count: int) -> Tensor:
        rng, places = self._rng("discriminator"), self._share(count)
        with torch.no_grad():
            fake = self._synthesize(self.draw_codes(count, rng, "discriminator", places), count, rng, places)
            shown = torch.cat([self._augmented(real, count, "real"), self._augmented(fake, count, "fake")])
        loss = discriminator_loss(*self.discriminator(shown, num_batches=2).chunk(2))
        descend(self.discriminator_optimizer, loss, self.ranks)
        return loss.detach()

    def _regularise_discriminator(self, real: Tensor, count: int) -> Tensor:
        def judge(images: Tensor) -> Tensor:
            return self.discriminator(self._augmented(images, count, "r1"))

        penalty = r1_penalty(judge, real)
        weight = self.settings.r1_weight / 2 * self.settings.r1_every
        descend(self.discriminator_optimizer, penalty * weight, self.ranks)
        return penalty.detach()

    def _update_generator(self, count: int) -> Tensor:
        rng, places = self._rng("generator"), self._share(count)
        fake = self._synthesize(self.draw_codes(count, rng, "generator", places), count, rng, places)
        self.discriminator.requires_grad_(False)
        loss = non_saturating_loss(self.discriminator(self._augmented(fake, count, "generator")))
        descend(self.generator_optimizer, loss, self.ranks)
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def _regularise_generator(self, count: int) -> Tensor:
        settings = self.settings
        rng, places = self._rng("path length"), self.ranks.share(count, group=1, device=self.device)
        codes = self.draw_codes(count, rng, "path length", places)
        fake = self._synthesize(codes, count, rng, places)
        noise = torch.randn(count, *fake.shape[1:], generator=rng, device=self.device)[places]
        penalty, self.mean_path_length = path_length_penalty(
            path_lengths(fake, codes, noise), self.mean_path_length, settings.path_length_decay, self.ranks
        )
        weight = settings.path_length_weight * settings.path_length_every
        descend(self.generator_optimizer, penalty * weight, self.ranks)
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
