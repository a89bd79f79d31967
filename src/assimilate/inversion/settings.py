"""What inversion can be told; the defaults are those of PROTOCOLS 5."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of ``train_inversion_encoder``. Loss = mse + perceptual + adversarial_weight·softplus(−D)."""

    num_steps: int = 1_000_000
    batch_size: int = 8
    lr: float = 1e-4
    mse_weight: float = 1.0
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.05
    r1_weight: float = 10.0
    r1_every: int = 16
    perceptual_norm: str = "l1"
    flip_probability: float = 0.5
    checkpoint_every: int = 1_000
    log_every: int = 50

    def __post_init__(self) -> None:
        counts = ("num_steps", "batch_size", "r1_every", "checkpoint_every", "log_every")
        weights = ("mse_weight", "perceptual_weight", "adversarial_weight", "r1_weight")
        _require(self, "inversion", counts, at_least=1)
        _require(self, "inversion", weights, at_least=0)
        _require_rate(self.lr, "inversion")
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"inversion.flip_probability={self.flip_probability}: must be in [0, 1]")
        if self.batch_size > 4 and self.batch_size % 4 and self.adversarial_weight > 0:
            raise ValueError(f"inversion.batch_size={self.batch_size}: must be a multiple of 4, or below 4")
        _require_one_of(self.perceptual_norm, ("l1", "l2"), "inversion.perceptual_norm")

    def identity(self) -> dict[str, Any]:
        """Return what decides the trained weights; see ``_without_defaults``."""
        neutral = ("num_steps", "checkpoint_every")
        return {key: value for key, value in _without_defaults(self).items() if key not in neutral}


@dataclass(frozen=True)
class OptimizationSettings:
    """Settings of ``optimize_codes``. Loss = mse + perceptual + in_domain_weight·MSE(e(x), e(g(w))), not adversarial.

    ``tile`` images are optimised together, each by itself; kernels always see that many, so results do not depend on
    how many there are in all. ``keep`` is best, the codes of the lowest loss seen, or last, those of the last step.
    """

    num_steps: int = 1_000
    lr: float = 0.01
    lr_schedule: str = "constant"
    mse_weight: float = 1.0
    perceptual_weight: float = 1.0
    in_domain_weight: float = 2.0
    tile: int = 64
    perceptual_norm: str = "l1"
    keep: str = "best"

    def __post_init__(self) -> None:
        weights = ("mse_weight", "perceptual_weight", "in_domain_weight")
        _require(self, "inversion.optimization", ("num_steps", *weights), at_least=0)
        _require(self, "inversion.optimization", ("tile",), at_least=1)
        _require_rate(self.lr, "inversion.optimization")
        _require_one_of(self.lr_schedule, ("constant", "cosine"), "inversion.optimization.lr_schedule")
        _require_one_of(self.keep, ("best", "last"), "inversion.optimization.keep")
        _require_one_of(self.perceptual_norm, ("l1", "l2"), "inversion.perceptual_norm")

    def identity(self) -> dict[str, Any]:
        """Return what decides the codes; see ``_without_defaults``."""
        return _without_defaults(self)


# Settings that came later: at these values they are what was always done, and half-done work goes on under its name.
_LATER = {"perceptual_norm": "l1", "keep": "best"}


def _without_defaults(settings: "EncoderSettings | OptimizationSettings") -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if _LATER.get(key) != value}


def _require_one_of(value: str, options: tuple[str, ...], key: str) -> None:
    if value not in options:
        raise ValueError(f"{key}={value}: must be {' or '.join(options)}")


def _require(settings: object, prefix: str, names: tuple[str, ...], *, at_least: int) -> None:
    for name in names:
        value = getattr(settings, name)
        if value < at_least:
            raise ValueError(f"{prefix}.{name}={value}: must be at least {at_least}")


def _require_rate(lr: float, prefix: str) -> None:
    if lr <= 0:
        raise ValueError(f"{prefix}.lr={lr}: must be above 0")
