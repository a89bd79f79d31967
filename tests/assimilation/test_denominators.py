"""Closed-form values and gradients against autograd's through the plain matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from assimilate.assimilation import denominators
from assimilate.assimilation.denominators import (
    log_denominator_against,
    log_denominator_among,
    log_denominator_between,
)


def unit(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=rng, dtype=dtype), dim=1).requires_grad_()


def plain_among(z: Tensor, temperature: float) -> Tensor:
    own = torch.eye(len(z), dtype=torch.bool)
    return (z @ z.T / temperature).masked_fill(own, float("-inf")).logsumexp(1).mean()


def plain_between(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    logits = a @ b.T / temperature
    return 0.5 * logits.logsumexp(1).mean() + 0.5 * logits.logsumexp(0).mean()


def assert_same(ours: Tensor, expected: Tensor, inputs: list[Tensor], tolerance: float) -> None:
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


# At τ=.001 exponentials overflow even in float64, so that the shifted form runs; blocks of 4 leave a ragged last one.
@pytest.mark.parametrize("block", [4, 100])
@pytest.mark.parametrize("temperature", [0.001, 0.02, 0.5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_autograd_through_the_matrix(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float, temperature: float, block: int
) -> None:
    monkeypatch.setattr(denominators, "_BLOCK_ROWS", {"cpu": block})
    if dtype == torch.float32 and temperature < 0.02:
        tolerance = 2e-2  # logits of a thousand have four decimals left
    a, b = unit(10, 0, dtype), unit(10, 1, dtype)
    assert_same(log_denominator_among(a, temperature=temperature), plain_among(a, temperature), [a], tolerance)
    assert_same(
        log_denominator_between(a, b, temperature=temperature), plain_between(a, b, temperature), [a, b], tolerance
    )
    keys = unit(14, 2, dtype)
    against = (a @ keys.T / temperature).logsumexp(1).mean()
    assert_same(log_denominator_against(a, keys, temperature=temperature), against, [a, keys], tolerance)


@pytest.mark.parametrize("temperature", [0.002, 0.3])
def test_gradcheck(monkeypatch: pytest.MonkeyPatch, temperature: float) -> None:
    monkeypatch.setattr(denominators, "_BLOCK_ROWS", {"cpu": 3})
    a, b, keys = unit(5, 0), unit(5, 1), unit(8, 2)
    itself = torch.tensor([0, 1, 2, 6, 7])
    # A step of 1e-6 moves a logit by 5e-4 at τ=.002: finite differences then keep fewer digits.
    settings = {"eps": 1e-7, "atol": 1e-4 if temperature > 0.1 else 5e-3}
    assert torch.autograd.gradcheck(lambda z: log_denominator_among(z, temperature=temperature), a, **settings)
    assert torch.autograd.gradcheck(
        lambda x, y: log_denominator_between(x, y, temperature=temperature), (a, b), **settings
    )
    assert torch.autograd.gradcheck(
        lambda x, y: log_denominator_against(x, y, temperature=temperature, itself=itself), (a, keys), **settings
    )


def test_a_key_that_is_the_anchor_itself_is_left_out() -> None:
    z = unit(7, 0)
    itself = torch.arange(7)
    assert_same(
        log_denominator_against(z, z, temperature=0.2, itself=itself), log_denominator_among(z, temperature=0.2), [z],
        1e-12,
    )  # fmt: skip


def test_no_gradient_no_work_kept() -> None:
    z = unit(6, 0)
    with torch.no_grad():
        value = log_denominator_among(z, temperature=0.5)
    assert not value.requires_grad
    torch.testing.assert_close(value, plain_among(z, 0.5).detach())
    one_sided = torch.autograd.grad(log_denominator_between(z, unit(6, 1).detach(), temperature=0.5), z)[0]
    assert one_sided.isfinite().all()
