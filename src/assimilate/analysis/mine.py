"""MINE: a lower bound of mutual information from a network that tells pairs from shuffled ones (Belghazi et al., 2018).

The paper estimates I(f(x); f(x̃)) with it (Table 1, Table 2). Its Proposition 3.3 says that the inner
product gives the same up to scale and shift. That holds along one von Mises–Fisher distribution only: there
I = κ·A_K(κ) − log C(κ) + log|S^{K−1}| with the mean cosine A_K(κ), and both the slope κ and the "constant" −log C(κ)
change with κ. Over view pairs of different strength, I is a monotone and not a linear function of the inner product.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.data.seed import derive_seed
from assimilate.data.seeding import generator as seeded
from assimilate.graph.place import Progress, silent


@dataclass(frozen=True)
class MineSettings:
    """What the estimate depends on beside the samples; see conf/analysis/pairs.yaml.

    Attributes:
        hidden_dim: width of the statistics network; None: that of one input.
        lr: of Adam.
        batch_size: pairs a step; an incomplete batch is dropped.
        num_epochs: passes of training, before the one that is reported.
    """

    hidden_dim: int | None = None
    lr: float = 0.005
    batch_size: int = 512
    num_epochs: int = 10


@dataclass(frozen=True)
class MineEstimate:
    """The bounds of the reported pass's batches, and the mean of each pass of training; in nats."""

    batches: tuple[float, ...]
    training: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The estimate."""
        return sum(self.batches) / len(self.batches)

    @property
    def std(self) -> float:
        """Standard deviation (population) over the batches."""
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.batches) / len(self.batches))


class StatisticsNetwork(nn.Module):
    """T(x, y): Linear(2d→h)-ReLU-Linear(h→1).

    Args:
        dims: width of x, and of y.
        hidden_dim: h.
    """

    def __init__(self, dims: tuple[int, int], hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sum(dims), hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 1))

    def forward(self, x: Float[Tensor, "batch dim_x"], y: Float[Tensor, "batch dim_y"]) -> Float[Tensor, " batch"]:
        """One number a pair."""
        result: Tensor = self.layers(torch.cat([x, y], dim=1))
        return result.squeeze(1)


def donsker_varadhan(joint: Float[Tensor, " batch"], shuffled: Float[Tensor, " strangers"]) -> Float[Tensor, ""]:
    """mean T(joint) − log mean exp T(shuffled), the bound that MINE maximises; finite where the plain form overflows.

    Args:
        joint: T of pairs.
        shuffled: T of shuffled pairs.
    """
    return joint.mean() - (torch.logsumexp(shuffled, dim=0) - math.log(len(shuffled)))


def estimate_mutual_information(
    passes: Callable[[int], tuple[Float[Tensor, "samples dim_x"], Float[Tensor, "samples dim_y"]]],
    settings: MineSettings,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> MineEstimate:
    """Train T on `num_epochs` passes, then report its bound on the batches of one more.

    Shuffled pairs have their second half drawn with replacement from the same batch. Nothing corrects the bias of
    the gradient of log mean exp, as nothing does in the reference code. A batch of B cannot tell what is near log B
    nats or beyond: where no shuffled pair happens to be a joint one, so in a third of batches, its bound has no limit
    and can exceed the information by any amount.

    Args:
        passes: pairs (x, y) of pass 0, 1, … `num_epochs`; new views in each if there are any to draw.
        settings: see `MineSettings`.
        seed: of the network, the order and the shuffling.
        device: where to compute.
        progress: called after each pass.

    Raises:
        ValueError: fewer samples than a batch, or a bound that is not finite.
    """
    network: StatisticsNetwork | None = None
    means: list[float] = []
    batches: list[float] = []
    for number in range(settings.num_epochs + 1):
        x, y = (part.to(device) for part in passes(number))
        assert x.ndim == y.ndim == 2, (x.shape, y.shape)
        assert len(x) == len(y), (len(x), len(y))
        if len(x) < settings.batch_size:
            raise ValueError(
                f"analysis.mine.batch_size={settings.batch_size} exceeds the {len(x)} pairs: there would be no batch; "
                f"give {len(x)} or less"
            )
        if network is None:
            network = _network((x.shape[1], y.shape[1]), settings, seed, x.dtype).to(device)
            optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
        training = number < settings.num_epochs
        batches = []
        draws = seeded(seed, "mine", number)
        order = torch.randperm(len(x), generator=draws).to(device)
        for begin in range(0, len(x) - settings.batch_size + 1, settings.batch_size):
            chosen = order[begin : begin + settings.batch_size]
            strangers = torch.randint(settings.batch_size, (settings.batch_size,), generator=draws).to(device)
            with torch.set_grad_enabled(training):
                one, other = x[chosen], y[chosen]
                bound = donsker_varadhan(network(one, other), network(one, other[strangers]))
            if training:
                optimizer.zero_grad(set_to_none=True)
                (-bound).backward()
                optimizer.step()
            batches.append(float(bound.detach()))
        means.append(sum(batches) / len(batches))
        if not math.isfinite(means[-1]):
            raise ValueError(f"MINE's bound is {means[-1]} in pass {number + 1}: give a smaller analysis.mine.lr")
        progress(number + 1, settings.num_epochs + 1, {"nats": means[-1]})
    return MineEstimate(tuple(batches), tuple(means[:-1]))


def _network(dims: tuple[int, int], settings: MineSettings, seed: int, dtype: torch.dtype) -> StatisticsNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "mine's network"))
        return StatisticsNetwork(dims, settings.hidden_dim or dims[0]).to(dtype)
