"""The view card of a run's cache, as far as `assimilate.analyze analysis=card` made one."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt

from assimilate.pages.numbers import NOTHING


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class CardScore(_Recorded):
    """One line: a score of the views, and the same of what stands beside them."""

    title: str
    unit: str
    value: FiniteFloat
    n: PositiveInt
    expert: FiniteFloat | None = None
    reconstruction: FiniteFloat | None = None
    real: FiniteFloat | None = None

    @property
    def cells(self) -> list[str]:
        """As a table has it."""
        values = (self.value, self.expert, self.reconstruction, self.real)
        shown = [NOTHING if value is None else f"{value:.3g}" for value in values]
        return [f"{self.title}, {self.unit}", *shown, f"{self.n:,}"]


class Card(_Recorded):
    """The card of one kind of views; `cache` is None for views that none is kept of."""

    HEADER: ClassVar = ("score", "these views", "expert views", "reconstruction", "real images", "n")

    cache: str | None
    f: str
    num_images: PositiveInt
    num_views: PositiveInt
    num_others: PositiveInt
    scores: Mapping[str, CardScore]

    @property
    def rows(self) -> list[list[str]]:
        """A table of it, below HEADER."""
        return [score.cells for score in self.scores.values()]


def parse_cards(summary: Mapping[str, Any]) -> tuple[Card, ...]:
    """The cards of an analysis: those of its numbers that are of views and have scores.

    Raises:
        ValidationError: a card lacks something.
    """
    entries = (value for value in summary.values() if isinstance(value, Mapping))
    return tuple(Card.model_validate(entry) for entry in entries if "scores" in entry)


def card_of(artifacts: Iterable[str], cards: Iterable[Card]) -> Card | None:
    """The card of the cache that is among a run's artifacts: that of the most images, the last of equals."""
    of_the_run = set(artifacts)
    found = [card for card in cards if card.cache in of_the_run]
    return max(reversed(found), key=lambda card: card.num_images, default=None)
