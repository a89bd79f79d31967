"""Online W-search: one signed gradient step a batch, against the step written out."""

import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import BOTH, MEAN, STD, StopAt, fit_tiny, sgd, tiny_images, weights

from assimilate.assimilation.contrastive import StepBatch
from assimilate.assimilation.loss import InfoNCE
from assimilate.assimilation.online import OnlineSearchTraining
from assimilate.assimilation.optimizers import Constant
from assimilate.data.augmentation import Identity
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.errors import UserError
from assimilate.graph.settings import Settings
from assimilate.graph.wiring import Wiring, as_plain, from_plain
from assimilate.views.embedding import to_pixels
from assimilate.views.online import OnlineSolver

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.views.worlds import CODES, DIM, LinearGenerator, linear_embedding

LATENTS = np.random.default_rng(0).standard_normal((24, CODES, DIM)).astype(np.float32)


CONFIG = {
    "objective": "cosine", "threshold": 0.5, "step_size": 0.1, "initial_noise": 0.0, "epsilon1": 0.3, "epsilon2": 0.5,
    "lambda": 0.01, "hinge": "image", "solver": "gradient", "passes": 4, "measure_every": 100,
}  # fmt: skip


class View(Settings):
    solver: OnlineSolver


def solver(**online) -> OnlineSolver:
    return Wiring({"view": {**CONFIG, **online}}, {}).fill("view", View).solver


def module(generated_views=(2,), frozen=None, **online) -> OnlineSearchTraining:
    chosen = solver(**online)
    made = pkgutil.resolve_name(chosen.trained_by)(
        encoder={"width": 2, "hidden_dim": 8, "output_dim": 8},
        loss=InfoNCE(temperature=0.5),
        alignment=BOTH,
        optimizer=sgd(0.05, Constant(), weight_decay=0.0),
        epochs=2,
        mean=MEAN,
        std=STD,
        online=chosen,
        generated_views=generated_views,
    )
    made.attach(LinearGenerator(), LATENTS, Identity(), frozen)
    return made


def batch(num_views: int = 3) -> StepBatch:
    indices = torch.tensor([3, 11, 20, 7])
    pixels = torch.from_numpy(tiny_images().images[indices.numpy()]).float() / 255
    image = (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    return StepBatch((image * 0.5,) * 2 + (image,) * (num_views - 2), indices)


def normalized(images):
    return ((images + 1) / 2 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


@pytest.mark.parametrize("frozen", [None, linear_embedding()])
def test_a_step_is_the_one_of_appendix_e(frozen):
    online = module(frozen=frozen, threshold=-1.0, step_size=0.05)
    online.train()
    before = {name: value.clone() for name, value in online.state_dict().items()}
    views, _, _ = online.find(batch(), torch.Generator().manual_seed(0))

    def f(images):
        if frozen is not None:
            return frozen(images)
        out = module_again(normalized(images))
        return out / out.norm(dim=1, keepdim=True)

    module_again = module().encoder.train()
    generator, codes = LinearGenerator(), torch.from_numpy(LATENTS[[3, 11, 20, 7]]).requires_grad_()
    original = batch().views[2] * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    with torch.no_grad():
        anchors = f(original * 2 - 1)
    h = f(generator.synthesize(codes).clamp(-1, 1))
    loss = sum(torch.relu((h[i] * anchors[i]).sum() + 1.0) for i in range(4)) / 4
    (gradient,) = torch.autograd.grad(loss, codes)
    moved = generator.synthesize((codes - 0.05 * gradient.sign()).detach()).clamp(-1, 1)
    expected = normalized(to_pixels(moved).float() / 127.5 - 1)
    # A gradient that is 0 to rounding may have either sign.
    share = (views[2] - expected).abs().flatten(1).max(dim=1).values < 1e-4
    assert share.float().mean() >= 0.75
    assert all(torch.equal(view, original) for view, original in zip(views[:2], batch().views[:2], strict=True))
    # The search trains nothing and leaves BatchNorm's running statistics alone.
    assert all(torch.equal(value, before[name]) for name, value in online.state_dict().items())
    assert all(parameter.grad is None for parameter in online.parameters())


def test_views_move_away_until_the_threshold():
    far = module(frozen=linear_embedding(), threshold=-1.0, step_size=0.02)
    _, before, after = far.find(batch(), torch.Generator())
    assert float(after) > float(before)
    still = module(frozen=linear_embedding(), threshold=1.0)
    views, before, after = still.find(batch(), torch.Generator())
    assert float(after) == pytest.approx(float(before))
    reconstruction = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS[[3, 11, 20, 7]])))
    torch.testing.assert_close(views[2], normalized(reconstruction.float() / 127.5 - 1), rtol=0, atol=1e-5)


