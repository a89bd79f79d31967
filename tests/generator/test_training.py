"""Adversarial training: what each term does, exact resume, and stopping at a NaN."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assimilate.data.images import ImageArrays
from assimilate.generator import steps as steps_module
from assimilate.generator.architecture import Architecture
from assimilate.generator.checkpoint import load_stylegan2
from assimilate.generator.real_images import RealImages
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.state import GeneratorState
from assimilate.generator.steps import AdversarialTraining
from assimilate.generator.training import Observer, train_stylegan2

TINY = Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(8, 8))
SETTINGS = TrainingSettings(
    num_steps=6, batch_size=4, r1_every=2, path_length_every=3, checkpoint_every=2, log_every=1, flip_probability=0.5
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    pixels = np.random.default_rng(0).integers(0, 256, size=(10, 3, 8, 8), dtype=np.uint8)
    return ImageArrays(pixels, None)


def real_batch(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def step(settings: TrainingSettings, count: int = 1) -> tuple[AdversarialTraining, list[dict[str, Tensor]]]:
    training = AdversarialTraining(TINY, settings, seed=0, device=CPU)
    return training, [training.train_step(real_batch(index)) for index in range(count)]


def test_each_regulariser_moves_its_own_network() -> None:
    both, losses = step(SETTINGS)
    without_r1, _ = step(replace(SETTINGS, r1_weight=0.0))
    without_path, _ = step(replace(SETTINGS, path_length_weight=0.0))
    assert losses[0].keys() == {"discriminator", "generator", "r1", "path"}
    assert not torch.equal(weights(both.discriminator), weights(without_r1.discriminator))
    assert not torch.equal(weights(both.generator), weights(without_path.generator))
    assert torch.equal(weights(both.discriminator), weights(without_path.discriminator))


def test_lazy_regularisers_weigh_as_much_more(monkeypatch: pytest.MonkeyPatch) -> None:
    descended: list[float] = []
    monkeypatch.setattr(steps_module, "descend", lambda optimizer, loss, ranks: descended.append(float(loss.detach())))
    _, (losses,) = step(SETTINGS)
    # γ/2 · 2 steps for R1, weight · 3 steps for the path length (PROTOCOLS 4).
    expected = [losses["discriminator"], 10 / 2 * 2 * losses["r1"], losses["generator"], 2 * 3 * losses["path"]]
    assert descended == pytest.approx([float(value) for value in expected], rel=1e-6)


def test_regularisers_are_lazy() -> None:
    _, losses = step(SETTINGS, count=6)
    assert [index for index, values in enumerate(losses) if "r1" in values] == [0, 2, 4]
    assert [index for index, values in enumerate(losses) if "path" in values] == [0, 3]


def test_r1_keeps_gradients_at_real_images_small() -> None:
    strong = replace(SETTINGS, r1_weight=100.0, r1_every=1, path_length_weight=0.0)
    final = {}
    for name, settings in (("strong", strong), ("none", replace(strong, r1_weight=0.0))):
        training, _ = step(settings, count=60)
        final[name] = float(steps_module.r1_penalty(training.discriminator, real_batch()))
    assert final["strong"] < 0.5 * final["none"]


def test_moving_average_equals_its_formula() -> None:
    training = AdversarialTraining(TINY, replace(SETTINGS, ema_decay=0.75), seed=0, device=CPU)
    expected = weights(training.generator).clone()
    for index in range(3):
        training.train_step(real_batch(index))
        expected = 0.75 * expected + 0.25 * weights(training.generator)
    torch.testing.assert_close(weights(training.generator_ema), expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(weights(training.generator_ema), weights(training.generator))


def test_adam_is_corrected_for_lazy_steps() -> None:
    training = AdversarialTraining(TINY, TrainingSettings(), seed=0, device=CPU)
    for optimizer, ratio in ((training.generator_optimizer, 4 / 5), (training.discriminator_optimizer, 16 / 17)):
        assert optimizer.defaults["lr"] == pytest.approx(0.002 * ratio)
        assert optimizer.defaults["betas"] == pytest.approx((0.0, 0.99**ratio))


def test_mixing_changes_codes_from_one_layer_on() -> None:
    always = AdversarialTraining(TINY, replace(SETTINGS, mixing_probability=1.0), seed=0, device=CPU)
    never = AdversarialTraining(TINY, replace(SETTINGS, mixing_probability=0.0), seed=0, device=CPU)
    mixed = always.draw_codes(3, torch.Generator().manual_seed(0), "test", slice(None))
    plain = never.draw_codes(3, torch.Generator().manual_seed(0), "test", slice(None))
    same = (mixed == plain).all(dim=2).all(dim=0).tolist()
    assert (plain == plain[:, :1]).all()
    assert same[0]
    assert not same[-1]
    assert same == sorted(same, reverse=True)


def test_killed_training_goes_on_exactly(images: ImageArrays, tmp_path: Path) -> None:
    whole = run(images, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(done: int, total: int, values: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        run(images, tmp_path / "killed", progress=kill)
    assert load_stylegan2(tmp_path / "killed" / "training.pt").step == 4
    resumed = run(images, tmp_path / "killed")
    assert resumed.history == whole.history
    for name in ("generator", "discriminator", "generator_ema"):
        mine, other = getattr(resumed, name).state_dict(), getattr(whole, name).state_dict()
        assert all(torch.equal(mine[key], other[key]) for key in other), name
    assert resumed.mean_path_length == whole.mean_path_length
    assert torch.equal(resumed.latent_mean, whole.latent_mean)


def test_global_random_state_is_neither_used_nor_moved(images: ImageArrays, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = run(images, tmp_path / "first")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = run(images, tmp_path / "second")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(first.generator_ema), weights(second.generator_ema))


def test_other_settings_do_not_resume(images: ImageArrays, tmp_path: Path) -> None:
    run(images, tmp_path)
    run(images, tmp_path, settings=replace(SETTINGS, num_steps=7, checkpoint_every=3))
    with pytest.raises(ValueError, match=r"other settings \(r1_weight\)"):
        run(images, tmp_path, settings=replace(SETTINGS, r1_weight=1.0))


def test_nan_stops_and_keeps_the_last_good_state(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run(images, tmp_path, settings=replace(SETTINGS, num_steps=4))
    original = steps_module.non_saturating_loss
    monkeypatch.setattr(steps_module, "non_saturating_loss", lambda fake: original(fake) * float("nan"))
    with pytest.raises(ValueError, match=r"generator\.lr=0\.002: training is not finite by step 5.*kept in"):
        run(images, tmp_path)
    kept = load_stylegan2(tmp_path / "training.pt")
    assert kept.step == 4
    assert torch.equal(weights(kept.generator_ema), weights(good.generator_ema))


def test_an_infinite_moment_of_adam_is_not_saved(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients above 1e19 have squares that are infinite in fp32, but move finite weights to finite ones."""
    run(images, tmp_path, settings=replace(SETTINGS, num_steps=4))
    monkeypatch.setattr(steps_module, "non_saturating_loss", lambda fake: 1e22 * (fake - fake.detach()).sum())
    with pytest.raises(ValueError, match=r"not finite by step 5 \(moments of the generator's Adam\); the last good"):
        run(images, tmp_path)
    assert load_stylegan2(tmp_path / "training.pt").step == 4


