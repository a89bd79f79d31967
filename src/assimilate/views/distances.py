"""ε1 and ε2 as settings."""

from typing import Annotated, Literal

from pydantic import Field

from assimilate.graph.settings import Allowed

Distance1 = Annotated[
    Annotated[float, Field(ge=0, le=2)] | Literal["auto"],
    Allowed("auto or a distance: 0 ≤ ε1 ≤ 2, f's outputs have norm 1"),
]
Distance2 = Annotated[Annotated[float, Field(ge=0)] | Literal["auto"], Allowed("auto or a distance ≥ 0")]


def usual_epsilon2(epsilon1: float) -> float:
    """ε2 where it is not given, 5/3·ε1 (Section 5.1)."""
    return 5 / 3 * epsilon1
