"""The group `analysis`: what each measurement or figure reads, beside what it looks at."""

from typing import Annotated, Any, Literal

from pydantic import Field

from assimilate.graph.settings import PATH, Allowed, Count, Positive, Settings


class Mine(Settings):
    """Training of MINE (Table 2)."""

    hidden_dim: Annotated[Count | None, Allowed("null (as wide as f's projection) or a whole number ≥ 1")] = None
    lr: Positive | None = None
    batch_size: Annotated[int, Field(ge=2), Allowed("a whole number ≥ 2")] = 512
    num_epochs: Count | None = None


class Perplexity(Settings):
    """Of t-SNE, in the two spaces (Figure 2)."""

    w: Positive | None = None
    z: Positive | None = None


class Analysis(Settings):
    """One measurement or figure; a kind has some of these."""

    kind: Literal["pairs", "distances", "tsne", "grid", "curves", "alignment_uniformity"]
    of_paper: Any = None
    pair: Any = None
    views: Any = None
    columns: Any = None
    runs: Any = None
    labels: Any = None
    mine: Mine | None = None
    viewmaker: Annotated[str | int | float | None, PATH, Allowed("null or the folder of a run")] = None
    anchor: Annotated[Literal["own", "original"] | None, Allowed("own or original")] = None
    num_images: Annotated[Count | None, Allowed("null (all) or a whole number ≥ 1")] = None
    num_views: Count | None = None
    num_embedded: Count | None = None
    num_plotted: Count | None = None
    perplexity: Perplexity | None = None
    num_iterations: Annotated[
        Annotated[int, Field(ge=250)] | None, Allowed("a whole number ≥ 250, what scikit-learn asks")
    ] = None
    part: Annotated[Literal["test", "train"] | None, Allowed("test or train")] = None
    power: Positive | None = None
    t: Positive | None = None
