"""Learning rates against numbers computed by hand from the protocols."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from assimilate.assimilation.optimizers import (
    SGD,
    AnyOptimizer,
    Constant,
    CosinePerEpoch,
    CosineWithWarmup,
    MultiStep,
    Optimizer,
    Schedule,
    SupContrastSchedule,
)
from assimilate.errors import UserError
from assimilate.graph.settings import choices
from assimilate.graph.wiring import from_plain


def rates(schedule: Schedule, *, lr: float, epochs: int, steps: int) -> Callable[[int], float]:
    sgd = SGD(lr=lr, momentum=0.9, weight_decay=0.0, schedule=schedule)
    return sgd.rates(epochs=epochs, steps_per_epoch=steps)


def test_essl() -> None:
    # PROTOCOLS 1: 800 epochs of 390 steps, lr .015, 10 warm-up epochs: 3,900 of 312,000 steps.
    rate = rates(CosineWithWarmup(warmup_epochs=10), lr=0.015, epochs=800, steps=390)
    assert rate(0) == 0.0
    assert rate(1950) == pytest.approx(0.0075)
    assert rate(3900) == pytest.approx(0.015)
    assert rate(3900 + 308_100 // 2) == pytest.approx(0.0075)
    # One step before the end: .015·½(1 + cos(π − x)) with x = π/308100, which is .015·x²/4.
    assert rate(311_999) == pytest.approx(0.015 * (3.141592653589793 / 308_100) ** 2 / 4, rel=1e-4)
    assert rate(312_000) == 0.0


def test_supcontrast() -> None:
    # PROTOCOLS 2: lr .5, 1200 epochs, 98 steps, warm-up from .01 over 10 epochs to the cosine's value at epoch 10.
    rate = rates(SupContrastSchedule(warmup_epochs=10), lr=0.5, epochs=1200, steps=98)
    at_epoch_10 = 0.49991441691  # .0005 + .24975·(1 + cos(π/120)), cos(π/120) = .99965732498
    assert rate(0) == pytest.approx(0.01)
    assert rate(490) == pytest.approx((0.01 + at_epoch_10) / 2, rel=1e-9)
    assert rate(980) == pytest.approx(0.0005 + 0.4995 * 0.5 * (1 + 0.999585357), rel=1e-8)  # epoch 11: cos(11π/1200)
    assert rate(980) == rate(1077) != rate(1078)
    assert rate(599 * 98) == pytest.approx(0.0005 + 0.4995 / 2)  # the 600th epoch: cos(π/2) = 0
    assert rate(1199 * 98) == pytest.approx(0.0005)
    assert rate(1200 * 98) == pytest.approx(0.0005)


def test_dkobak() -> None:
    # PROTOCOLS 14: 100 epochs of 98 steps, lr .06·512/256 = .12, no warm-up.
    rate = rates(CosinePerEpoch(), lr=0.12, epochs=100, steps=98)
    assert rate(0) == rate(97) == pytest.approx(0.12)
    assert rate(98) == pytest.approx(0.12 * 0.5 * (1 + 0.99950656036573))  # cos(π/100)
    assert rate(50 * 98) == pytest.approx(0.06)
    assert rate(99 * 98) == pytest.approx(0.12 * 0.5 * (1 - 0.99950656036573), rel=1e-9)
    assert rate(100 * 98) == pytest.approx(0.0, abs=1e-17)


def test_htdt() -> None:
    # PROTOCOLS 3: Adam 2e-3, 1000 epochs, B=512 drop_last on 100,000 images: 195 steps; ×.2 at 950 and 975.
    rate = rates(MultiStep(warmup_steps=500, milestones=(0.95, 0.975), gamma=0.2), lr=2e-3, epochs=1000, steps=195)
    assert rate(0) == pytest.approx(4e-6)
    assert rate(249) == pytest.approx(1e-3)
    assert rate(499) == rate(500 * 195) == pytest.approx(2e-3)
    assert rate(950 * 195 - 1) == pytest.approx(2e-3)
    assert rate(950 * 195) == pytest.approx(4e-4)
    assert rate(1000 * 195 - 1) == pytest.approx(8e-5)


def test_dkobak_1000() -> None:
    # PROTOCOLS 14: 1000 epochs of 98 steps, lr .03·512/256 = .06; no warm-up, so it starts at its peak.
    rate = rates(CosinePerEpoch(), lr=0.06, epochs=1000, steps=98)
    assert rate(0) == pytest.approx(0.06)
    assert rate(500 * 98) == pytest.approx(0.03)
    assert rate(250 * 98) == pytest.approx(0.06 * 0.5 * (1 + 0.70710678118655))  # cos(π/4)
    assert rate(1000 * 98 - 1) == pytest.approx(0.06 * 0.5 * (1 - 0.99999506520186), rel=1e-6)  # cos(π/1000)


def test_tinyimagenet() -> None:
    # PROTOCOLS 2: 1000 epochs, B=512 without drop_last on 100,000 images: 196 steps; lr .5, from .01 over 10 epochs.
    rate = rates(SupContrastSchedule(warmup_epochs=10), lr=0.5, epochs=1000, steps=196)
    at_epoch_10 = 0.0005 + 0.4995 * 0.5 * (1 + 0.99950656036573)  # cos(π/100)
    assert rate(0) == pytest.approx(0.01)
    assert rate(980) == pytest.approx((0.01 + at_epoch_10) / 2)
    assert rate(1959) == pytest.approx(0.01 + (at_epoch_10 - 0.01) * 1959 / 1960)
    assert rate(1960) == pytest.approx(0.0005 + 0.4995 * 0.5 * (1 + 0.99940297), rel=1e-7)  # epoch 11: cos(.011π)
    assert rate(499 * 196) == pytest.approx(0.0005 + 0.4995 / 2)  # the 500th epoch
    assert rate(1000 * 196 - 1) == pytest.approx(0.0005)


def test_clsp() -> None:
    # PROTOCOLS 15: 1000 epochs, B=1024 with drop_last on 50,000 images: 48 steps; lr .5, 480 warm-up steps of 48,000.
    rate = rates(CosineWithWarmup(warmup_epochs=10), lr=0.5, epochs=1000, steps=48)
    assert rate(0) == 0.0
    assert rate(240) == pytest.approx(0.25)
    assert rate(480) == pytest.approx(0.5)
    assert rate(480 + 47_520 // 2) == pytest.approx(0.25)
    assert rate(47_999) == pytest.approx(0.5 * (3.141592653589793 / 47_520) ** 2 / 4, rel=1e-4)


def test_genrep() -> None:
    # PROTOCOLS 12: 20 epochs, lr .03, no warm-up; the cosine of SupContrast's code, epochs from 1, down to lr·1e-3.
    rate = rates(
        SupContrastSchedule(warmup_epochs=0), lr=0.03, epochs=20, steps=5079
    )  # 1,300,000 images by 256, the last partial batch kept
    assert rate(0) == rate(5078) == pytest.approx(3e-5 + 0.02997 * 0.5 * (1 + 0.98768834059514))  # cos(π/20)
    assert rate(9 * 5079) == pytest.approx(3e-5 + 0.02997 / 2)
    assert rate(20 * 5079 - 1) == pytest.approx(3e-5)


def test_simsiam() -> None:
    # PROTOCOLS 11: lr .03·128/256 = .015 under E-SSL's schedule; the predictor's stays (test_simsiam.py).
    rate = rates(CosineWithWarmup(warmup_epochs=10), lr=0.03 * 128 / 256, epochs=800, steps=390)
    assert (rate(0), rate(1950), rate(3900)) == (0.0, pytest.approx(0.0075), pytest.approx(0.015))
    assert rate(157_950) == pytest.approx(0.0075)
    assert rate(311_999) < 1e-12


def test_milestones_keep_their_share_of_a_shorter_run() -> None:
    rate = rates(MultiStep(warmup_steps=0, milestones=(0.95, 0.975), gamma=0.2), lr=1.0, epochs=100, steps=10)
    assert [rate(epoch * 10) for epoch in (94, 95, 97, 98)] == pytest.approx([1.0, 0.2, 0.2, 0.04])


def test_constant() -> None:
    rate = rates(Constant(), lr=0.03, epochs=5, steps=7)
    assert rate(0) == rate(34) == 0.03


def test_every_setting_of_a_schedule_moves_a_rate() -> None:
    first = {
        "warmup_epochs": 2, "warmup_from": 0.05, "final": 0.2, "warmup_steps": 9, "milestones": [0.5], "gamma": 0.3,
    }  # fmt: skip
    other = {
        "warmup_epochs": 3, "warmup_from": 0.07, "final": 0.1, "warmup_steps": 5, "milestones": [0.8], "gamma": 0.7,
    }  # fmt: skip
    for kind in choices(Schedule).values():
        settings = {key: value for key, value in first.items() if key in kind.model_fields}
        assert settings.keys() == kind.model_fields.keys()
        before = [rates(kind(**settings), lr=1.0, epochs=10, steps=4)(step) for step in range(40)]
        for key in settings:
            rate = rates(kind(**(settings | {key: other[key]})), lr=1.0, epochs=10, steps=4)
            assert [rate(step) for step in range(40)] != before, (kind, key)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_target_": "lars"}, r"optimizer\._target_=lars cannot be used: allowed is sgd, adam, any or"),
        ({"schedule": "cosine"}, r"optimizer\.schedule=cosine cannot be used: allowed is constant, "),
        ({"lr": 0.0}, r"optimizer\.lr=0\.0 cannot be used: allowed is a number > 0"),
        ({"momentum": 1.0}, r"optimizer\.momentum=1\.0"),
        (
            {"schedule": "multistep", "warmup_steps": 0, "milestones": [950], "gamma": 0.2},
            r"optimizer\.milestones=\[950\]",
        ),
    ],
)
def test_errors_name_the_key(values: dict, message: str) -> None:
    values = {"_target_": "sgd", "lr": 0.1, "weight_decay": 0.0, "momentum": 0.9, "schedule": "constant"} | values
    with pytest.raises(UserError, match=message):
        from_plain("optimizer", values, Optimizer)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    CosineWithWarmup(warmup_epochs=10).check(10)
    with pytest.raises(ValueError, match=r"optimizer\.warmup_epochs=11 exceeds epochs=10"):
        SupContrastSchedule(warmup_epochs=11).check(10)


def any_optimizer(**values: Any) -> AnyOptimizer:
    return AnyOptimizer(lr=0.1, weight_decay=0.01, schedule=Constant(), **values)


def test_any_optimizer_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    made = any_optimizer(factory="torch.optim.AdamW", arguments={"betas": [0.8, 0.9]}).build([{"params": [parameter]}])
    assert isinstance(made, torch.optim.AdamW)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"], tuple(group["betas"])) == (1.0, 0.01, (0.8, 0.9))
    parameter.grad = torch.ones(2)
    made.step()
    assert not torch.equal(parameter, torch.ones(2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factory": "torch.optim.AdamX"}, r"torch\.optim\.AdamX cannot be imported"),
        (
            {"factory": "torch.optim.AdamW", "arguments": {"beta": 1}},
            r"torch\.optim\.AdamW does not",
        ),
    ],
)
def test_an_optimizer_that_torch_has_not_is_refused_at_once(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        any_optimizer(**values)
