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
            ValueError: it is not of that form, or the first number exceeds the second.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"shard={text} cannot be read: the third of eight parts is shard=3/8")
        return cls(int(match[1]), int(match[2]))

    def span(self, num_images: int) -> tuple[int, int]:
        """First image of this part and the one after its last; the parts differ by one image at most."""
        return num_images * (self.index - 1) // self.count, num_images * self.index // self.count

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
