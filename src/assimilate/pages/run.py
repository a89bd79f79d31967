"""A finished run as pages show it: its metrics.json, checked against the place it lies in before any number is used."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from assimilate.pages.numbers import hours_text, shared_seconds
from assimilate.probes.floors import below_pixels
from assimilate.run.job import shell_word
from assimilate.run.neutral import is_setting, key_of

ADHOC = "adhoc"
UNKNOWN_SEED = "?"
# The one budget whose numbers may stand beside the paper's.
COMPARABLE_BUDGET = "paper"
# What runs go by that keep to that budget, but are of no row that the paper prints.
OWN_SETTINGS = "own settings"
Percent = Mapping[str, FiniteFloat]


def label_of(budget: str, printed: bool = True) -> str:
    """What numbers go by: "budget=smoke"; "own settings" where nothing was capped, but the paper has no such row.

    Args:
        budget: its name.
        printed: whether the paper prints numbers of these settings and images.
    """
    return f"budget={budget}" if printed or budget != COMPARABLE_BUDGET else OWN_SETTINGS


def warning_of(budget: str, printed: bool = True) -> str:
    """What tables and figures of a budget say of themselves; "" where its numbers may stand beside the paper's."""
    label = label_of(budget, printed)
    return "" if label == label_of(COMPARABLE_BUDGET) else f"{label}: not comparable with the paper"


@dataclass(frozen=True)
class Place:
    """What a run's folder says of it: <budget>/<table>/<row>/<dataset>/seed<n>, "adhoc" standing for a table."""

    budget: str
    group: str
    setting: str
    dataset: str
    seed: int

    @property
    def folder(self) -> str:
        """Relative to `out`, with forward slashes."""
        return f"{self.budget}/{self.group}/{self.setting}/{self.dataset}/seed{self.seed}"

    @property
    def row(self) -> str | None:
        """The row of a table; None for a run of no row."""
        return None if self.group == ADHOC else f"{self.group}/{self.setting}"

    @property
    def same(self) -> str:
        """What seeds of one setting have in common: of a run of no row the hash that ends its name, else the name."""
        found = re.search(r"-([0-9a-f]{8})$", self.setting) if self.row is None else None
        return self.setting if found is None else found[1]


def parse_place(parts: Sequence[str]) -> Place:
    """The place of a result from the folders between `out` and its file.

    Raises:
        ValueError: no run writes there.
    """
    seed = parts[-1].removeprefix("seed") if parts else ""
    if len(parts) != 5 or not parts[-1].startswith("seed") or not seed.isdecimal():
        raise ValueError("lies where no run writes: expected <budget>/<table or adhoc>/<name>/<dataset>/seed<n>/")
    return Place(parts[0], parts[1], parts[2], parts[3], int(seed))


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Measured(_Recorded):
    """One metric of one run: mean and population standard deviation over `n` probe seeds, and each seed's value."""

    mean: FiniteFloat
    std: FiniteFloat = 0.0
    n: PositiveInt = 1
    values: Sequence[FiniteFloat] = ()


class Baseline(_Recorded):
    """What a SimCLR run of the same images reaches under the run's own probe.

    Attributes:
        artifact: label of that probe; None: nothing was measured.
        is_f: whether it is f, through which the views were seen; else it is the run of the same recipe and seed.
    """

    artifact: str | None = None
    is_f: bool = True
    metrics: Mapping[str, Measured] = {}
    protocols: Mapping[str, str] = {}


class Titles(_Recorded):
    """What the run called its parts when it was made (`run.titles`)."""

    run: str = "A run"
    views: str = ""
    baseline: str = "baseline"
    dataset: str | None = None


