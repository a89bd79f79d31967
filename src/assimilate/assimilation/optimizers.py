"""Optimisers and learning-rate schedules (Table 9; PROTOCOLS 1-3, 14, 15)."""

from typing import Annotated

from pydantic import Field

from assimilate.graph.settings import Allowed, NotNegative, Positive, Settings, Whole

Share = Annotated[float, Field(gt=0, le=1)]


class Schedule(Settings):
    """A learning rate over the steps. Subclasses are chosen by optimizer.schedule, a word or a dotted path."""


class Constant(Schedule, word="constant"):
    """lr throughout."""


class CosineWithWarmup(Schedule, word="cosine_with_warmup"):
    """E-SSL: linear from 0, then a half cosine to 0, every step (PROTOCOLS 1)."""

    warmup_epochs: NotNegative


class SupContrastSchedule(Schedule, word="supcontrast"):
    """A cosine a per epoch to lr·final, after a warm-up (PROTOCOLS 2)."""

    warmup_epochs: NotNegative
    warmup_from: NotNegative = 0.01
    final: Annotated[NotNegative, Allowed("a share of lr ≥ 0")] = 1e-3


class CosinePerEpoch(Schedule, word="cosine_per_epoch"):
    """dkobak: a half cosine to 0 that moves once an epoch (PROTOCOLS 14)."""


class MultiStep(Schedule, word="multistep"):
    """htdt: a linear warm-up, then ×gamma at each milestone (PROTOCOLS 3)."""

    warmup_steps: Whole
    milestones: Annotated[list[Share], Allowed("a list of shares of the epochs, each in (0, 1]")]
    gamma: Positive


class Optimizer(Settings):
    """What moves the weights."""

    lr: Positive
    weight_decay: NotNegative
    schedule: Schedule


class SGD(Optimizer, word="sgd"):
    """SGD with momentum."""

    momentum: Annotated[float, Field(ge=0, lt=1), Allowed("a number, 0 ≤ momentum < 1")]


class Adam(Optimizer, word="adam"):
    """Adam."""
