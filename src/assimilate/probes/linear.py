"""The linear probe: several seeds trained together on the same frozen features."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from assimilate.data.images import ImageArrays, Statistics
from assimilate.data.seed import derive_seed
from assimilate.data.seeding import generator
from assimilate.encoder.encoder import Encoder
from assimilate.graph.place import Progress, silent
from assimilate.probes import crops
from assimilate.probes.features import assert_frozen, extract_features, finite_features
from assimilate.probes.metric import DivergedError as DivergedError
from assimilate.probes.metric import summary
from assimilate.probes.protocol import PROTOCOLS, ProbeProtocol


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies in percent, one a seed: `values["acc1"]`, and `values["acc5"]` where there are more than 5 classes.

    A protocol that reports its best epoch has `acc1_last` and `acc5_last` too. `labels` names each one's protocol.
    `weight` [seeds, classes, dim] and `bias` [seeds, classes] are those of the last epoch.
    """

    protocol: str
    label: str
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    labels: dict[str, str]
    weight: Float[Tensor, "seeds classes dim"]
    bias: Float[Tensor, "seeds classes"]

    def mean(self, metric: str = "acc1") -> float:
        """Mean over probe seeds."""
        return float(summary(self.values[metric])["mean"])

    def std(self, metric: str = "acc1") -> float:
        """Population standard deviation over probe seeds (not over pretraining seeds)."""
        return float(summary(self.values[metric])["std"])

    def summary(self) -> dict[str, dict[str, float | int | list[float]]]:
        """{metric: {mean, std, n, values}}, as metrics.json holds it."""
        return {metric: summary(values) for metric, values in self.values.items()}


def linear_probe(
    encoder: Encoder,
    train: ImageArrays,
    test: ImageArrays,
    *,
    mean: Statistics | None = None,
    std: Statistics | None = None,
    preset: str = "essl",
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    num_classes: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    flip: float = 0.5,
    augmentation_seed: int = 0,
    draws: str = "shared",
    num_draws: int | None = None,
    feature_batch_size: int = 512,
    progress: Progress = silent,
) -> ProbeResult:
    """Trains one linear classifier a seed on the frozen backbone's features and measures it on the whole test set.

    The features of an epoch are computed once and serve all seeds; each seed has its own initialisation and order, and
    its result does not depend on which other seeds run. Augmentation depends on (augmentation_seed, epoch, image), or
    with independent draws on the seed too.

    Args:
        encoder: frozen (see `freeze`), on the device to use.
        train, test: labelled images, uint8 [n, 3, height, width] with int64 labels [n].
        mean, std: the normalisation of its inputs; None takes the encoder's own.
        preset: a key of `PROTOCOLS`.
        num_classes: None takes one more than the largest training label.
        num_epochs, batch_size, lr: None takes the protocol's. A batch never exceeds the training set.
        flip: probability of a horizontal flip where the protocol augments (0 for digits).
        draws: "shared": an epoch's augmentation serves all seeds; "independent": each seed draws its own, for as many
            times the work. The label says which, where the protocol augments.
        num_draws: augmentation draws that the epochs take turns with; None draws anew in each epoch as the protocols
            do. Fewer save time: features are computed num_draws times in all.
        feature_batch_size: images a forward pass; it enters the augmentation draws.
        progress: called after each epoch as progress(epochs done, epochs in all, {"loss": …}).

    Raises:
        ValueError: unknown preset, a setting out of range, unlabelled images, an encoder that is not frozen or whose
            features are not finite.
        DivergedError: the classifier of a seed diverged.
    """
    if train.labels is None or test.labels is None:
        raise ValueError("a probe needs labelled training and test images; this data set is unlabelled")
    assert_frozen(encoder)
    plan = _Plan.of(preset, seeds, num_epochs=num_epochs, batch_size=batch_size, lr=lr)
    protocol, num_epochs = plan.protocol, plan.num_epochs
    rounds = num_epochs if num_draws is None else num_draws
    if rounds < 1:
        raise ValueError(f"probe.num_draws={rounds} must be at least 1")
    share = {"shared": True, "independent": False}.get(draws)
    if share is None:
        raise ValueError(f"probe.draws={draws!r} is unknown; choose shared or independent")
    if not protocol.augments:
        rounds = 1
    elif not share:
        return _merge(
            [
                linear_probe(
                    encoder, train, test, mean=mean, std=std, preset=preset, seeds=(seed,), num_classes=num_classes,
                    num_epochs=num_epochs, batch_size=plan.batch_size, lr=plan.lr, flip=flip, num_draws=rounds,
                    augmentation_seed=derive_seed("probe", "draws", augmentation_seed, seed),
                    feature_batch_size=feature_batch_size,
                    progress=_part_of(progress, index, len(seeds)),
                )
                for index, seed in enumerate(seeds)
            ]
        )  # fmt: skip
    transform = crops.train_transform(protocol, train.image_size, flip)

    def features_of_draw(draw: int) -> Tensor:
        features = extract_features(
            encoder, train, mean=mean, std=std, batch_size=feature_batch_size, transform=transform,
            seed=("probe", augmentation_seed, draw),
        )  # fmt: skip
        return finite_features(features)

    test_x = extract_features(
        encoder, test, mean=mean, std=std, batch_size=feature_batch_size, transform=crops.test_transform(protocol)
    )
    kept: dict[int, Tensor] = {}

    def features_of_epoch(epoch: int) -> Tensor:
        draw = epoch % rounds
        if rounds < num_epochs:
            return kept[draw] if draw in kept else kept.setdefault(draw, features_of_draw(draw))
        return features_of_draw(draw)

    train_y, test_y = torch.as_tensor(train.labels), torch.as_tensor(test.labels)
    shared = _SHARED if protocol.augments and len(seeds) > 1 else ""
    return _fit(plan, features_of_epoch, train_y, finite_features(test_x), test_y, num_classes, shared, progress)


