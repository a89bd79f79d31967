"""Losses against slow loops written from the paper's equations, other libraries, closed forms and symmetry."""

import math

import lightly.loss
import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.loss import ContrastiveLoss, FullNTXent, InfoNCE, Loss, NTXent, ViewmakerLoss
from assimilate.assimilation.losses import alignment, info_nce, multi_view_nt_xent, nt_xent
from assimilate.errors import UserError
from assimilate.graph.wiring import as_plain, from_plain

CONTRASTIVE = (InfoNCE, NTXent, FullNTXent, ViewmakerLoss)


def aligned(alpha: float) -> Alignment:
    return Alignment(alpha=alpha, align_anchors=[0, 1])


def embeddings(num_views: int, batch: int = 6, dim: int = 5, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rng = torch.Generator().manual_seed(num_views)
    return [3 * torch.randn(batch, dim, generator=rng, dtype=dtype) for _ in range(num_views)]


def dot(a: Tensor, b: Tensor) -> float:
    a, b = a.tolist(), b.tolist()
    norm_a, norm_b = math.sqrt(math.fsum(x * x for x in a)), math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (norm_a * norm_b)


def slow_simclr(z1: Tensor, z2: Tensor, tau: float) -> float:
    """Equation 1 over its 2N anchors."""
    z, n = [*z1, *z2], len(z1)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        denominator = math.fsum(math.exp(dot(z[i], z[a]) / tau) for a in range(2 * n) if a != i)
        total -= math.log(math.exp(dot(z[i], z[j]) / tau) / denominator)
    return total / (2 * n)


def slow_infonce(z1: Tensor, z2: Tensor, tau: float) -> float:
    """Equation 12 over its 2N anchors."""
    n = len(z1)
    total = 0.0
    for own, other in ((z1, z2), (z2, z1)):
        for i in range(n):
            denominator = math.fsum(math.exp(dot(own[i], other[a]) / tau) for a in range(n))
            total -= math.log(math.exp(dot(own[i], other[i]) / tau) / denominator)
    return total / (2 * n)


def slow_full(views: list[Tensor], tau: float) -> float:
    """Equation 13, with the sign of PROTOCOLS, over its V·N anchors."""
    z, n = [row for view in views for row in view], len(views[0])
    total = 0.0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and p % n == i % n]
        denominator = math.fsum(math.exp(dot(z[i], z[a]) / tau) for a in range(len(z)) if a != i)
        total -= math.fsum(math.log(math.exp(dot(z[i], z[p]) / tau) / denominator) for p in positives) / len(positives)
    return total / len(z)


def slow_alignment(anchors: list[Tensor], appended: list[Tensor], tau: float, alpha: float) -> float:
    """L_align of Equation 4 over its anchors."""
    total = 0.0
    for anchor in anchors:
        for i in range(len(anchor)):
            total += alpha / len(appended) * math.fsum(dot(anchor[i], view[i]) / tau for view in appended)
    return total / (len(anchors) * len(anchors[0]))


@pytest.mark.parametrize("tau", [0.07, 0.5, 1.0])
def test_slow_loops(tau: float) -> None:
    z1, z2, z3, z4 = embeddings(4)
    assert info_nce(z1, z2, temperature=tau).item() == pytest.approx(slow_infonce(z1, z2, tau), abs=1e-10)
    assert nt_xent(z1, z2, temperature=tau).item() == pytest.approx(slow_simclr(z1, z2, tau), abs=1e-10)
    assert multi_view_nt_xent([z1, z2, z3], temperature=tau).item() == pytest.approx(
        slow_full([z1, z2, z3], tau), abs=1e-10
    )
    for anchors in ([z1], [z1, z2]):
        for appended in ([z3], [z3, z4]):
            ours = alignment(anchors, appended, temperature=tau, alpha=0.5).item()
            assert ours == pytest.approx(slow_alignment(anchors, appended, tau, 0.5), abs=1e-10)


@pytest.mark.parametrize("base_tau", [None, 0.07])
@pytest.mark.parametrize("align_anchors", [(0,), (0, 1)])
@pytest.mark.parametrize(("kind", "slow"), [(InfoNCE, slow_infonce), (NTXent, slow_simclr)])
def test_a2_is_the_base_loss_less_the_alignment(
    kind: type[ContrastiveLoss], slow, align_anchors: tuple, base_tau: float | None
) -> None:
    views = embeddings(4)
    loss = kind(temperature=0.5, base_temperature=base_tau)
    anchors = [views[index] for index in align_anchors]
    expected = slow(views[0], views[1], 0.5) - slow_alignment(anchors, views[2:], 0.5, 0.3)
    scale = 1 if base_tau is None else 0.5 / 0.07
    ours = loss.terms(views, Alignment(alpha=0.3, align_anchors=align_anchors)).total
    assert ours.item() == pytest.approx(scale * expected, abs=1e-10)


def test_equation_15_is_equation_14() -> None:
    z1, z2, z3 = embeddings(3)
    alpha, tau, n = 0.5, 0.5, len(z1)
    z, total = [*z1, *z2], 0.0
    for i in range(2 * n):
        exponent = dot(z[i], z[(i + n) % (2 * n)]) / tau + alpha * dot(z[i], z3[i % n]) / tau
        denominator = math.fsum(math.exp(dot(z[i], z[a]) / tau) for a in range(2 * n) if a != i)
        total -= math.log(math.exp(exponent) / denominator)
    ours = NTXent(temperature=tau).terms([z1, z2, z3], aligned(alpha)).total.item()
    assert ours == pytest.approx(total / (2 * n), abs=1e-10)


