"""The group `analysis`: what each measurement or figure reads, beside what it looks at."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from assimilate.assimilation.arrangement import GENERATED
from assimilate.graph.settings import PATH, Allowed, Count, Positive, Settings
from assimilate.graph.wiring import TARGET, find_class

# That a figure's colours and markers tell apart.
MOST_CLASSES = 30


class Mine(Settings):
    """Training of MINE (Table 2).

    Attributes:
        hidden_dim: hidden width of the network T; null: as wide as f's projection.
        lr: learning rate of Adam.
        batch_size: whole batches only.
        num_epochs: epochs of training; the bound of one further pass is reported.
    """

    hidden_dim: Annotated[Count | None, Allowed("null (as wide as f's projection) or a whole number ≥ 1")] = None
    lr: Positive | None = None
    batch_size: Annotated[int, Field(ge=2), Allowed("a whole number ≥ 2")] = 512
    num_epochs: Count | None = None


class Perplexity(Settings):
    """Of t-SNE: in two spaces (Figure 2), and of features.

    Attributes:
        w: perplexity in the generator's space W.
        z: perplexity in f's space Z.
        features: perplexity of an encoder's features.
    """

    w: Positive | None = None
    z: Positive | None = None
    features: Positive | None = None


class Analysis(Settings):
    """One kind of measurement or figure, which has some of these settings. Subclasses are named by analysis._target_.

    Attributes:
        pair: one line of Table 1, e.g. [original, generated] (of view=), whose result is a run's metrics.json; null:
            every pair of Table 1 at once, as a figure.
        views: kinds of view in the figure; a view's own settings stand behind its name: "wsearch view.epsilon1=0.1".
        columns: columns of the grid: original, reconstruction, or a kind of view.
        runs: rows (table3/expert_expert_simclr, of dataset= and budget=), folders of runs, or patterns of folders below
            out=. Seeds of one setting are one curve with a band; features are of one seed. []: every finished run of
            dataset= and budget= that the figure can show.
        labels: one name for each of runs; null: what was run.
        viewmaker: folder of a finished run with view=viewmaker, whose network makes the viewmaker views.
        anchor: own: what a view was made from, the reconstruction for a view of a latent; original: the image.
        num_images: drawn at random; null: all. In a grid, its rows. On a card, at most half of them.
        num_others: real images beside those of num_images that a card compares views with; null: all others.
        num_views: views of each image and kind, if there are that many.
        num_embedded: offsets of each kind of view that t-SNE is given.
        num_plotted: offsets of each kind of view that are shown.
        num_iterations: iterations of t-SNE.
        part: part of the data set.
        classes: how many classes are shown, the first ones; or a list of their names.
        power: α of Wang & Isola (2020): alignment is mean ‖f(t(x)) − f(t'(x))‖^α over pairs of expert views.
        t: t of Wang & Isola (2020): uniformity is log mean exp(−t·‖f(x) − f(y)‖²) over pairs of images.
        style: how figures look. dark is for dark pages; a light figure has a dark twin, which the report shows there.
    """

    # The views that it can look at, as their classes say they are `shown`; none: it is of finished runs.
    looks_at: ClassVar[tuple[str, ...]] = ()
    # Pictures of a kind of views that one figure holds.
    most_pictures: ClassVar[int | None] = None
    # Settings that it does not have, though a data set may bring them for a kind that has (conf/dataset/digits.yaml).
    of_others: ClassVar[tuple[str, ...]] = ("pair", "mine")
    kind: str
    of_paper: Any = None
    pair: Annotated[Any, Allowed("null or two kinds of view")] = None
    views: Annotated[Any, Allowed("a list of kinds of view")] = None
    columns: Annotated[Any, Allowed("a list of kinds of view")] = None
    runs: Annotated[Any, Allowed("a list of rows, folders or patterns")] = None
    labels: Annotated[Any, Allowed("null or a list of names")] = None
    mine: Mine | None = None
    viewmaker: Annotated[str | int | float | None, PATH, Allowed("null or the folder of a run")] = None
    anchor: Annotated[Literal["own", "original"] | None, Allowed("own or original")] = None
    num_images: Annotated[Count | None, Allowed("null (all) or a whole number ≥ 1")] = None
    num_others: Annotated[Count | None, Allowed("null (all others) or a whole number ≥ 1")] = None
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
    classes: Annotated[Any, Allowed(f"a whole number from 1 to {MOST_CLASSES}, or as many names of classes")] = None
    style: Annotated[str, Allowed("light, dark, or the name of a style of matplotlib's")] = "light"

    @classmethod
    @abstractmethod
    def plan(cls, session: Any) -> Any:
        """The `figures.figure.Figure` that a session asks for; needs no torch."""

    @classmethod
    @abstractmethod
    def draw(cls, figure: Any) -> str:
        """Add the pictures of a figure to its record; returns the caption."""


def analysis_class(config: Mapping[str, Any]) -> type[Analysis]:
    """The class of a configuration's analysis.

    Raises:
        UserError: it cannot be used.
    """
    return find_class(f"analysis.{TARGET}", config["analysis"].get(TARGET), Analysis)


def measures_pair(config: Mapping[str, Any]) -> bool:
    """Whether the configuration is a line of Table 1: two kinds of views are compared, and nothing is trained."""
    return config["analysis"].get("pair") is not None


def measures_generated(config: Mapping[str, Any]) -> bool:
    """Whether one of the two is a generated view."""
    return measures_pair(config) and GENERATED in config["analysis"]["pair"]