def linear_probe_on_features(
    train_x: Float[Tensor, "n dim"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m dim"],
    test_y: Int64[Tensor, " m"],
    *,
    preset: str = "essl_as_coded",
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    num_classes: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    progress: Progress = silent,
) -> ProbeResult:
    """The classifiers of `linear_probe` on features that are there already, the same in every epoch.

    Args:
        train_x, test_x: [n, dim] and [m, dim], used as they are.
        train_y, test_y: labels from 0, [n] and [m].
        preset: a key of `PROTOCOLS`; its optimiser, schedule and sizes are used, its augmentation is not.
        seeds, num_classes, num_epochs, batch_size, lr, progress: see `linear_probe`.

    Raises:
        ValueError: unknown preset, a setting out of range, features that are not finite, or sizes that do not fit.
        DivergedError: the classifier of a seed diverged.
    """
    if train_x.shape[:1] != train_y.shape or test_x.shape[:1] != test_y.shape or train_x.shape[1:] != test_x.shape[1:]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (train_x, train_y, test_x, test_y))
        raise ValueError(f"the shapes are {shapes}; needed are features [n, dim] and [m, dim], labels [n] and [m]")
    plan = _Plan.of(preset, seeds, num_epochs=num_epochs, batch_size=batch_size, lr=lr)
    features = finite_features(train_x.detach())
    test_x = finite_features(test_x.detach())
    return _fit(plan, lambda epoch: features, train_y, test_x, test_y, num_classes, _GIVEN, progress)


