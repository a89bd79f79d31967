"""Learning rates as pure functions of the step: nothing to save, nothing that a resume can lose."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SCHEDULES = ("cosine_with_warmup", "supcontrast", "cosine_per_epoch", "multistep", "constant")


def cosine_with_warmup(step: int, *, lr: float, num_steps: int, warmup_steps: int) -> float:
    """E-SSL: linear from 0 over `warmup_steps`, then a half cosine to 0 at `num_steps`, every step (PROTOCOLS 1)."""
    if step < warmup_steps:
        return lr * step / warmup_steps
    # One step past the last: reached by no update, but a scheduler asks for it after the final one.
    fraction = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    return lr * 0.5 * (1 + math.cos(math.pi * fraction))


def supcontrast(
    step: int, *, lr: float, epochs: int, warmup_epochs: int, steps_per_epoch: int, warmup_from: float, final: float
) -> float:
    """SupContrast: per-epoch cosine (epochs counted from 1) to lr·final, after a per-step warm-up (PROTOCOLS 2).

    The warm-up runs linearly from `warmup_from` (an absolute rate) to the cosine's value at epoch `warmup_epochs`.
    """

    def cosine(epoch: int) -> float:
        lowest = lr * final
        return lowest + (lr - lowest) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    warmup_steps = warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return warmup_from + step / warmup_steps * (cosine(warmup_epochs) - warmup_from)
    return cosine(min(epochs, step // steps_per_epoch + 1))


def cosine_per_epoch(step: int, *, lr: float, epochs: int, steps_per_epoch: int) -> float:
    """dkobak: a half cosine to 0 that moves once an epoch, epochs counted from 0, no warm-up (PROTOCOLS 14)."""
    return lr * 0.5 * (1 + math.cos(math.pi * min(epochs, step // steps_per_epoch) / epochs))


def multistep(
    step: int,
    *,
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    warmup_steps: int,
    milestones: tuple[float, ...],
    gamma: float,
) -> float:
    """htdt: linear over `warmup_steps` (the first at lr/warmup_steps), ×gamma at each of `milestones` (PROTOCOLS 3).

    Milestones are shares of the epochs, so that a shorter run still has them.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    epoch = step // steps_per_epoch
    return lr * warm * gamma ** sum(epoch >= round(milestone * epochs) for milestone in milestones)


@dataclass(frozen=True)
class OptimizerSpec:
    """Optimiser and schedule of a run (Table 9; PROTOCOLS 1-3, 14, 15).

    Attributes:
        name: "sgd" or "adam".
        lr: peak learning rate, as used: any scaling with the batch size has been applied.
        epochs: length of the schedule in epochs.
        schedule: one of `SCHEDULES`.
        momentum: of SGD.
        weight_decay: on all parameters, BatchNorm and biases included, as in the protocols.
        warmup_epochs: for "cosine_with_warmup" and "supcontrast".
        warmup_steps: for "multistep" (500 in Table 8's protocol).
        warmup_from: learning rate at which "supcontrast" starts.
        final: the last rate of "supcontrast" as a fraction of lr.
        milestones, gamma: for "multistep"; milestones as shares of the epochs, in (0, 1].

    Raises:
        ValueError: any of them is out of range.
    """

    name: str
    lr: float
    epochs: int
    schedule: str = "cosine_with_warmup"
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_epochs: int = 0
    warmup_steps: int = 0
    warmup_from: float = 0.01
    final: float = 1e-3
    milestones: tuple[float, ...] = ()
    gamma: float = 0.2

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adam"):
            raise ValueError(f"optimizer.name={self.name!r} is unknown; choose sgd or adam")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule={self.schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")
        if not self.lr > 0:
            raise ValueError(f"optimizer.lr={self.lr} must be above 0")
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"optimizer.warmup_epochs={self.warmup_epochs} must be between 0 and epochs={self.epochs}")
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"optimizer.weight_decay={self.weight_decay} must be at least 0 and "
                f"optimizer.momentum={self.momentum} in [0, 1)"
            )
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if not all(0 < milestone <= 1 for milestone in self.milestones):
            raise ValueError(f"optimizer.milestones={list(self.milestones)} must be shares of the epochs, in (0, 1]")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OptimizerSpec":
        """Reads a mapping.

        Raises:
            ValueError: a key that no optimiser has, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"optimizer has no key {', '.join(map(repr, unknown))}; its keys are {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `from_dict` reads."""
        return asdict(self)


def learning_rate(spec: OptimizerSpec, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate as a function of the number of optimiser steps already taken (0 for the first update)."""
    if spec.schedule == "cosine_with_warmup":
        return lambda step: cosine_with_warmup(
            step,
            lr=spec.lr,
            num_steps=spec.epochs * steps_per_epoch,
            warmup_steps=spec.warmup_epochs * steps_per_epoch,
        )
    if spec.schedule == "supcontrast":
        return lambda step: supcontrast(
            step,
            lr=spec.lr,
            epochs=spec.epochs,
            warmup_epochs=spec.warmup_epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_from=spec.warmup_from,
            final=spec.final,
        )
    if spec.schedule == "cosine_per_epoch":
        return lambda step: cosine_per_epoch(step, lr=spec.lr, epochs=spec.epochs, steps_per_epoch=steps_per_epoch)
    if spec.schedule == "multistep":
        return lambda step: multistep(
            step,
            lr=spec.lr,
            epochs=spec.epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=spec.warmup_steps,
            milestones=spec.milestones,
            gamma=spec.gamma,
        )
    return lambda step: spec.lr