class Run(_Recorded):
    """A finished run whose result can be shown: the fields of its metrics.json that pages read.

    Attributes:
        place: where it lies.
        seconds: of each artifact that it is made of, by label, in the order of building.
        knn_curve: (epoch, accuracy) while it trained; None: it trained nothing.
        notes: what takes the meaning from its numbers.
        baseline_command: what trains the SimCLR run of the same images and recipe, but for the seed and `out`; "" of
            that run.
        probe, paired_with: labels of its own probe, and of that of the SimCLR run of the same images, recipe and seed.
        floors: what an accuracy has to beat, in percent by floor and metric; `floor_notes` say how they were measured.
    """

    place: Place
    version: Literal[1] = Field(alias="schema")
    budget: str
    row: str | None = None
    dataset_name: str = Field(alias="dataset")
    seed: Annotated[int, Field(ge=0)]
    metrics: Mapping[str, Measured]
    seconds: Mapping[str, Annotated[FiniteFloat, Field(ge=0)]]
    titles: Titles = Titles()
    protocols: Mapping[str, str] = {}
    baseline: Baseline = Baseline()
    untrained: Percent = {}
    floors: Mapping[str, Percent] = {}
    floor_notes: Mapping[str, str] = {}
    diverged: Mapping[str, Any] = {}
    paper: Mapping[str, Any] = {}
    knn_curve: Sequence[Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]] | None = None
    notes: Sequence[str] = ()
    data_notes: Sequence[str] = ()
    overrides: Sequence[str] = ()
    command: str = ""
    baseline_command: str = ""
    python_path: str = ""
    spread_over: str = "probe seeds of one training run"
    skipped: str = "nothing measured"
    weights: Mapping[str, Any] | None = None
    device: str | None = None
    commit: str | None = None
    versions: Mapping[str, Any] = {}
    provenance: Mapping[str, Any] = {}
    artifacts: Mapping[str, Any] = {}
    probe: str | None = None
    paired_with: str | None = None
    data_fingerprint: str | None = None
    config: Mapping[str, Any] = {}

    @property
    def dataset(self) -> str:
        """Which images: the data set's name, and more where the user's own have a benchmark's name."""
        return self.titles.dataset or self.place.dataset

    @property
    def title(self) -> str:
        """What was run, on which images, and the seed."""
        row = f" ({self.place.row})" if self.place.row else ""
        return f"{self.titles.run}{row} on {self.dataset}, seed {self.place.seed}"

    @property
    def root(self) -> str:
        """The folder of the images, where their title says that they are the user's own; else ""."""
        of_a_folder = self.titles.dataset not in (None, self.place.dataset)
        return str(self.group("dataset").get("root") or "") if of_a_folder else ""

    @property
    def words(self) -> str:
        """What the command of a run of no row sets; "" of a row, whose name says all."""
        return " ".join(self.own_words)

    @property
    def own_words(self) -> list[str]:
        """The overrides that make it what it is, the last of several for one key; none of a row."""
        by_key = {key_of(word): word for word in self.overrides}
        return [] if self.place.row else list(filter(is_setting, by_key.values()))

    @property
    def setting(self) -> str:
        """Its row, or what its command sets."""
        return self.place.row or self.words or "the defaults"

    @property
    def is_printed(self) -> bool:
        """Whether the paper prints numbers of its row and data set."""
        return bool(self.paper)

    @property
    def label(self) -> str:
        """ "budget=smoke", or "own settings" where the paper prints nothing to compare with."""
        return label_of(self.budget, self.is_printed)

    @property
    def warning(self) -> str:
        """That its numbers are not comparable with the paper's, and the settings of its own; "" where they are."""
        said = warning_of(self.budget, self.is_printed)
        own = self.words if self.label == OWN_SETTINGS else ""
        return f"{said} ({own})" if own else said

    @property
    def is_baseline(self) -> bool:
        """Whether it is the SimCLR run itself that others of its images, recipe and seed are compared with."""
        return self.probe is not None and self.probe == self.paired_with

    @property
    def baseline_title(self) -> str:
        """ "SimCLR (f, seed 0)": over a column of its baseline's numbers."""
        which = f"f, seed {self.seed_of_f}" if self.baseline.is_f else f"seed {self.place.seed}"
        if self.baseline.is_f and self.seed_of_f == self.place.seed and not self.is_beside_its_baseline:
            which += ", own settings"
        return f"{self.titles.baseline} ({which})"

    @property
    def is_beside_its_baseline(self) -> bool:
        """Whether `baseline` is the very run that it is paired with: f may have a seed or settings of its own."""
        return self.baseline.artifact is not None and self.baseline.artifact == self.paired_with

    @property
    def own_baseline_command(self) -> str:
        """`baseline_command` with its own seed, into the folder that its own command names; "" of that run."""
        words = [f"seed={self.place.seed}", *(word for word in self.overrides if word.startswith("out="))]
        return " ".join([self.baseline_command, *map(shell_word, words)]) if self.baseline_command else ""

    @property
    def costs(self) -> dict[str, float]:
        """`seconds` by names that runs share where they share the artifact, and not where they do not."""
        own = self.place.folder
        return {name if "/" in name else f"{own}: {name}": value for name, value in self.seconds.items()}

    @property
    def hours(self) -> str:
        """Hours of everything that it is made of."""
        return hours_text(sum(self.seconds.values()))

    def is_below_pixels(self, name: str, value: float | None = None) -> bool:
        """Whether a metric, or a value in its place, does not reach what classifiers of raw pixels do."""
        value = self.metrics[name].mean if value is None else value
        return below_pixels(name, value, [self.floors])

    def group(self, name: str) -> Mapping[str, Any]:
        """A group of its configuration; empty where the result has none."""
        value = self.config.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def seed_of_f(self) -> Any:
        """The seed of the SimCLR run that its views come from; "?" where it is not recorded."""
        encoder = self.group("view").get("encoder")
        return encoder.get("seed", UNKNOWN_SEED) if isinstance(encoder, Mapping) else UNKNOWN_SEED

    @property
    def encoder(self) -> str | None:
        """Label of the artifact of its own encoder: the last that is built, after that of f. None: it trained none."""
        encoders = [label for label in self.seconds if label.startswith("encoders/")]
        return encoders[-1] if encoders and self.knn_curve is not None else None

    @property
    def facts(self) -> dict[str, str]:
        """Seeds, device, commit and versions in a few words."""
        seeds: dict[str, Any] = {"training": self.place.seed}
        for name in ("generator", "inversion", "view", "probe"):
            found = self.group(name).get("seed", self.group(name).get("seeds"))
            if found is not None:
                seeds[name] = ", ".join(map(str, found)) if isinstance(found, list) else found
        if self.group("view"):
            seeds["f"] = self.seed_of_f
        return {
            "seeds": "; ".join(f"{name} {value}" for name, value in seeds.items()),
            "device": self.device or "",
            "commit": self.commit or "none: not run from a checkout",
            "versions": ", ".join(f"{name} {value}" for name, value in self.versions.items()),
            "data": (self.data_fingerprint or "")[:16],
        }


def hours_of(runs: Sequence[Run]) -> str:
    """Hours of several runs, upstream included, what they share counted once."""
    return hours_text(shared_seconds([run.costs for run in runs]))


def parse_run(raw: Any, place: Place) -> Run:
    """Check a metrics.json and pick out what pages need.

    Raises:
        ValueError: it is of another schema, lacks something, or belongs to another place; in a few words.
    """
    if not isinstance(raw, dict):
        raise ValueError("is no mapping")
    try:
        run = Run.model_validate({**{key: value for key, value in raw.items() if value is not None}, "place": place})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    said = {"budget": run.budget, "row": run.row, "dataset": run.dataset_name, "seed": run.seed}
    for key, inside in said.items():
        if inside != (outside := getattr(place, key)):
            raise ValueError(f"says {key} {inside!r}, its folder says {outside!r}: was it moved here?")
    return run
