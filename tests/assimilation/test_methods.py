"""MoCo, BYOL, VICReg and Barlow Twins against loops written from their papers and lightly; A1 and A2 on each."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightly.loss
import pytest
import torch
from tiny_training import BOTH, METHODS, fit_tiny, tiny_data, tiny_module, weights
from torch import Tensor

from assimilate.assimilation import byol, moco
from assimilate.assimilation.alignment import Alignment, LossTerms
from assimilate.assimilation.loss import BYOL, BarlowTwins, Loss, MoCo, VICReg
from assimilate.assimilation.method import Method
from assimilate.assimilation.redundancy import barlow_twins, vicreg
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.encoder.encoder import Encoder, EncoderSpec

N, DIM, TAU, ALPHA = 6, 5, 0.2, 0.7
ENCODER = EncoderSpec(width=1, projector="linear", output_dim=DIM)


def embeddings(count: int, seed: int = 0) -> list[list[list[float]]]:
    rng = torch.Generator().manual_seed(seed)
    return [(2 * torch.randn(N, DIM, generator=rng, dtype=torch.float64)).tolist() for _ in range(count)]


def as_tensors(views: list[list[list[float]]]) -> list[Tensor]:
    return [torch.tensor(view, dtype=torch.float64) for view in views]


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def columns(z: list[list[float]]) -> list[list[float]]:
    """Each dimension over the batch, less its mean."""
    means = [math.fsum(row[d] for row in z) / len(z) for d in range(DIM)]
    return [[row[d] - means[d] for row in z] for d in range(DIM)]


def slow_vicreg(a: list[list[float]], b: list[list[float]], weights: tuple[float, float, float]) -> float:
    """VICReg's Algorithm 1."""
    invariance = math.fsum((a[i][d] - b[i][d]) ** 2 for i in range(N) for d in range(DIM)) / (N * DIM)
    variance = covariance = 0.0
    for z in (columns(a), columns(b)):
        for i in range(DIM):
            std = math.sqrt(dot(z[i], z[i]) / (N - 1) + 1e-4)
            variance += max(0.0, 1 - std) / DIM
            covariance += math.fsum((dot(z[i], z[j]) / (N - 1)) ** 2 for j in range(DIM) if j != i) / DIM
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def slow_correlation(a: list[list[float]], b: list[list[float]], i: int, j: int) -> float:
    x, y = columns(a)[i], columns(b)[j]
    return dot(x, y) / N / math.sqrt((dot(x, x) / N + 1e-5) * (dot(y, y) / N + 1e-5))


def slow_diagonal(a: list[list[float]], b: list[list[float]]) -> float:
    return math.fsum((1 - slow_correlation(a, b, i, i)) ** 2 for i in range(DIM))


def slow_barlow_twins(a: list[list[float]], b: list[list[float]], redundancy: float) -> float:
    """Barlow Twins' Algorithm 1, with the biased variance of its code."""
    beside = [slow_correlation(a, b, i, j) ** 2 for i in range(DIM) for j in range(DIM) if i != j]
    return slow_diagonal(a, b) + redundancy * math.fsum(beside)


def of(loss: Loss, alignment: Alignment | None = None) -> Any:
    return loss.method(Encoder.from_spec(ENCODER), alignment, seed=3).double()


