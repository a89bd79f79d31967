"""How long an artifact may take and how much disk it needs: arithmetic over published FLOP counts, rough by nature."""

from dataclasses import dataclass

# Sustained GFLOP/s: two CPU cores reach 120 on wide layers and a fifth of it on narrow ones; one data-centre GPU.
CPU_GFLOPS = 120.0
GPU_GFLOPS = 25_000.0
NARROW_PENALTY = 4.0


@dataclass(frozen=True)
class Effort:
    """What building an artifact takes.

    Attributes:
        gflop: floating-point operations, in 10⁹.
        megabytes: on disk.
        width: of the widest network, as a share of the published one's; narrow layers waste a CPU.
    """

    gflop: float = 0.0
    megabytes: float = 1.0
    width: float = 1.0

    def cost(self, *, on_gpu: bool) -> "Cost":
        """On a GPU or on two CPU cores."""
        narrow = 1.0 if on_gpu else 1 + (NARROW_PENALTY - 1) * max(0.0, 1 - self.width)
        return Cost(self.gflop * narrow / (GPU_GFLOPS if on_gpu else CPU_GFLOPS) / 3600, self.megabytes)


@dataclass(frozen=True)
class Cost:
    """Estimated hours and disk."""

    hours: float
    megabytes: float

    @property
    def text(self) -> str:
        """For people, e.g. "3.2 h, 1,200 MB"."""
        if self.hours >= 1:
            time = f"{self.hours:.1f} h"
        elif self.hours >= 1 / 60:
            time = f"{self.hours * 60:.0f} min"
        else:
            time = f"{max(1, self.hours * 3600):.0f} s"
        return f"{time}, {max(1.0, self.megabytes):,.0f} MB"