def test_other_libraries() -> None:
    z1, z2, z3 = embeddings(3, batch=32, dim=16, dtype=torch.float32)
    theirs = lightly.loss.NTXentLoss(temperature=0.5)(z1, z2)
    torch.testing.assert_close(nt_xent(z1, z2, temperature=0.5), theirs, atol=1e-5, rtol=0)
    labels = torch.arange(32)
    supcon = SupConLoss(temperature=0.5)
    torch.testing.assert_close(
        nt_xent(z1, z2, temperature=0.5), supcon(torch.cat([z1, z2]), labels.repeat(2)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        multi_view_nt_xent([z1, z2, z3], temperature=0.5),
        supcon(torch.cat([z1, z2, z3]), labels.repeat(3)),
        atol=1e-5,
        rtol=0,
    )
    logits = F.normalize(z1) @ F.normalize(z2).T / 0.5
    halves = 0.5 * F.cross_entropy(logits, labels) + 0.5 * F.cross_entropy(logits.T, labels)
    torch.testing.assert_close(info_nce(z1, z2, temperature=0.5), halves, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [InfoNCE, NTXent])
def test_alpha_zero_is_the_base_loss(kind: type[ContrastiveLoss]) -> None:
    views, loss = embeddings(3), kind(temperature=0.5)
    with_zero = loss.terms(views, aligned(0.0)).total
    assert torch.equal(with_zero, loss.terms(views[:2]).total)


def test_symmetry_and_scale_invariance() -> None:
    z1, z2, z3 = embeddings(3)
    permutation = torch.randperm(len(z1), generator=torch.Generator().manual_seed(0))
    for loss in (info_nce, nt_xent):
        value = loss(z1, z2, temperature=0.2)
        torch.testing.assert_close(loss(z2, z1, temperature=0.2), value, rtol=1e-12, atol=0)
        torch.testing.assert_close(loss(7 * z1, z2 / 3, temperature=0.2), value, rtol=1e-12, atol=0)
        torch.testing.assert_close(loss(z1[permutation], z2[permutation], temperature=0.2), value, rtol=1e-12, atol=0)
    full = multi_view_nt_xent([z1, z2, z3], temperature=0.2)
    torch.testing.assert_close(multi_view_nt_xent([z3, z1, z2], temperature=0.2), full, rtol=1e-12, atol=0)


def test_closed_forms() -> None:
    # All embeddings equal: uniform over N keys (Eq. 12), over 2N−1 (Eq. 1).
    z = torch.ones(8, 3, dtype=torch.float64)
    assert info_nce(z, z, temperature=0.1).item() == pytest.approx(math.log(8))
    assert nt_xent(z, z, temperature=0.1).item() == pytest.approx(math.log(15))
    assert alignment([z], [z], temperature=0.5, alpha=0.5).item() == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CONTRASTIVE)
def test_finite_for_collinear_embeddings_at_a_low_temperature(kind: type[ContrastiveLoss], dtype: torch.dtype) -> None:
    row = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    sign = torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    views = [(scale * sign * row).to(dtype).requires_grad_() for scale in (1.0, 50.0, 1e-3)]
    loss = kind(temperature=0.01).terms(views, aligned(0.5)).total
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert all(view.grad.isfinite().all() for view in views)


def test_logits_stay_in_fp32_under_autocast() -> None:
    z1, z2, z3 = embeddings(3, dtype=torch.float32)
    loss = NTXent(temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss.terms([z1, z2, z3], aligned(0.5)).total
    assert torch.equal(inside, loss.terms([z1, z2, z3], aligned(0.5)).total)


def test_gradients() -> None:
    views = [view.requires_grad_() for view in embeddings(4, batch=4, dim=3)]
    for kind in CONTRASTIVE:
        loss = kind(temperature=0.3, base_temperature=0.07)
        assert torch.autograd.gradcheck(
            lambda *z, loss=loss: loss.terms(z, aligned(0.7)).total,
            views,
        )


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Loss, {"_target_": "assimilate.assimilation.loss.NCE"}, r"loss\._target_=\S+NCE cannot be imported"),
        (InfoNCE, {"temperature": 0.0}, "loss.temperature=0.0 .* allowed is a number > 0"),
        (InfoNCE, {"temperature": float("nan")}, "loss.temperature=nan"),
        (InfoNCE, {"temperature": 0.5, "base_temperature": -1.0}, "loss.base_temperature=-1.0"),
        (Alignment, {"alpha": -0.1, "align_anchors": [0]}, "loss.alpha=-0.1"),
        (Alignment, {"alpha": 0.1, "align_anchors": [2]}, "loss.align_anchors"),
    ],
)
def test_errors_name_the_key(cls: type, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_plain("loss", values, cls)


def test_plain_settings_are_read_again() -> None:
    loss = NTXent(temperature=0.2, base_temperature=0.07)
    assert as_plain(loss) == {
        "_target_": "assimilate.assimilation.loss.NTXent", "temperature": 0.2, "base_temperature": 0.07
    }  # fmt: skip
    assert from_plain("loss", as_plain(loss), Loss) == loss
