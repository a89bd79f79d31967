"""Online W-search: one signed gradient step a batch, against the step written out."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import BOTH, MEAN, STD, fit_tiny, sgd, tiny_images

from assimilate.assimilation.contrastive import StepBatch
from assimilate.assimilation.loss import InfoNCE
from assimilate.assimilation.online import OnlineSearchTraining
from assimilate.assimilation.optimizers import Constant
from assimilate.data.augmentation import Identity
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.views.embedding import to_pixels

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.views.worlds import CODES, DIM, LinearGenerator, linear_embedding

LATENTS = np.random.default_rng(0).standard_normal((24, CODES, DIM)).astype(np.float32)


def module(generated_views=(2,), frozen=None, **online) -> OnlineSearchTraining:
    made = OnlineSearchTraining(
        encoder={"width": 2, "hidden_dim": 8, "output_dim": 8},
        loss=InfoNCE(temperature=0.5),
        alignment=BOTH,
        optimizer=sgd(0.05, Constant(), weight_decay=0.0),
        epochs=2,
        mean=MEAN,
        std=STD,
        online=online,
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
    views, _, _ = online.searched(batch(), torch.Generator().manual_seed(0))

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
    _, before, after = far.searched(batch(), torch.Generator())
    assert float(after) > float(before)
    still = module(frozen=linear_embedding(), threshold=1.0)
    views, before, after = still.searched(batch(), torch.Generator())
    assert float(after) == pytest.approx(float(before))
    reconstruction = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS[[3, 11, 20, 7]])))
    torch.testing.assert_close(views[2], normalized(reconstruction.float() / 127.5 - 1), rtol=0, atol=1e-5)


def test_eq3_moves_towards_epsilon1():
    spec = {"objective": "eq3", "epsilon1": 0.5, "epsilon2": 0.0, "step_size": 0.005, "initial_noise": 0.3}
    online = module(generated_views=(2, 3), frozen=linear_embedding(), **spec)
    views, before, after = online.searched(batch(4), torch.Generator().manual_seed(0))
    assert abs(float(after) - 0.5) < abs(float(before) - 0.5)
    assert not torch.equal(views[2], views[3])


def test_views_that_are_not_finite_are_refused_instead_of_black():
    broken = LATENTS.copy()
    broken[11, 1, 2] = np.nan
    online = module(frozen=linear_embedding())
    online.attach(LinearGenerator(), broken, Identity(), linear_embedding())
    with pytest.raises(ValueError, match=r"^view=online: searched views are not finite"):
        online.searched(batch(), torch.Generator())


def test_it_trains(tmp_path: Path):
    expert = make_transform("expert", 8, flip=0.5, expert={})
    slots = [ViewSlot("image", expert)] * 2 + [ViewSlot("image", Identity())]
    data = ContrastiveDataModule(
        tiny_images(), mean=MEAN, std=STD, slots=slots, batch_size=8, seed=0, view_source=None, drop_last=True
    )
    record = fit_tiny(module(), data, tmp_path, max_epochs=2)
    assert {"alignment", "distance_before", "distance_after"} <= record.rows[-1].keys()
    assert "generator" not in " ".join(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"])


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no view of a step is generated"):
        module(generated_views=())
    with pytest.raises(ValueError, match=r"view\.objective='cos'"):
        module(objective="cos")
