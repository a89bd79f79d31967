"""Training of the in-domain encoder: its terms, exact resume, and stopping at a NaN."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_generator import tiny_stylegan2

from assimilate.data.images import ImageArrays
from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.inversion import training as training_module
from assimilate.inversion.encoder import InversionEncoder, InversionEncoderSpec
from assimilate.inversion.perceptual import DiscriminatorFeatures, no_features
from assimilate.inversion.settings import EncoderSettings
from assimilate.inversion.training import EncoderTraining, train_inversion_encoder

SETTINGS = EncoderSettings(num_steps=6, batch_size=4, lr=1e-3, r1_every=2, checkpoint_every=2, log_every=1)
SPEC = InversionEncoderSpec(image_size=8, num_codes=4, latent_dim=8, channels=(8, 8))
CPU = torch.device("cpu")


def tiny_discriminator() -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Discriminator(Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(8, 8)))


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    """Images that the tiny generator can make."""
    generator = tiny_stylegan2()
    codes = generator.map(generator.sample_latents(12, torch.Generator().manual_seed(3)))[:, None].expand(-1, 4, -1)
    pixels = ((generator.synthesize(codes).clamp(-1, 1) + 1) * 127.5).round().byte()
    return ImageArrays(pixels.numpy(), None)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def train(
    images: ImageArrays, workdir: Path, settings: EncoderSettings = SETTINGS, **options: object
) -> tuple[InversionEncoder, list[dict[str, float]]]:
    discriminator = tiny_discriminator()
    arguments: dict[str, object] = {
        "channels": SPEC.channels,
        "settings": settings,
        "features": DiscriminatorFeatures(discriminator),
        "discriminator": discriminator,
        "workdir": workdir,
        "seed": 0,
    }
    return train_inversion_encoder(tiny_stylegan2(), images, **(arguments | options))


def test_losses_equal_their_formulas() -> None:
    """The first losses, from the untrained encoder, written out."""
    generator, discriminator = tiny_stylegan2(), tiny_discriminator()
    training = EncoderTraining(
        generator, discriminator, DiscriminatorFeatures(discriminator), SPEC, SETTINGS, seed=0, device=CPU
    )
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fake = generator.synthesize(training.encoder(real))
        logits_real, logits_fake = discriminator(real), discriminator(fake)
        perceptual = sum(
            (one - other).abs().mean()
            for one, other in zip(discriminator.features(real), discriminator.features(fake), strict=True)
        )
    losses = training.train_step(real)
    expected = {
        "mse": (real - fake).square().mean(),
        "perceptual": perceptual,
        "adversarial": torch.log1p(torch.exp(-logits_fake)).mean(),
        "discriminator": torch.log1p(torch.exp(-logits_real)).mean() + torch.log1p(torch.exp(logits_fake)).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], torch.as_tensor(value), rtol=1e-4, atol=1e-5)
    assert "r1" in losses
    assert "r1" not in training.train_step(real)


@pytest.mark.parametrize("weight", ["mse_weight", "perceptual_weight", "adversarial_weight"])
def test_each_term_moves_the_encoder(weight: str) -> None:
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for settings in (SETTINGS, replace(SETTINGS, **{weight: 0.0})):
        discriminator = tiny_discriminator()
        training = EncoderTraining(
            tiny_stylegan2(), discriminator, DiscriminatorFeatures(discriminator), SPEC, settings, seed=0, device=CPU
        )
        training.train_step(real)
        training.train_step(real)
        results.append(weights(training.encoder))
    assert not torch.allclose(*results, rtol=0, atol=1e-7)


def test_initial_weights_touch_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*arguments: object) -> None:
        raise AssertionError("weights are drawn on the CPU")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)
    before = torch.get_rng_state()
    EncoderTraining(tiny_stylegan2(), None, no_features, SPEC, SETTINGS, seed=0, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_own_discriminator_stays_as_it_is(images: ImageArrays, tmp_path: Path) -> None:
    discriminator = tiny_discriminator()
    before = weights(discriminator)
    train(images, tmp_path, discriminator=discriminator)
    assert torch.equal(weights(discriminator), before)


def state_of_adam(discriminator: Discriminator, *, lr: float = 0.003, steps: int = 5) -> dict[str, Any]:
    """What an Adam that trained ``discriminator`` would have saved, in the form of torch versions of long ago."""
    rng = torch.Generator().manual_seed(4)
    moments = [
        {
            "step": steps,
            "exp_avg": torch.randn(each.shape, generator=rng),
            "exp_avg_sq": torch.rand(each.shape, generator=rng),
        }
        for each in discriminator.parameters()
    ]
    group = {"lr": lr, "betas": (0, 0.98), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
    return {
        "state": dict(enumerate(moments)),
        "param_groups": [{**group, "params": list(range(len(moments)))}],
    }


def test_discriminators_adam_goes_on_from_the_gans() -> None:
    """One step, by the formula of Adam, from the saved moments, steps, rate and betas."""
    generator, discriminator, settings = tiny_stylegan2(), tiny_discriminator(), replace(SETTINGS, r1_weight=0.0)
    saved, kept = state_of_adam(discriminator), state_of_adam(discriminator)
    training = EncoderTraining(
        generator, discriminator, no_features, SPEC, settings, seed=0, device=CPU, discriminator_optimizer=saved
    )
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fake = generator.synthesize(training.encoder(real))
    loss = torch.log1p(torch.exp(-discriminator(real))).mean() + torch.log1p(torch.exp(discriminator(fake))).mean()
    gradients = torch.autograd.grad(loss, list(discriminator.parameters()))
    training.train_step(real)
    assert training.discriminator is not None
    moved = list(training.discriminator.parameters())
    assert len(moved) == len(saved["state"])
    for number, (before, gradient, after) in enumerate(zip(discriminator.parameters(), gradients, moved, strict=True)):
        average = gradient.double() / (1 - 0**6)  # β1 = 0
        square = 0.98 * kept["state"][number]["exp_avg_sq"].double() + 0.02 * gradient.double().square()
        expected = before.double() - 0.003 * average / ((square / (1 - 0.98**6)).sqrt() + 1e-8)
        torch.testing.assert_close(after.double(), expected, rtol=1e-5, atol=1e-6)
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(saved["state"][number][key], kept["state"][number][key])  # the caller's stay as they are


def test_a_discriminators_adam_without_moments_or_without_a_state(images: ImageArrays, tmp_path: Path) -> None:
    discriminator = tiny_discriminator()
    unstepped = state_of_adam(discriminator) | {"state": {}}
    for saved, lr, betas in ((unstepped, 0.003, (0, 0.98)), (None, 1e-3 * 2 / 3, (0, 0.99 ** (2 / 3)))):
        training = EncoderTraining(
            tiny_stylegan2(), discriminator, no_features, SPEC, SETTINGS, seed=0, device=CPU,
            discriminator_optimizer=saved,
        )  # fmt: skip
        group = training.discriminator_optimizer.param_groups[0]
        assert (group["lr"], group["betas"]) == (pytest.approx(lr), pytest.approx(betas))
        assert not training.discriminator_optimizer.state


def test_a_continued_adam_is_killed_and_goes_on_exactly(images: ImageArrays, tmp_path: Path) -> None:
    saved = state_of_adam(tiny_discriminator())
    whole, _ = train(images, tmp_path / "whole", discriminator_optimizer=saved)
    train(images, tmp_path / "cut", replace(SETTINGS, num_steps=4), discriminator_optimizer=saved)
    again, _ = train(images, tmp_path / "cut", discriminator_optimizer=saved)
    assert torch.equal(weights(whole), weights(again))
    anew, _ = train(images, tmp_path / "anew")
    assert not torch.equal(weights(whole), weights(anew))


def test_a_state_that_is_not_of_the_discriminator_is_refused() -> None:
    discriminator = tiny_discriminator()

    def spoilt(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        state = state_of_adam(discriminator)
        change(state)
        return state

    momentum = torch.optim.SGD(discriminator.parameters(), lr=0.1, momentum=0.9).state_dict()
    for state, message in (
        (momentum, "no state of an Adam"),
        (spoilt(lambda state: state.pop("state")), "no state of an Adam"),
        (spoilt(lambda state: state["state"].pop(3)), "no state of an Adam"),
        (spoilt(lambda state: state["param_groups"][0]["params"].pop()), "parameters; needed are"),
        (spoilt(lambda state: state["state"][0].update(exp_avg=torch.zeros(3))), r"parameter 0 has shape \[3\]"),
        (spoilt(lambda state: state["state"][1]["exp_avg_sq"].fill_(torch.nan)), "parameter 1: exp_avg_sq is not fin"),
        (spoilt(lambda state: state["state"][1].update(exp_avg="x")), "parameter 1: is no state dict"),
        (spoilt(lambda state: state["state"][1].update(step=torch.tensor(torch.nan))), "step=nan; allowed"),
        (spoilt(lambda state: state["param_groups"][0].update(lr=torch.nan)), "lr=nan; allowed"),
        (spoilt(lambda state: state["param_groups"][0].update(betas=(0.0, 1.0))), r"betas=\(0.0, 1.0\); allowed"),
        (spoilt(lambda state: state["param_groups"][0].update(eps=-1)), "eps=-1.0; allowed"),
        (spoilt(lambda state: state["param_groups"].append(state["param_groups"][0])), "no state of an Adam"),
    ):
        with pytest.raises(
            ValueError, match=f"^generator.checkpoint: d_optim.*{message}.*; of a checkpoint without d_optim"
        ):
            EncoderTraining(
                tiny_stylegan2(), discriminator, no_features, SPEC, SETTINGS, seed=0, device=CPU,
                discriminator_optimizer=state,
            )  # fmt: skip


def test_reconstruction_improves(images: ImageArrays, tmp_path: Path) -> None:
    settings = replace(SETTINGS, num_steps=150, lr=5e-3, log_every=25, checkpoint_every=150)
    encoder, history = train(images, tmp_path, settings)
    assert history[-1]["mse"] < 0.6 * history[0]["mse"]
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_killed_training_goes_on_exactly(images: ImageArrays, tmp_path: Path) -> None:
    whole, history = train(images, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(done: int, total: int, values: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train(images, tmp_path / "killed", progress=kill)
    resumed, resumed_history = train(images, tmp_path / "killed")
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed_history == history
    with pytest.raises(ValueError, match="training with other settings"):
        train(images, tmp_path / "killed", replace(SETTINGS, lr=2e-3))


def test_nan_stops_and_keeps_the_last_good_state(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(images, tmp_path, replace(SETTINGS, num_steps=4))
    kept = (tmp_path / "encoder-training.pt").read_bytes()
    monkeypatch.setattr(training_module, "non_saturating_loss", lambda fake: fake.mean() * float("nan"))
    with pytest.raises(ValueError, match=r"inversion\.lr=0\.001: .*not finite by step 5.*kept in"):
        train(images, tmp_path)
    assert (tmp_path / "encoder-training.pt").read_bytes() == kept


def test_a_discriminator_that_breaks_in_the_step_of_a_checkpoint_is_not_saved(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its losses are measured before it steps, so they are still finite."""
    train(images, tmp_path, replace(SETTINGS, num_steps=4))
    kept = (tmp_path / "encoder-training.pt").read_bytes()
    # 0, with an infinite slope.
    monkeypatch.setattr(training_module, "discriminator_loss", lambda real, fake: (real - real.detach()).sum().sqrt())
    with pytest.raises(ValueError, match=r"not finite by step 5 .*kept in"):
        train(images, tmp_path, replace(SETTINGS, num_steps=5))
    assert (tmp_path / "encoder-training.pt").read_bytes() == kept


def test_an_infinite_moment_of_adam_is_not_saved(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients above 1e19 have squares that are infinite in fp32, but move finite weights to finite ones."""
    train(images, tmp_path, replace(SETTINGS, num_steps=4))
    kept = (tmp_path / "encoder-training.pt").read_bytes()
    monkeypatch.setattr(training_module, "discriminator_loss", lambda real, fake: 1e22 * (real - real.detach()).sum())
    with pytest.raises(ValueError, match=r"not finite by step 5 .*kept in"):
        train(images, tmp_path, replace(SETTINGS, num_steps=5))
    assert (tmp_path / "encoder-training.pt").read_bytes() == kept


def test_adversarial_term_needs_a_discriminator(images: ImageArrays, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"inversion\.adversarial_weight=0\.05: .*without a discriminator"):
        train(images, tmp_path, discriminator=None)
    settings = replace(SETTINGS, adversarial_weight=0.0)
    _, history = train(images, tmp_path, settings, discriminator=None, features=no_features)
    assert history[-1].keys() == {"step", "mse", "perceptual"}
    assert np.isfinite(history[-1]["mse"])
