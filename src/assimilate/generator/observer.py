"""What is recorded while a generator trains, and when."""

from collections.abc import Callable
from dataclasses import dataclass

from assimilate.generator.state import GeneratorState


@dataclass(frozen=True)
class Observer:
    """Receives the state of a training every so many images; must not change it.

    ``every_images`` is the interval in real images, ``batch_size`` of which a step sees. ``at_the_end``: after the last
    step too.
    """

    observe: Callable[[GeneratorState], None]
    every_images: int
    batch_size: int
    at_the_end: bool = True

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the images of ``step`` (counted from 1) reach or pass a multiple of the interval."""
        seen = step * self.batch_size
        passed = seen // self.every_images > (seen - self.batch_size) // self.every_images
        return passed or (last and self.at_the_end)
