"""Training against a Viewmaker: who moves what, in which direction, and resumes exactly."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from tiny_training import MEAN, STD, StopAt, fit_tiny, sgd, tiny_images, weights

from assimilate.assimilation.adversarial import ViewmakerTraining
from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.contrastive import StepBatch
from assimilate.assimilation.loss import ViewmakerLoss
from assimilate.assimilation.losses import viewmaker_loss
from assimilate.assimilation.optimizers import Constant
from assimilate.data.augmentation import Identity
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot


def module(**changes) -> ViewmakerTraining:
    settings = {
        "encoder": {"width": 2, "projector": "linear", "output_dim": 8},
        "loss": ViewmakerLoss(temperature=0.2),
        "alignment": Alignment(alpha=0.14, align_anchors=[0, 1]),
        "optimizer": sgd(0.05, Constant(), weight_decay=1e-4),
        "epochs": 3,
        "mean": MEAN,
        "std": STD,
        "viewmaker": {"distortion_budget": 0.1, "width": 2},
        "viewmaker_lr": 0.01,
        "generated_views": [2],
    }
    return ViewmakerTraining(**(settings | changes))


def data(num_views: int = 3) -> ContrastiveDataModule:
    expert = make_transform("expert", 8, flip=0.5, expert={})
    slots = [ViewSlot("image", expert)] * (num_views - 1) + [ViewSlot("image", Identity())]
    return ContrastiveDataModule(
        tiny_images(), mean=MEAN, std=STD, slots=slots, batch_size=8, seed=0, view_source=None, drop_last=True
    )


def test_loss_is_that_of_its_authors():
    rng = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(5, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    u1, u2 = (z / z.norm(dim=1, keepdim=True) for z in (z1, z2))
    tau, total = 0.3, 0.0
    for i in range(5):
        keys = [*u1, *u2]
        mean_exponential = math.fsum(math.exp(float(u1[i] @ key) / tau) for key in keys) / 10
        total += math.log(mean_exponential) - float(u1[i] @ u2[i]) / tau
    assert viewmaker_loss(z1, z2, temperature=tau).item() == pytest.approx(total / 5, abs=1e-10)
    assert viewmaker_loss(z1, z2, temperature=tau).item() != pytest.approx(
        viewmaker_loss(z2, z1, temperature=tau).item()
    )


@pytest.mark.parametrize(
    ("moving", "still", "changes"),
    [
        ("encoder", "viewmaker", {"viewmaker_lr": 1e-30}),
        ("viewmaker", "encoder", {"optimizer": sgd(1e-30, weight_decay=0)}),
    ],
)
def test_each_optimizer_moves_its_own_network_alone(tmp_path: Path, moving: str, still: str, changes: dict):
    trained = module(**changes)
    before = weights(trained)
    fit_tiny(trained, data(), tmp_path, max_epochs=1)
    moved = {name: float((value - before[name]).abs().max()) for name, value in trained.named_parameters()}
    assert max(step for name, step in moved.items() if name.startswith(still)) < 1e-20
    # Biases before a norm have no gradient.
    assert min(step for name, step in moved.items() if name.startswith(moving) and before[name].dim() == 4) > 1e-6


def test_two_optimizers_share_no_parameter_and_leave_none_out(tmp_path: Path):
    """While both play: the Viewmaker's step changes no bit of the encoder, whose own sees no gradient of the other."""
    played, steps = module(), {"encoder": 0, "viewmaker": 0}

    def watched(step):
        encoder, viewmaker = (
            [p.detach().clone() for p in part.parameters()] for part in (played.encoder, played.viewmaker)
        )
        step()
        assert all(torch.equal(p, before) for p, before in zip(played.encoder.parameters(), encoder, strict=True))
        assert not all(
            torch.equal(p, before) for p, before in zip(played.viewmaker.parameters(), viewmaker, strict=True)
        )
        steps["viewmaker"] += 1

    class Watch(Callback):
        def on_train_epoch_start(self, trainer, module):
            (sgd,), adam = trainer.optimizers, module._adversary
            own, other = (
                {id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in (sgd, adam)
            )
            assert own == {id(p) for p in module.encoder.parameters()}
            assert other == {id(p) for p in module.viewmaker.parameters()}
            assert own | other == {id(p) for p in module.parameters()}
            if trainer.current_epoch == 0:
                step = adam.step
                adam.step = lambda: watched(step)

        def on_before_optimizer_step(self, trainer, module, optimizer):
            assert all(p.grad is None for p in module.viewmaker.parameters())
            assert any(p.grad is not None for p in module.encoder.parameters())
            steps["encoder"] += 1

    fit_tiny(played, data(), tmp_path, max_epochs=2, callbacks=[Watch()])
    assert steps == {"encoder": 6, "viewmaker": 6}


def test_a_trained_viewmaker_spends_its_budget(tmp_path: Path):
    played = module(viewmaker={"distortion_budget": 0.05, "width": 8})
    fit_tiny(played, data(), tmp_path, max_epochs=3)
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sizes = played.viewmaker.perturbation(images, torch.Generator().manual_seed(1)).abs().mean(dim=(1, 2, 3))
        clamped = (played.viewmaker(images, torch.Generator().manual_seed(1)) - images).abs().mean()
    torch.testing.assert_close(sizes, torch.full((6,), 0.05), rtol=1e-3, atol=0)
    assert 0 < float(clamped) <= float(sizes.mean())


def test_the_encoder_lowers_the_loss(tmp_path: Path):
    """Against a Viewmaker that stands still; both sides of the game are in the history."""
    played = module(
        optimizer=sgd(0.05, Constant(), weight_decay=0.0),
        epochs=12,
        viewmaker_lr=1e-30,
        generated_views=[0, 1],
    )
    rows = fit_tiny(played, data(2), tmp_path, max_epochs=12).rows
    for row in rows:
        assert {"loss", "viewmaker", "change"} <= row.keys()
        assert 0 < row["change"] <= 0.1
    losses = [row["loss"] for row in rows]
    assert sum(losses[-4:]) < sum(losses[:4])


def test_all_views_in_one_forward_and_flipped_each_by_itself(tmp_path: Path):
    """CIFAR-100's and TinyImageNet's rows: one forward of all views in either step, the last partial batch too; the
    Viewmaker sees each of its two views mirrored or not."""
    flip = make_transform("flip", 8, flip=0.5, expert={})
    images = tiny_images(20)
    served = ContrastiveDataModule(
        images, mean=MEAN, std=STD, slots=[ViewSlot("image", flip)] * 2, batch_size=8, seed=0, view_source=None,
        drop_last=False,
    )  # fmt: skip
    played = module(
        encoder={"width": 2, "projector": "supcontrast", "output_dim": 8}, batchnorm="concatenated",
        generated_views=[0, 1],
    )  # fmt: skip
    forwards, seen = [], []
    played.encoder.register_forward_hook(lambda _, args, __: forwards.append(len(args[0])) if played.training else None)
    played.viewmaker.register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    fit_tiny(played, served, tmp_path, max_epochs=1)
    assert forwards == [16, 16, 16, 16, 8, 8]
    assert played.encoder.backbone.bn1.num_batches_tracked == 6
    stored = torch.from_numpy(images.images).float() / 255
    mirrored = set()
    for first, second in (batch.chunk(2) for batch in seen[::2]):
        for pair in zip(first, second, strict=True):
            places = [
                [(view - kind).abs().flatten(1).max(dim=1).values.argmin() for kind in (stored, stored.flip(-1))]
                for view in pair
            ]
            whether = [
                bool((view - stored.flip(-1)[there]).abs().max() < 1e-5)
                for view, (_, there) in zip(pair, places, strict=True)
            ]
            mirrored.add(tuple(whether))
    assert mirrored == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("generated_views", [[0, 1], [1], [2]])
def test_the_viewmaker_raises_the_loss(generated_views: list[int]):
    """Its own steps, again and again on the same images with the same noise, against an encoder that stands still.

    In float64 with small steps: in float32 with lr=0.003 the number of steps that raise it depends on the CPU.
    """
    played = module(generated_views=generated_views).train().double()
    played._adversary = torch.optim.Adam(played.viewmaker.parameters(), lr=1e-5)
    image = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    views = tuple((image.roll(shift, dims=-1) - 0.5) / 0.25 for shift in range(max(generated_views) + 1))
    views = views if len(views) > 1 else views * 2
    batch = StepBatch(views, torch.arange(16))
    before = [p.detach().clone() for p in played.encoder.parameters()]
    losses = [float(played._raise_loss(batch, torch.Generator().manual_seed(5))) for _ in range(25)]
    assert losses[-1] > losses[0] + 0.05
    assert sum(after > earlier for earlier, after in itertools.pairwise(losses)) >= 20
    assert all(torch.equal(p, old) for p, old in zip(played.encoder.parameters(), before, strict=True))


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, step: int):
    whole = module()
    fit_tiny(whole, data(), tmp_path / "whole")
    with pytest.raises(KeyError, match="killed"):
        fit_tiny(module(), data(), tmp_path / "cut", callbacks=[StopAt(step)], checkpoint_every_n_steps=1)
    torch.manual_seed(step)
    resumed = module()
    fit_tiny(resumed, data(), tmp_path / "cut")
    assert resumed.trainer.global_step == 9
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no view of a step is generated"):
        module(generated_views=[])
    with pytest.raises(ValueError, match=r"view\.lr=0"):
        module(viewmaker_lr=0)