@pytest.mark.parametrize("anchors", [[0], [1], [0, 1]])
@pytest.mark.parametrize("num_appended", [0, 1, 2])
def test_slow_loops(num_appended: int, anchors: list[int]) -> None:
    z = embeddings(2 + num_appended)
    tensors, alignment = as_tensors(z), Alignment(alpha=ALPHA, align_anchors=anchors)
    pairs = [(z[a], appended) for a in anchors for appended in z[2:]]

    def mean(value: Any) -> float:
        return math.fsum(value(a, b) for a, b in pairs) / len(pairs) if pairs else 0.0

    square = mean(lambda a, b: math.fsum((a[i][d] - b[i][d]) ** 2 for i in range(N) for d in range(DIM)) / (N * DIM))
    expected = slow_vicreg(z[0], z[1], (25, 25, 1)) + ALPHA * 25 * square
    assert VICReg().terms(tensors, alignment).total.item() == pytest.approx(expected, rel=1e-12)

    expected = slow_barlow_twins(z[0], z[1], 0.005) + ALPHA * mean(slow_diagonal)
    assert BarlowTwins().terms(tensors, alignment).total.item() == pytest.approx(expected, rel=1e-12)

    # MoCo's Algorithm 1: view 0 the query, view 1 its key.
    method = of(MoCo(queue_size=7), alignment)
    queue, total = method.queue.tolist(), 0.0
    for i in range(N):
        length = math.sqrt(dot(z[0][i], z[0][i]))
        logits = [cosine(z[0][i], z[1][i]) / TAU, *(dot(z[0][i], key) / length / TAU for key in queue)]
        total += math.log(math.fsum(math.exp(logit) for logit in logits)) - logits[0]
    total -= ALPHA / TAU * N * mean(lambda a, b: math.fsum(map(cosine, a, b)) / N)
    ours = method.of_projections(tensors[0], tensors[1], tensors[2:]).total
    assert ours.item() == pytest.approx(total / N, rel=1e-12)

    # BYOL's Eq. 2, symmetrised: predictions of the views, targets of the first two.
    targets = embeddings(2, seed=1)

    def distance(p: list[list[float]], t: list[list[float]]) -> float:
        return math.fsum(2 - 2 * cosine(a, b) for a, b in zip(p, t, strict=True)) / N

    expected = distance(z[0], targets[1]) + distance(z[1], targets[0])
    if num_appended:
        distances = [distance(appended, targets[a]) for a in anchors for appended in z[2:]]
        expected += 2 * ALPHA * math.fsum(distances) / len(distances)
    ours = of(BYOL(), alignment).of_projections(tensors, as_tensors(targets)).total
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_lightly() -> None:
    z1, z2 = as_tensors(embeddings(2))
    theirs = lightly.loss.VICRegLoss(lambda_param=25, mu_param=50, nu_param=1)(z1, z2)  # it halves the variances
    ours = vicreg(z1, z2, invariance=25, variance=25, covariance=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    theirs = lightly.loss.BarlowTwinsLoss(lambda_param=0.005)(z1, z2)
    torch.testing.assert_close(barlow_twins(z1, z2, redundancy=0.005), theirs, rtol=1e-10, atol=0)
    criterion = lightly.loss.NTXentLoss(temperature=TAU, memory_bank_size=(7, DIM)).double()
    method = of(MoCo(queue_size=7))
    criterion.memory_bank.bank = method.queue.clone()
    torch.testing.assert_close(method.of_projections(z1, z2).total, criterion(z1, z2), rtol=1e-12, atol=0)
    cosine = lightly.loss.NegativeCosineSimilarity()
    theirs = 4 + 2 * cosine(z1, z2) + 2 * cosine(z2, z1)
    torch.testing.assert_close(of(BYOL()).of_projections([z1, z2], [z1, z2]).total, theirs, rtol=1e-12, atol=0)


def test_gradients() -> None:
    z = [view.requires_grad_() for view in as_tensors(embeddings(3))]
    for loss in (VICReg(), BarlowTwins()):
        assert torch.autograd.gradcheck(lambda *views, each=loss: each.terms(views, BOTH).total, z)
    momentum, bootstrap = of(MoCo(queue_size=7), BOTH), of(BYOL(), BOTH)
    momentum.of_projections(z[0], z[1], z[2:]).total.backward()
    bootstrap.of_projections([z[0], z[0], z[2]], [z[1], z[1]]).total.backward()
    assert z[1].grad is None  # neither the key nor a target is moved
    assert z[0].grad is not None
    assert z[2].grad is not None


@pytest.mark.parametrize("batchnorm", ["per_view", "concatenated", "per_view_backbone"])
@pytest.mark.parametrize("name", METHODS)
def test_two_views_are_a2_without_alpha(name: str, batchnorm: str) -> None:
    rng = torch.Generator().manual_seed(0)
    views = [torch.randn(8, 3, 8, 8, generator=rng) for _ in range(3)]
    for assim in ("simclr", "a1"):
        module = tiny_module(assim, batchnorm=batchnorm, **METHODS[name])
        terms = module.loss_terms(views[:2])
        assert terms.alignment is None
        terms.total.backward()
        moved = [parameter.grad is not None for parameter in module.encoder.parameters()]
        assert all(moved)
        assert all(parameter.grad is None for parameter in module.method.parameters())
    appended = tiny_module("a2", batchnorm=batchnorm, **METHODS[name])
    whole = appended.loss_terms(views)
    torch.testing.assert_close(whole.total, whole.base - whole.alignment)
    without = tiny_module("a2", batchnorm=batchnorm, **METHODS[name], alignment=Alignment(alpha=0, align_anchors=[0]))
    if batchnorm == "per_view":  # in the others the third view has a part in the statistics
        assert torch.equal(without.loss_terms(views).total, terms.total)


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_computed_in_fp32(name: str) -> None:
    module, views = tiny_module("a2", **METHODS[name]), [torch.randn(8, 3, 8, 8) for _ in range(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = module.loss_terms(views)
    assert terms.total.dtype == terms.alignment.dtype == torch.float32
    assert terms.total.isfinite()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_its_state_stays_apart(tmp_path: Path, name: str) -> None:
    module = tiny_module("a2", **METHODS[name])
    before, asked = weights(module), []
    follow = module.method.after_step
    module.method.after_step = lambda encoder, progress: (asked.append(progress), follow(encoder, progress=progress))
    record = fit_tiny(module, tiny_data("a2", batch_size=4), tmp_path, accumulate_grad_batches=2, max_epochs=1)
    assert record.rows[0]["loss"] == pytest.approx(record.rows[0]["base"] - record.rows[0]["alignment"], rel=1e-5)
    # Once an optimiser step, of which there are 3 in each of the schedule's 3 epochs.
    assert asked == pytest.approx([step / 9 for step in range(3)])
    trained = {id(p) for group in module.trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(parameter) for parameter in module.encoder.parameters()}
    after = module.state_dict()
    state = [key for key in after if key.startswith("method.")]
    assert all(key.startswith(("encoder.", "method.")) for key in after)
    assert bool(state) == (name in ("moco", "byol"))
    for key in state:
        if key.endswith("conv1.weight"):
            assert not torch.equal(after[key], before[key])


def test_the_average_follows() -> None:
    encoder = Encoder.from_spec(ENCODER).double()
    for method, momentum in (
        (moco.MoCo(encoder, temperature=TAU, momentum=0.9, queue_size=4, seed=0), lambda progress: 0.9),
        (byol.BYOL(encoder, momentum=0.9), lambda progress: 1 - 0.1 * (math.cos(math.pi * progress) + 1) / 2),
    ):
        (average,) = method.children()
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(1.0)
        for progress in (0.0, 0.25, 0.75, 1.0):
            before = [parameter.clone() for parameter in average.parameters()]
            method.after_step(encoder, progress=progress)
            m = momentum(progress)
            for old, new, followed in zip(before, average.parameters(), encoder.parameters(), strict=True):
                torch.testing.assert_close(new, m * old + (1 - m) * followed, rtol=0, atol=1e-12)
                assert not new.requires_grad


def test_the_queue_holds_the_newest_keys() -> None:
    method = of(MoCo(queue_size=4))
    keys = torch.nn.functional.normalize(torch.randn(11, DIM, dtype=torch.float64), dim=1)
    first = method.queue.clone()
    query = torch.ones(3, DIM, dtype=torch.float64)
    method.of_projections(query, keys[:3])
    assert torch.equal(method.queue, first)  # nothing changes before the gradients are taken
    method.after_backward()
    torch.testing.assert_close(method.queue, torch.cat([keys[:3], first[3:]]))
    method.of_projections(query, keys[3:6])
    method.after_backward()
    torch.testing.assert_close(method.queue, torch.stack([keys[4], keys[5], keys[2], keys[3]]))
    method.of_projections(torch.ones(5, DIM, dtype=torch.float64), keys[6:])  # more than it holds
    method.after_backward()
    held = method.queue[method.queue[:, 0].argsort()]
    torch.testing.assert_close(held, keys[7:][keys[7:, 0].argsort()])


def test_what_embeddings_that_tell_nothing_have() -> None:
    rng = torch.Generator().manual_seed(0)
    assert MoCo(queue_size=9).uninformed(batch_size=4, num_views=2) == pytest.approx(math.log(10))
    assert BYOL().uninformed(batch_size=4, num_views=2) == 4
    assert BarlowTwins().uninformed(batch_size=4, num_views=2) is None
    loss = VICReg()
    independent = [torch.randn(200_000, 2, generator=rng, dtype=torch.float64) for _ in range(2)]
    by_spread = {s: loss.base([s * view for view in independent]).item() for s in (0.1, 0.4, 0.5, 0.6, 0.9)}
    least = loss.uninformed(batch_size=4, num_views=2)
    assert min(by_spread, key=by_spread.get) == 0.5
    assert by_spread[0.5] == pytest.approx(least, rel=2e-3)
    assert loss.base([torch.ones(8, 2)] * 2).item() > least  # a collapsed network


def test_what_no_method_can_use_is_refused() -> None:
    for loss in (VICReg(), BarlowTwins()):
        with pytest.raises(ValueError, match=r"needed is \[batch, dim\]"):
            loss.base([torch.ones(3, 2), torch.ones(4, 2)])
        with pytest.raises(ValueError, match="at least two views"):
            loss.terms([torch.ones(3, 2)])
    with pytest.raises(ValueError, match=r"loss=byol does not fit encoder\.predictor_dim=None: it needs a predictor"):
        tiny_module("a2", loss=BYOL())
    module = tiny_module("a2", loss=VICReg(), alignment=None)
    with pytest.raises(ValueError, match=r"appended views need loss\.alpha"):
        module.loss_terms([torch.randn(4, 3, 8, 8)] * 3)


class Apart(Loss):
    """A loss of one's own: mean squared distance of unit vectors, less a margin."""

    margin: float = 0.1

    def base(self, views: Sequence[Tensor], *, gather: bool = False) -> Tensor:
        first, second = (torch.nn.functional.normalize(view, dim=1) for view in views)
        return ((first - second).square().sum(1) - self.margin).relu().mean()


class Prototypes(Method):
    """A method of one's own: views agree on which of some learned directions they are near."""

    def __init__(self, dim: int, alignment: Alignment | None) -> None:
        super().__init__(alignment)
        self.prototypes = torch.nn.Linear(dim, 4, bias=False)

    def forward(self, encoder: Encoder, views: Sequence[Tensor], passes: ViewPasses) -> LossTerms:
        scores = [self.prototypes(z).log_softmax(1) for z in passes.project(encoder, views)]
        base = -(scores[0].exp().detach() * scores[1]).sum(1).mean()
        aligned = self.alignment.alpha * (scores[0].exp().detach() * scores[2]).sum(1).mean()
        return LossTerms(base - aligned, base, aligned)


class PrototypesLoss(Loss):
    def method(self, encoder: Encoder, alignment: Alignment | None, *, seed: int) -> Method:
        return Prototypes(encoder.output_dim, alignment)


def test_a_loss_and_a_method_of_ones_own(tmp_path: Path) -> None:
    z = as_tensors(embeddings(3))
    terms = Apart(margin=0.0).terms(z, BOTH)
    unit = [view / view.norm(dim=1, keepdim=True) for view in z]
    torch.testing.assert_close(terms.base, (unit[0] - unit[1]).square().sum(1).mean())
    cosines = [(unit[a] * unit[2]).sum(1).mean() for a in (0, 1)]
    torch.testing.assert_close(terms.alignment, 0.5 * (cosines[0] + cosines[1]) / 2)  # cos where it says nothing else
    trained = tiny_module("a2", loss=PrototypesLoss())
    before = weights(trained)
    fit_tiny(trained, tiny_data("a2"), tmp_path, max_epochs=2)
    assert not torch.equal(trained.method.prototypes.weight, before["method.prototypes.weight"])
    again = tiny_module("a2", loss=PrototypesLoss())
    record = fit_tiny(again, tiny_data("a2"), tmp_path)  # the third epoch
    assert [row["epoch"] for row in record.rows] == [1, 2, 3]
