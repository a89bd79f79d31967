"""What inversion can be told; the defaults are those of PROTOCOLS 5."""

from dataclasses import dataclass


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


@dataclass(frozen=True)
class OptimizationSettings:
    """Settings of ``optimize_codes``. Loss = mse + perceptual + in_domain_weight·MSE(e(x), e(g(w))), not adversarial.

    ``tile`` images are optimised together, each by itself; kernels always see that many, so results do not depend on
    how many there are in all.
    """

    num_steps: int = 1_000
    lr: float = 0.01
    lr_schedule: str = "constant"
    mse_weight: float = 1.0
    perceptual_weight: float = 1.0
    in_domain_weight: float = 2.0
    tile: int = 64

    def __post_init__(self) -> None:
        weights = ("mse_weight", "perceptual_weight", "in_domain_weight")
        _require(self, "inversion.optimization", ("num_steps", *weights), at_least=0)
        _require(self, "inversion.optimization", ("tile",), at_least=1)
        _require_rate(self.lr, "inversion.optimization")
        if self.lr_schedule not in ("constant", "cosine"):
            raise ValueError(f"inversion.optimization.lr_schedule={self.lr_schedule}: must be constant or cosine")


def _require(settings: object, prefix: str, names: tuple[str, ...], *, at_least: int) -> None:
    for name in names:
        value = getattr(settings, name)
        if value < at_least:
            raise ValueError(f"{prefix}.{name}={value}: must be at least {at_least}")


def _require_rate(lr: float, prefix: str) -> None:
    if lr <= 0:
        raise ValueError(f"{prefix}.lr={lr}: must be above 0")
