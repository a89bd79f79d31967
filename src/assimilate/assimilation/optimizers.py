"""Optimisers and learning-rate schedules (Table 9).

A learning rate is a pure function of the step: nothing to save, nothing that a resume can lose.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from assimilate.graph.called import Called
from assimilate.graph.settings import Allowed, NotNegative, Positive, Settings, Text, Whole

if TYPE_CHECKING:
    import torch

Share = Annotated[float, Field(gt=0, le=1)]


class Schedule(Settings):
    """A learning rate over the steps. Subclasses are chosen by optimizer.schedule, a word or a dotted path."""

    @abstractmethod
    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """The learning rate of the update after `step` others; also asked for one step past the last.

        Args:
            step: optimiser steps already taken, 0 for the first update.
            lr: the optimiser's, the peak.
            epochs: of the whole training.
            steps_per_epoch: optimiser steps in one.
        """

    def check(self, epochs: int) -> None:
        """Refuse a training that is too short for this schedule.

        Raises:
            ValueError: it is.
        """


class Constant(Schedule, word="constant"):
    """The learning rate stays at lr throughout."""

    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """lr."""
        return lr


class WithWarmup(Schedule):
    """A schedule whose first epochs lead up to the peak.

    Attributes:
        warmup_epochs: epochs of the warm-up.
    """

    warmup_epochs: NotNegative = 0

    def check(self, epochs: int) -> None:
        """Refuse a warm-up that is longer than the training."""
        if self.warmup_epochs > epochs:
            raise ValueError(
                f"optimizer.warmup_epochs={self.warmup_epochs:g} exceeds epochs={epochs}: "
                f"give optimizer.warmup_epochs={epochs // 10} too"
            )


class CosineWithWarmup(WithWarmup, word="cosine_with_warmup"):
    """E-SSL: linear from 0, then a half cosine to 0 at the end, every step."""

    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """Linear from 0 over the warm-up's steps, then lr·½(1 + cos)."""
        num_steps, warmup_steps = epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch
        if step < warmup_steps:
            return lr * step / warmup_steps
        fraction = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
        return lr * 0.5 * (1 + math.cos(math.pi * fraction))


class SupContrastSchedule(WithWarmup, word="supcontrast"):
    """SupContrast: a per-epoch cosine (epochs counted from 1) to lr·final, after a per-step warm-up.

    The warm-up runs linearly from `warmup_from` (an absolute rate) to the cosine's value at epoch `warmup_epochs`.

    Attributes:
        warmup_from: the rate at the first step, absolute.
        final: the rate at the end, as a share of lr.
    """

    warmup_from: NotNegative = 0.01
    final: Annotated[NotNegative, Allowed("a share of lr ≥ 0")] = 1e-3

    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """Constant within an epoch, after the warm-up."""
        lowest = lr * self.final

        def cosine(epoch: float) -> float:
            return lowest + (lr - lowest) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

        warmup_steps = self.warmup_epochs * steps_per_epoch
        if step < warmup_steps:
            return self.warmup_from + step / warmup_steps * (cosine(self.warmup_epochs) - self.warmup_from)
        return cosine(min(epochs, step // steps_per_epoch + 1))


class CosinePerEpoch(Schedule, word="cosine_per_epoch"):
    """dkobak: a half cosine to 0 that moves once an epoch, epochs counted from 0, no warm-up."""

    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """Constant within an epoch."""
        return lr * 0.5 * (1 + math.cos(math.pi * min(epochs, step // steps_per_epoch) / epochs))


class MultiStep(Schedule, word="multistep"):
    """htdt: linear over `warmup_steps` (the first at lr/warmup_steps), ×gamma at each of `milestones`.

    Milestones are shares of the epochs, so that a shorter run still has them.

    Attributes:
        warmup_steps: steps of the warm-up.
        milestones: where the rate is multiplied by gamma, as shares of the epochs.
        gamma: factor at each milestone.
    """

    warmup_steps: Whole
    milestones: Annotated[list[Share], Allowed("a list of shares of the epochs, each in (0, 1]")]
    gamma: Positive

    def rate(self, step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
        """Constant between milestones, after the warm-up."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        epoch = step // steps_per_epoch
        passed = sum(epoch >= round(milestone * epochs) for milestone in self.milestones)
        return float(lr * warm * self.gamma**passed)


class Optimizer(Settings):
    """What moves the weights. Subclasses are chosen by optimizer=, or by `_target_`.

    Attributes:
        lr: peak learning rate, as used: any scaling with the batch size has been applied.
        weight_decay: of all parameters, BatchNorm and biases included, as in the protocols.
        schedule: the learning rate over the steps. cosine_with_warmup: per step, with a linear warm-up from 0;
            supcontrast: a cosine per epoch with a warm-up per step; cosine_per_epoch: no warm-up;
            multistep: ×gamma at each milestone; constant.
    """

    lr: Positive
    weight_decay: NotNegative = 0.0
    schedule: Schedule = CosineWithWarmup()

    @abstractmethod
    def build(self, parameters: Sequence[dict[str, Any]]) -> "torch.optim.Optimizer":
        """torch's optimiser, at learning rate 1, by which the schedule's rate is multiplied: so that it is exact.

        Args:
            parameters: groups, as torch.optim takes them.
        """

    @property
    def _torch(self) -> ModuleType:
        from torch import optim

        return optim

    def rates(self, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
        """The learning rate as a function of the optimiser steps already taken."""
        return lambda step: self.schedule.rate(step, lr=self.lr, epochs=epochs, steps_per_epoch=steps_per_epoch)


class SGD(Optimizer, word="sgd"):
    """SGD with momentum; weight decay is added to the gradient.

    Attributes:
        momentum: momentum of SGD.
    """

    momentum: Annotated[float, Field(ge=0, lt=1), Allowed("a number, 0 ≤ momentum < 1")] = 0.9

    def build(self, parameters: Sequence[dict[str, Any]]) -> "torch.optim.Optimizer":
        """torch.optim.SGD, fused."""
        return self._torch.SGD(parameters, lr=1.0, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)


class Adam(Optimizer, word="adam"):
    """Adam; weight decay is added to the gradient."""

    def build(self, parameters: Sequence[dict[str, Any]]) -> "torch.optim.Optimizer":
        """torch.optim.Adam, fused."""
        return self._torch.Adam(parameters, lr=1.0, weight_decay=self.weight_decay, fused=True)


class AnyOptimizer(Called, Optimizer, word="any", adapts=True):
    """Any class with the interface of torch.optim: optimizer._target_=torch.optim.AdamW optimizer.betas=[0.9,0.95].

    Attributes:
        factory: dotted path of the class.
        arguments: arguments of the class, beside the parameters, lr and weight_decay.
    """

    factory: Annotated[Text, Allowed("the dotted path of an optimizer's class, e.g. torch.optim.AdamW")]

    def supplied(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ([],), {"lr": 1.0, "weight_decay": self.weight_decay}

    def build(self, parameters: Sequence[dict[str, Any]]) -> "torch.optim.Optimizer":
        return self.call(parameters)