def _fit(
    plan: "_Plan",
    features_of_epoch: Callable[[int], Float[Tensor, "n dim"]],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m dim"],
    test_y: Int64[Tensor, " m"],
    num_classes: int | None,
    remark: str,
    progress: Progress,
) -> ProbeResult:
    protocol, num_epochs, seeds = plan.protocol, plan.num_epochs, plan.seeds
    train_y, test_y = train_y.to(test_x.device), test_y.to(test_x.device)
    classes = int(train_y.max()) + 1 if num_classes is None else num_classes
    classifiers = _Classifiers(
        seeds, classes, test_x.shape[1], num_images=len(train_y), like=test_x, lr=plan.lr,
        batch_size=min(plan.batch_size, len(train_y)), protocol=protocol, num_epochs=num_epochs,
    )  # fmt: skip
    per_epoch: list[dict[str, list[float]]] = []
    for epoch in range(num_epochs):
        loss = classifiers.train_epoch(epoch, features_of_epoch(epoch), train_y)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the linear probe diverged in epoch {epoch} (loss {loss}): lower probe.lr={classifiers.lr}"
            )
        if protocol.reports_best or epoch == num_epochs - 1:
            per_epoch.append(classifiers.accuracies(test_x, test_y))
        progress(epoch + 1, num_epochs, {"loss": loss})
    # Each seed's reported epoch: the last, or the first with the highest top-1.
    chosen = [max(per_epoch, key=lambda accuracies, s=s: accuracies["acc1"][s]) for s in range(len(seeds))]  # type: ignore[misc]
    values = {metric: tuple(at[metric][s] for s, at in enumerate(chosen)) for metric in per_epoch[0]}
    labels = dict.fromkeys(values, protocol.label + remark)
    if protocol.reports_best:
        last = {f"{metric}_last": tuple(accuracies) for metric, accuracies in per_epoch[-1].items()}
        values |= last
        labels |= dict.fromkeys(last, protocol.label_last + remark)
    return ProbeResult(plan.preset, labels["acc1"], seeds, values, labels, classifiers.weight, classifiers.bias)


