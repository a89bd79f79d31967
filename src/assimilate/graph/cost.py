"""How long an artifact may take and how much disk it needs: arithmetic over published FLOP counts, rough by nature."""

from dataclasses import dataclass


def duration(seconds: float) -> str:
    """For people, in at most eleven characters: "42 s", "2.5 min", "12 min", "3.2 h", "2 days 5 h", "118 days"."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 59.5:
        return f"{max(1, seconds):.0f} s"
    if minutes < 59.5:
        return f"{minutes:.{1 if minutes < 9.95 else 0}f} min"
    if hours < 23.95:
        return f"{hours:.1f} h"
    days, rest = divmod(round(hours), 24)
    if days >= 10:
        return f"{hours / 24:,.0f} days"
    return f"{days} day{'s' * (days > 1)}" + (f" {rest} h" if rest else "")


@dataclass(frozen=True)
class Speed:
    """What a machine sustains while it trains convolutions.

    Attributes:
        gflops: 10⁹ floating-point operations a second on layers of the published widths.
        narrow_penalty: how many times slower the narrowest layers are.
        is_measured: on this machine; otherwise it is what such machines usually do.
        step_seconds: of a training step, however small its networks are: kernels are started one by one.
    """

    gflops: float
    narrow_penalty: float
    is_measured: bool = False
    step_seconds: float = 0.01


# Two CPU cores, and one data-centre GPU.
USUAL = {"cpu": Speed(120.0, 4.0), "cuda": Speed(25_000.0, 1.0, step_seconds=0.03)}
# What an artifact takes however small it is: networks made and read, first batches, checksums, files forced to disk.
FEWEST_SECONDS = 1.5


@dataclass(frozen=True)
class Cost:
    """Estimated seconds and megabytes on disk."""

    seconds: float = 0.0
    megabytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.megabytes + other.megabytes)

    @property
    def text(self) -> str:
        """For people, e.g. "42 s, 12 MB" or "3.2 h, 1.2 GB"."""
        size = max(1.0, self.megabytes)
        disk = f"{size:.0f} MB" if size < 999.5 else f"{size / 1000:,.{1 if size < 9_950 else 0}f} GB"
        return f"{duration(self.seconds)}, {disk}"


@dataclass(frozen=True)
class Effort:
    """What building an artifact takes.

    Attributes:
        gflop: floating-point operations, in 10⁹.
        megabytes: on disk.
        width: of the widest network, as a share of the published one's; narrow layers waste a machine.
        steps: training steps of an encoder, or what is as many.
        seconds: work of the CPU, on whatever device the rest is.
    """

    gflop: float = 0.0
    megabytes: float = 1.0
    width: float = 1.0
    steps: float = 0.0
    seconds: float = 0.0

    def cost(self, speed: Speed) -> Cost:
        """On a machine of that speed."""
        narrow = 1 + (speed.narrow_penalty - 1) * max(0.0, 1 - self.width)
        beside = FEWEST_SECONDS + self.seconds + self.steps * speed.step_seconds
        return Cost(beside + self.gflop * narrow / speed.gflops, self.megabytes)
