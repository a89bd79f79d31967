"""What adversarial training can be told; the defaults are those of PROTOCOLS 4."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of ``train_stylegan2``; times are counted in steps of one discriminator and one generator update.

    ``r1_every`` and ``path_length_every`` make a regulariser lazy: it is applied every so many steps, with as much more
    weight, and Adam's rates are corrected for the additional updates. ``ema_decay`` is per step. A real image is
    flipped with ``flip_probability`` and, where an augmentation is given, augmented with ``augmentation_probability``.
    """

    num_steps: int = 800_000
    batch_size: int = 16
    lr: float = 0.002
    r1_weight: float = 10.0
    r1_every: int = 16
    path_length_weight: float = 2.0
    path_length_every: int = 4
    path_length_decay: float = 0.01
    path_length_batch_shrink: int = 2
    mixing_probability: float = 0.9
    ema_decay: float = 0.5 ** (32 / 10_000)
    flip_probability: float = 0.5
    augmentation_probability: float = 0.5
    checkpoint_every: int = 1_000
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "checkpoint_every", "log_every"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("r1_every", "path_length_every", "path_length_batch_shrink"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        fits = self.batch_size < 4 or self.batch_size % 4 == 0
        self._require("batch_size", fits, "must be a multiple of 4, or below 4")
        self._require("lr", self.lr > 0, "must be above 0")
        for name in ("r1_weight", "path_length_weight"):
            self._require(name, getattr(self, name) >= 0, "must not be negative; 0 switches the term off")
        for name in ("mixing_probability", "flip_probability", "augmentation_probability", "path_length_decay"):
            self._require(name, 0 <= getattr(self, name) <= 1, "must be in [0, 1]")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "must be in [0, 1)")

    def path_length_batch(self, batch: int) -> int:
        """Return how many images the path length takes where the other terms take ``batch``."""
        return max(1, batch // self.path_length_batch_shrink)

    def _require(self, name: str, condition: bool, allowed: str) -> None:
        if not condition:
            raise ValueError(f"generator.{name}={getattr(self, name)}: {allowed}")