def test_eq3_moves_towards_epsilon1():
    spec = {"objective": "eq3", "epsilon1": 0.5, "epsilon2": 0.0, "step_size": 0.005, "initial_noise": 0.3}
    online = module(generated_views=(2, 3), frozen=linear_embedding(), **spec)
    views, before, after = online.find(batch(4), torch.Generator().manual_seed(0))
    assert abs(float(after) - 0.5) < abs(float(before) - 0.5)
    assert not torch.equal(views[2], views[3])


def test_views_that_are_not_finite_are_refused_instead_of_black():
    broken = LATENTS.copy()
    broken[11, 1, 2] = np.nan
    online = module(frozen=linear_embedding())
    online.attach(LinearGenerator(), broken, Identity(), linear_embedding())
    with pytest.raises(ValueError, match=r"^view=online: searched views are not finite"):
        online.find(batch(), torch.Generator())


def data() -> ContrastiveDataModule:
    expert = make_transform("expert", 8, flip=0.5, expert={})
    slots = [ViewSlot("image", expert)] * 2 + [ViewSlot("image", Identity())]
    return ContrastiveDataModule(
        tiny_images(), mean=MEAN, std=STD, slots=slots, batch_size=8, seed=0, view_source=None, drop_last=True
    )


def test_it_trains(tmp_path: Path):
    record = fit_tiny(module(), data(), tmp_path, max_epochs=2)
    assert {"alignment", "distance_before", "distance_after"} <= record.rows[-1].keys()
    assert "generator" not in " ".join(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"])


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no view of a step is generated"):
        module(generated_views=())
    with pytest.raises(UserError, match=r"^view\.objective=cos cannot be used"):
        module(objective="cos")


@pytest.mark.parametrize("words", [{}, {"objective": "eq3", "lambda": 0.2}, {"solver": "ray", "passes": 6}])
def test_a_checkpoint_holds_the_solver(words):
    assert from_plain("online", as_plain(solver(**words)), OnlineSolver) == solver(**words)


RAYS = {"solver": "ray", "passes": 6}


def real_batch(num_views: int = 3) -> StepBatch:
    """The first views show the image, brighter: what ε1 is measured on."""
    given = batch(num_views)
    return StepBatch((given.views[2] + 0.1, *given.views[1:]), given.indices)


def test_rays_reach_the_distance_of_the_real_views():
    frozen = linear_embedding()
    online = module(generated_views=(2, 3), frozen=frozen, **RAYS)
    given = real_batch(4)
    views, epsilon1, reached = online.on_rays(given, torch.Generator().manual_seed(0), measure=True)

    def f(view):
        image = view * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
        return frozen(image * 2 - 1)

    wanted = float((f(given.views[2]) - f(given.views[0])).norm(dim=1).mean())
    assert float(epsilon1) == pytest.approx(wanted, rel=1e-5)
    anchors = frozen(LinearGenerator().synthesize(torch.from_numpy(LATENTS[[3, 11, 20, 7]])).clamp(-1, 1))
    distances = torch.stack([(f(views[place]) - anchors).norm(dim=1) for place in (2, 3)])
    assert distances.flatten().tolist() == pytest.approx([wanted] * 8, rel=0.051)
    assert float(reached) == pytest.approx(float(distances.mean()), rel=1e-4)
    assert not torch.equal(views[2], views[3])
    assert all(torch.equal(view, same) for view, same in zip(views[:2], given.views[:2], strict=True))
    assert all(parameter.grad is None for parameter in online.parameters())


def test_epsilon1_is_kept_until_it_is_due_and_part_of_the_checkpoint():
    online = module(**RAYS)
    _, first, _ = online.on_rays(real_batch(), torch.Generator().manual_seed(0), measure=False)
    brighter = StepBatch((real_batch().views[2] + 0.3, *real_batch().views[1:]), real_batch().indices)
    _, kept, _ = online.on_rays(brighter, torch.Generator().manual_seed(1), measure=False)
    again = module(**RAYS)
    again.load_state_dict(online.state_dict())
    made = [each.on_rays(brighter, torch.Generator().manual_seed(2), measure=False) for each in (online, again)]
    assert all(torch.equal(one, other) for one, other in zip(made[0][0], made[1][0], strict=True))
    _, renewed, _ = online.on_rays(brighter, torch.Generator().manual_seed(2), measure=True)
    assert float(kept) == float(first) == float(made[0][1])
    assert float(renewed) > float(first)


def test_rays_train_and_go_on_as_if_nothing_had_stopped_them(tmp_path: Path):
    def fit(folder, *callbacks):
        online = module(**RAYS, measure_every=2)
        fit_tiny(online, data(), folder, max_epochs=2, checkpoint_every_n_steps=1, callbacks=callbacks)
        return weights(online)

    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyError):
        fit(tmp_path / "half", StopAt(4))
    resumed = fit(tmp_path / "half")
    assert bool(torch.isfinite(whole["ray_state"]).all())
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_rays_need_a_view_of_the_image():
    online = module(generated_views=(0, 1, 2), **RAYS)
    with pytest.raises(ValueError, match="a step needs one, as assim=a1"):
        online.on_rays(real_batch(), torch.Generator(), measure=False)
