"""SimSiam and A2-SimSiam against loops written from Eq. 16, and the module around them."""

import math
from pathlib import Path

import pytest
import torch
from tiny_training import BOTH, SIMSIAM, fit_tiny, tiny_data, tiny_module
from torch import Tensor

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.simsiam import SimSiam, simsiam_loss
from assimilate.encoder.encoder import EmbeddingOf, Encoder, EncoderSpec
from assimilate.encoder.projector import make_predictor


def tensors(count: int, seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(6, 5, generator=rng, dtype=torch.float64) for _ in range(count)]


def slow_distance(p: Tensor, z: Tensor) -> float:
    """D = −cosine, as a mean over images, in plain Python."""
    total = 0.0
    for a, b in zip(p.tolist(), z.tolist(), strict=True):
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        total -= dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(y * y for y in b))
    return total / len(p)


@pytest.mark.parametrize("anchors", [(0,), (0, 1)])
@pytest.mark.parametrize("num_appended", [1, 2])
def test_equation_16_as_a_loop(num_appended: int, anchors: tuple[int, ...]) -> None:
    z, p = tensors(2 + num_appended, 0), tensors(2 + num_appended, 1)
    base = 0.5 * slow_distance(p[0], z[1]) + 0.5 * slow_distance(p[1], z[0])
    pulled = [slow_distance(p[j], z[i]) for j in range(2, len(z)) for i in anchors]
    expected = base + 0.7 * sum(pulled) / num_appended / len(anchors)
    terms = SimSiam(Alignment(alpha=0.7, align_anchors=anchors)).of_projections(z, p)
    assert terms.total.item() == pytest.approx(expected, abs=1e-12)
    assert terms.base.item() == pytest.approx(base, abs=1e-12)


def test_lightly() -> None:
    from lightly.loss import NegativeCosineSimilarity

    (z1, z2), (p1, p2) = tensors(2, 0), tensors(2, 1)
    theirs = 0.5 * (NegativeCosineSimilarity()(p1, z2) + NegativeCosineSimilarity()(p2, z1))
    torch.testing.assert_close(simsiam_loss(p1, p2, z1, z2), theirs, rtol=0, atol=1e-12)


def test_gradients_stop_at_the_projections_and_fall_with_the_angle() -> None:
    z = [view.requires_grad_() for view in tensors(3, 0)]
    p = [view.requires_grad_() for view in tensors(3, 1)]
    method = SimSiam(BOTH)
    terms = method.of_projections(z, p)
    terms.total.backward()
    assert all(view.grad is None for view in z)
    # Eq. 16's sign as PROTOCOLS reads it: downhill, an appended view's prediction moves towards the projections.
    nearer = (p[2] - 0.1 * p[2].grad).detach()
    assert slow_distance(nearer, z[0].detach()) + slow_distance(nearer, z[1].detach()) < slow_distance(
        p[2].detach(), z[0].detach()
    ) + slow_distance(p[2].detach(), z[1].detach())
    assert torch.autograd.gradcheck(lambda *q: method.of_projections(z, q).total, p)


def test_alpha_zero_is_simsiam() -> None:
    z, p = tensors(3, 0), tensors(3, 1)
    with_zero = SimSiam(Alignment(alpha=0.0, align_anchors=[0, 1])).of_projections(z, p).total
    assert torch.equal(with_zero, SimSiam().of_projections(z[:2], p[:2]).total)


def test_logits_stay_in_fp32() -> None:
    (z1, z2), (p1, p2) = ([view.bfloat16() for view in tensors(2, seed)] for seed in (0, 1))
    assert simsiam_loss(p1, p2, z1, z2).dtype == torch.float32


def test_predictor_of_the_protocol() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in make_predictor(2048, 512).named_parameters()}
    assert shapes == {
        "0.weight": (512, 2048),
        "1.weight": (512,),
        "1.bias": (512,),
        "3.weight": (2048, 512),
        "3.bias": (2048,),
    }
    with pytest.raises(ValueError, match=r"encoder\.predictor_dim=0"):
        make_predictor(8, 0)


def test_distances_are_measured_on_the_predictor() -> None:
    encoder = Encoder.from_spec(EncoderSpec(**SIMSIAM["encoder"])).eval()
    plain = Encoder.from_spec(EncoderSpec(**(SIMSIAM["encoder"] | {"predictor_dim": None}))).eval()
    images = torch.randn(4, 3, 8, 8)
    # The other parameters do not depend on whether there is a predictor.
    torch.testing.assert_close(encoder(images), plain(images), rtol=0, atol=0)
    torch.testing.assert_close(EmbeddingOf(plain)(images), plain(images), rtol=0, atol=0)
    torch.testing.assert_close(EmbeddingOf(encoder)(images), encoder.predictor(encoder(images)), rtol=0, atol=0)


def test_the_predictors_rate_is_constant(tmp_path: Path) -> None:
    module = tiny_module("simsiam")
    record = fit_tiny(module, tiny_data("simsiam"), tmp_path)
    rest, predictor = module.trainer.optimizers[0].param_groups
    assert predictor["lr"] == 0.1
    assert rest["lr"] < 1e-6  # the cosine's end
    assert len(predictor["params"]) == 5
    assert len(rest["params"]) + 5 == len(list(module.parameters()))
    for row in record.rows:
        assert row["loss"] == pytest.approx(row["base"] - row["alignment"], rel=1e-5)


def test_a_predictor_belongs_to_simsiam_alone() -> None:
    with pytest.raises(ValueError, match=r"loss=simsiam does not fit encoder\.predictor_dim=None"):
        tiny_module("simsiam", encoder={"width": 2, "hidden_dim": 8, "output_dim": 8})
    with pytest.raises(ValueError, match=r"loss=infonce does not fit encoder\.predictor_dim=4"):
        tiny_module("a2", encoder=SIMSIAM["encoder"])
