"""Learning rates against numbers computed by hand from the protocols."""

import pytest

from assimilate.assimilation.schedule import OptimizerSpec, learning_rate


def test_essl() -> None:
    # PROTOCOLS 1: 800 epochs of 390 steps, lr .015, 10 warm-up epochs: 3,900 of 312,000 steps.
    spec = OptimizerSpec("sgd", lr=0.015, epochs=800, schedule="cosine_with_warmup", warmup_epochs=10)
    rate = learning_rate(spec, 390)
    assert rate(0) == 0.0
    assert rate(1950) == pytest.approx(0.0075)
    assert rate(3900) == pytest.approx(0.015)
    assert rate(3900 + 308_100 // 2) == pytest.approx(0.0075)
    # One step before the end: .015·½(1 + cos(π − x)) with x = π/308100, which is .015·x²/4.
    assert rate(311_999) == pytest.approx(0.015 * (3.141592653589793 / 308_100) ** 2 / 4, rel=1e-4)
    assert rate(312_000) == 0.0


def test_supcontrast() -> None:
    # PROTOCOLS 2: lr .5, 1200 epochs, 98 steps, warm-up from .01 over 10 epochs to the cosine's value at epoch 10.
    spec = OptimizerSpec("sgd", lr=0.5, epochs=1200, schedule="supcontrast", warmup_epochs=10)
    rate = learning_rate(spec, 98)
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
    rate = learning_rate(OptimizerSpec("sgd", lr=0.12, epochs=100, schedule="cosine_per_epoch"), 98)
    assert rate(0) == rate(97) == pytest.approx(0.12)
    assert rate(98) == pytest.approx(0.12 * 0.5 * (1 + 0.99950656036573))  # cos(π/100)
    assert rate(50 * 98) == pytest.approx(0.06)
    assert rate(99 * 98) == pytest.approx(0.12 * 0.5 * (1 - 0.99950656036573), rel=1e-9)
    assert rate(100 * 98) == pytest.approx(0.0, abs=1e-17)


def test_htdt() -> None:
    # PROTOCOLS 3: Adam 2e-3, 1000 epochs, B=512 drop_last on 100,000 images: 195 steps; ×.2 at 950 and 975.
    spec = OptimizerSpec(
        "adam", lr=2e-3, epochs=1000, schedule="multistep", warmup_steps=500, milestones=(0.95, 0.975), gamma=0.2
    )
    rate = learning_rate(spec, 195)
    assert rate(0) == pytest.approx(4e-6)
    assert rate(249) == pytest.approx(1e-3)
    assert rate(499) == rate(500 * 195) == pytest.approx(2e-3)
    assert rate(950 * 195 - 1) == pytest.approx(2e-3)
    assert rate(950 * 195) == pytest.approx(4e-4)
    assert rate(1000 * 195 - 1) == pytest.approx(8e-5)


def test_dkobak_1000() -> None:
    # PROTOCOLS 14: 1000 epochs of 98 steps, lr .03·512/256 = .06; no warm-up, so it starts at its peak.
    rate = learning_rate(OptimizerSpec("sgd", lr=0.06, epochs=1000, schedule="cosine_per_epoch"), 98)
    assert rate(0) == pytest.approx(0.06)
    assert rate(500 * 98) == pytest.approx(0.03)
    assert rate(250 * 98) == pytest.approx(0.06 * 0.5 * (1 + 0.70710678118655))  # cos(π/4)
    assert rate(1000 * 98 - 1) == pytest.approx(0.06 * 0.5 * (1 - 0.99999506520186), rel=1e-6)  # cos(π/1000)


def test_tinyimagenet() -> None:
    # PROTOCOLS 2: 1000 epochs, B=512 without drop_last on 100,000 images: 196 steps; lr .5, from .01 over 10 epochs.
    spec = OptimizerSpec("sgd", lr=0.5, epochs=1000, schedule="supcontrast", warmup_epochs=10)
    rate = learning_rate(spec, 196)
    at_epoch_10 = 0.0005 + 0.4995 * 0.5 * (1 + 0.99950656036573)  # cos(π/100)
    assert rate(0) == pytest.approx(0.01)
    assert rate(980) == pytest.approx((0.01 + at_epoch_10) / 2)
    assert rate(1959) == pytest.approx(0.01 + (at_epoch_10 - 0.01) * 1959 / 1960)
    assert rate(1960) == pytest.approx(0.0005 + 0.4995 * 0.5 * (1 + 0.99940297), rel=1e-7)  # epoch 11: cos(.011π)
    assert rate(499 * 196) == pytest.approx(0.0005 + 0.4995 / 2)  # the 500th epoch
    assert rate(1000 * 196 - 1) == pytest.approx(0.0005)


def test_clsp() -> None:
    # PROTOCOLS 15: 1000 epochs, B=1024 with drop_last on 50,000 images: 48 steps; lr .5, 480 warm-up steps of 48,000.
    spec = OptimizerSpec("sgd", lr=0.5, epochs=1000, schedule="cosine_with_warmup", warmup_epochs=10)
    rate = learning_rate(spec, 48)
    assert rate(0) == 0.0
    assert rate(240) == pytest.approx(0.25)
    assert rate(480) == pytest.approx(0.5)
    assert rate(480 + 47_520 // 2) == pytest.approx(0.25)
    assert rate(47_999) == pytest.approx(0.5 * (3.141592653589793 / 47_520) ** 2 / 4, rel=1e-4)


def test_genrep() -> None:
    # PROTOCOLS 12: 20 epochs, lr .03, no warm-up; the cosine of SupContrast's code, epochs from 1, down to lr·1e-3.
    spec = OptimizerSpec("sgd", lr=0.03, epochs=20, schedule="supcontrast")
    rate = learning_rate(spec, 5079)  # 1,300,000 images by 256, the last partial batch kept
    assert rate(0) == rate(5078) == pytest.approx(3e-5 + 0.02997 * 0.5 * (1 + 0.98768834059514))  # cos(π/20)
    assert rate(9 * 5079) == pytest.approx(3e-5 + 0.02997 / 2)
    assert rate(20 * 5079 - 1) == pytest.approx(3e-5)


def test_simsiam() -> None:
    # PROTOCOLS 11: lr .03·128/256 = .015 under E-SSL's schedule; the predictor's stays (test_simsiam.py).
    spec = OptimizerSpec("sgd", lr=0.03 * 128 / 256, epochs=800, schedule="cosine_with_warmup", warmup_epochs=10)
    rate = learning_rate(spec, 390)
    assert (rate(0), rate(1950), rate(3900)) == (0.0, pytest.approx(0.0075), pytest.approx(0.015))
    assert rate(157_950) == pytest.approx(0.0075)
    assert rate(311_999) < 1e-12


def test_milestones_keep_their_share_of_a_shorter_run() -> None:
    spec = OptimizerSpec("adam", lr=1.0, epochs=100, schedule="multistep", milestones=(0.95, 0.975))
    rate = learning_rate(spec, 10)
    assert [rate(epoch * 10) for epoch in (94, 95, 97, 98)] == pytest.approx([1.0, 0.2, 0.2, 0.04])
    with pytest.raises(ValueError, match=r"optimizer\.milestones=\[950\]"):
        OptimizerSpec("adam", lr=1.0, epochs=1000, schedule="multistep", milestones=(950,))


def test_constant() -> None:
    rate = learning_rate(OptimizerSpec("sgd", lr=0.03, epochs=5, schedule="constant"), 7)
    assert rate(0) == rate(34) == 0.03


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "lars"}, "optimizer.name='lars'"),
        ({"schedule": "cosine"}, "optimizer.schedule='cosine'"),
        ({"lr": 0.0}, "optimizer.lr=0.0"),
        ({"epochs": 0}, "epochs=0"),
        ({"warmup_epochs": 11}, "optimizer.warmup_epochs=11"),
        ({"momentum": 1.0}, "optimizer.momentum=1.0"),
        ({"nesterov": True}, "no key 'nesterov'"),
    ],
)
def test_errors_name_the_key(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerSpec.from_dict({"name": "sgd", "lr": 0.1, "epochs": 10} | values)