def test_observers_are_called_on_their_schedule_and_before_a_save(images: ImageArrays, tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {"steps": [], "images": [], "saved": []}

    def every_three_steps(state: GeneratorState) -> None:
        seen["steps"].append(state.step)
        path = tmp_path / "training.pt"
        seen["saved"].append(load_stylegan2(path).step if path.exists() else 0)

    observers = [
        Observer(every_three_steps, every_images=3 * 4, batch_size=4),
        # 10 images are passed by the third step, 20 by the fifth.
        Observer(lambda state: seen["images"].append(state.step), every_images=10, batch_size=4, at_the_end=False),
    ]
    settings = replace(SETTINGS, num_steps=7, checkpoint_every=3, log_every=100)
    watched = run(images, tmp_path, settings=settings, observers=observers)
    # At the sixth and seventh step what is on disk is the state before: a kill in between repeats the observation.
    assert seen == {"steps": [3, 6, 7], "images": [3, 5], "saved": [0, 3, 6]}
    alone = run(images, tmp_path / "alone", settings=settings)
    assert torch.equal(weights(watched.generator_ema), weights(alone.generator_ema))
    assert watched.history == alone.history


def test_a_network_that_is_not_finite_is_not_observed(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = steps_module.non_saturating_loss
    monkeypatch.setattr(steps_module, "non_saturating_loss", lambda fake: original(fake) * float("nan"))
    seen: list[int] = []
    observers = [Observer(lambda state: seen.append(state.step), every_images=4, batch_size=4)]
    settings = replace(SETTINGS, checkpoint_every=100, log_every=100)
    with pytest.raises(ValueError, match=r"not finite by step 1 \(generator weights\); no checkpoint had been written"):
        run(images, tmp_path, settings=settings, observers=observers)
    assert seen == []


def test_images_of_another_shape_are_refused(tmp_path: Path) -> None:
    for shape in ((4, 3, 16, 16), (4, 3, 8, 16)):
        with pytest.raises(ValueError, match=r"dataset\.image_size=8"):
            run(ImageArrays(np.zeros(shape, dtype=np.uint8), None), tmp_path)


def test_every_image_is_seen_once_an_epoch(images: ImageArrays) -> None:
    stream = RealImages(images, batch_size=4, seed=3, device=CPU)
    seen = np.concatenate([stream.indices(step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert not np.array_equal(seen[:10], seen[10:])
    expected = images.images[stream.indices(2)].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(stream.batch(2).numpy(), expected, atol=1e-6)


def test_augmentation_leaks_with_its_probability(images: ImageArrays) -> None:
    def black(pixels: Tensor, rng: torch.Generator) -> Tensor:
        return torch.zeros(pixels.shape)

    shares = {}
    for probability in (0.0, 0.5, 1.0):
        stream = RealImages(
            images, batch_size=200, seed=0, augmentation=black, augmentation_probability=probability, device=CPU
        )
        shares[probability] = float((stream.batch(0).flatten(1) == -1).all(dim=1).float().mean())
    assert shares[0.0] == 0.0
    assert shares[0.5] == pytest.approx(0.5, abs=0.12)
    assert shares[1.0] == 1.0


def run(
    images: ImageArrays, workdir: Path, *, settings: TrainingSettings = SETTINGS, **options: object
) -> GeneratorState:
    state = train_stylegan2(
        images,
        architecture=copy.copy(TINY),
        settings=settings,
        workdir=workdir,
        seed=0,
        **options,
    )
    return state