def ranks(logits: Float[Tensor, "*seeds n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, "*seeds n"]:
    """How many classes are ahead of the label's: those of larger logits, and of equal ones with a lower label."""
    own = logits.gather(-1, labels.expand(logits.shape[:-1]).unsqueeze(-1))
    lower = torch.arange(logits.shape[-1], device=labels.device) < labels[:, None]
    return ((logits > own) | ((logits == own) & lower)).sum(-1)


_SHARED = "; seeds share augmentation draws"
_INDEPENDENT = "; independent augmentation draws"
_GIVEN = "; on features as they were given"


@dataclass(frozen=True)
class _Plan:
    """What is trained: a protocol with the sizes that replace its own."""

    preset: str
    protocol: ProbeProtocol
    seeds: tuple[int, ...]
    num_epochs: int
    batch_size: int
    lr: float

    @classmethod
    def of(
        cls, preset: str, seeds: Sequence[int], *, num_epochs: int | None, batch_size: int | None, lr: float | None
    ) -> "_Plan":
        if preset not in PROTOCOLS:
            raise ValueError(f"probe.preset={preset!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
        if not seeds:
            raise ValueError("probe.seeds is empty; give at least one seed")
        own = PROTOCOLS[preset]
        num_epochs = own.num_epochs if num_epochs is None else num_epochs
        batch_size = own.batch_size if batch_size is None else batch_size
        lr = own.lr if lr is None else lr
        if num_epochs < 1:
            raise ValueError(f"probe.num_epochs={num_epochs} must be at least 1 (the protocol's is {own.num_epochs})")
        if batch_size < 1:
            raise ValueError(f"probe.batch_size={batch_size} must be at least 1 (the protocol's is {own.batch_size})")
        if not 0 < lr < math.inf:
            raise ValueError(f"probe.lr={lr} must be above 0 (the protocol's is {own.lr})")
        return cls(preset, own, tuple(seeds), num_epochs, batch_size, lr)


def _merge(alone: Sequence[ProbeResult]) -> ProbeResult:
    """One result of several that were trained one seed at a time."""
    first = alone[0]
    values = {metric: tuple(result.values[metric][0] for result in alone) for metric in first.values}
    weight, bias = torch.cat([result.weight for result in alone]), torch.cat([result.bias for result in alone])
    seeds = tuple(result.seeds[0] for result in alone)
    labels = {metric: label + _INDEPENDENT for metric, label in first.labels.items()}
    return ProbeResult(first.protocol, labels["acc1"], seeds, values, labels, weight, bias)


def _part_of(progress: Progress, index: int, count: int) -> Progress:
    return lambda done, total, values: progress(index * total + done, count * total, values)


class _Classifiers:
    """Softmax regressions of several seeds as one batched product; the optimiser's step is elementwise."""

    def __init__(
        self,
        seeds: Sequence[int],
        num_classes: int,
        dim: int,
        *,
        num_images: int,
        like: Tensor,
        lr: float,
        batch_size: int,
        num_epochs: int,
        protocol: ProbeProtocol,
    ) -> None:
        self.seeds = seeds
        self.lr = lr
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.protocol = protocol
        self.num_images = num_images
        steps = num_images / batch_size
        self.steps_per_epoch = int(steps) if protocol.drop_last else math.ceil(steps)
        bound = 1 / math.sqrt(dim)  # torch.nn.Linear's initialisation, weight and bias
        drawn = [
            torch.rand(num_classes, dim + 1, generator=generator("probe", "init", seed), dtype=torch.float64)
            for seed in seeds
        ]
        parameters = torch.stack(drawn).mul_(2 * bound).sub_(bound).to(like)
        self.weight, self.bias = parameters[..., :dim].contiguous(), parameters[..., dim].contiguous()
        self._optimizer: torch.optim.Optimizer = getattr(torch.optim, protocol.optimizer)(
            [self.weight, self.bias], lr=lr, **protocol.arguments
        )

    def _learning_rate(self, step: int) -> float:
        return self.lr * self.protocol.schedule(step, self.steps_per_epoch, self.num_epochs)

    def train_epoch(self, epoch: int, features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> float:
        """One epoch for every seed; the mean loss over seeds and steps."""
        orders = torch.stack(
            [torch.randperm(self.num_images, generator=generator("probe", "order", seed, epoch)) for seed in self.seeds]
        ).to(features.device)
        total = torch.zeros((), dtype=torch.float64, device=features.device)
        for batch in range(self.steps_per_epoch):
            index = orders[:, batch * self.batch_size : (batch + 1) * self.batch_size]
            x, y = features[index], labels[index].unsqueeze(2)
            log_p = torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2)).log_softmax(2)
            total -= log_p.gather(2, y).mean()
            # Gradient of the mean cross-entropy with respect to the logits: (p − onehot(y))/B.
            gradient = log_p.exp_().scatter_add_(2, y, log_p.new_full((), -1.0).expand(y.shape)).div_(index.shape[1])
            self.weight.grad, self.bias.grad = torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1)
            self._optimizer.param_groups[0]["lr"] = self._learning_rate(epoch * self.steps_per_epoch + batch)
            self._optimizer.step()
        return float(total) / self.steps_per_epoch

    def accuracies(self, features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> dict[str, list[float]]:
        """Top-1 and top-5 accuracy over all images in percent, one a seed.

        Raises:
            DivergedError: a logit is not finite: the last step of an epoch comes after its loss.
        """
        top_k = (1, 5) if self.weight.shape[1] > 5 else (1,)
        right = torch.zeros(len(top_k), len(self.seeds), dtype=torch.int64)
        finite = torch.ones((), dtype=torch.bool, device=features.device)
        for start in range(0, len(features), 4096):
            x, y = features[start : start + 4096], labels[start : start + 4096]
            logits = torch.einsum("nd,scd->snc", x, self.weight) + self.bias.unsqueeze(1)
            finite &= torch.isfinite(logits).all()
            rank = ranks(logits, y)
            right += torch.stack([(rank < k).sum(1) for k in top_k]).cpu()
        if not bool(finite):
            raise DivergedError(f"the linear probe diverged: its logits are not finite; lower probe.lr={self.lr}")
        return {f"acc{k}": (100.0 * right[i].double() / len(features)).tolist() for i, k in enumerate(top_k)}
