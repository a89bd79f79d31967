"""One of several parts into which the work on a data set is cut."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Number `index` of `count` (from 1) of a data set's images."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "3/8".

        Raises:
            ValueError: it is not of that form, or there is no such part.
        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"shard={text} cannot be used: allowed is k/n with 1 ≤ k ≤ n, the third of eight is 3/8")
        return cls(int(match[1]), int(match[2]))

    def span(self, num_images: int) -> tuple[int, int]:
        """First image of this part and the one after its last; the parts differ by one image at most."""
        return num_images * (self.index - 1) // self.count, num_images * self.index // self.count

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def is_shard(value: object) -> bool:
    """Whether a value of `shard=` names a part that there is."""
    try:
        return isinstance(value, str) and Shard.parse(value).count > 0
    except ValueError:
        return False
