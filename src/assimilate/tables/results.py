"""A metrics.json as the report sees it: checked against the place it lies in before any number is used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = 1
ADHOC = "adhoc"


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
        """The paper's row; None for a run of no row."""
        return None if self.group == ADHOC else f"{self.group}/{self.setting}"


def parse_place(parts: Sequence[str]) -> Place:
    """The place of a result from the folders between `out` and its file.

    Raises:
        ValueError: no run writes there.
    """
    seed = parts[-1].removeprefix("seed") if parts else ""
    if len(parts) != 5 or not parts[-1].startswith("seed") or not seed.isdecimal():
        raise ValueError("lies where no run writes: expected <budget>/<table or adhoc>/<name>/<dataset>/seed<n>/")
    return Place(parts[0], parts[1], parts[2], parts[3], int(seed))


@dataclass(frozen=True)
class Measured:
    """One metric of one run: mean and population standard deviation over `n` probe seeds, and each seed's value."""

    mean: float
    std: float
    n: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Run:
    """A finished run whose result can be shown.

    Attributes:
        place: where it lies.
        metrics: by name.
        protocols: how each metric was measured, by name.
        seconds: of each artifact that it is made of, by label, in the order of building.
        raw: the whole metrics.json.
    """

    place: Place
    metrics: Mapping[str, Measured]
    protocols: Mapping[str, str]
    seconds: Mapping[str, float]
    raw: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The data set's name, with "(folder)" for a folder of images whatever it is called: no benchmark by name."""
        kind = self.config("dataset").get("kind")
        return f"{self.place.dataset} (folder)" if kind == "folder" else self.place.dataset

    @property
    def costs(self) -> dict[str, float]:
        """`seconds` by names that runs share where they share the artifact, and not where they do not."""
        own = self.place.folder
        return {name if "/" in name else f"{own}: {name}": value for name, value in self.seconds.items()}

    @property
    def overrides(self) -> list[str]:
        """The words of its command."""
        return [str(word) for word in self.raw.get("overrides", [])]

    @property
    def command(self) -> str:
        """The command that composed it."""
        return str(self.raw.get("command", ""))

    def config(self, group: str) -> Mapping[str, Any]:
        """A group of its configuration; empty where the result has none."""
        value = (self.raw.get("config") or {}).get(group)
        return value if isinstance(value, Mapping) else {}

    @property
    def notes(self) -> list[str]:
        """What takes the meaning from its numbers."""
        return [str(note) for note in self.raw.get("notes", [])]

    def floor_texts(self, metrics: Sequence[str]) -> dict[str, str]:
        """Of each floor, its values in percent for some of the metrics, e.g. {"commonest class": "acc1 10.00"}."""
        texts = {
            floor: ", ".join(f"{metric} {values[metric]:.2f}" for metric in metrics if metric in values)
            for floor, values in self.raw.get("floors", {}).items()
        }
        return {floor: text for floor, text in texts.items() if text}

    @property
    def encoder(self) -> str | None:
        """Label of the artifact of its own encoder: the last that is built, after that of f. None: it trained none."""
        if "mi" in self.metrics:  # a line of Table 1 looks at f
            return None
        encoders = [label for label in self.seconds if label.startswith("encoders/")]
        return encoders[-1] if encoders else None


def parse_result(raw: Any, place: Place) -> Run:
    """Check a metrics.json and pick out what tables need.

    Raises:
        ValueError: it is of another schema, lacks something, or belongs to another place; in a few words.
    """
    if not isinstance(raw, dict):
        raise ValueError("is no mapping")
    if raw.get("schema") != SCHEMA:
        raise ValueError(f"has schema {raw.get('schema')!r}, this version reads {SCHEMA}")
    said = {
        "budget": (raw.get("budget"), place.budget),
        "row": (raw.get("row"), place.row),
        "dataset": (raw.get("dataset"), place.dataset),
        "seed": (raw.get("seed"), place.seed),
    }
    for key, (inside, outside) in said.items():
        if inside != outside or isinstance(inside, bool):
            raise ValueError(f"says {key} {inside!r}, its folder says {outside!r}: was it moved here?")
    metrics, seconds = raw.get("metrics"), raw.get("seconds")
    if not isinstance(metrics, dict) or not isinstance(seconds, dict):
        raise ValueError("lacks metrics or seconds")
    protocols = raw.get("protocols") or {}
    if not isinstance(protocols, dict) or not isinstance(raw.get("config") or {}, dict):
        raise ValueError("its protocols or config are no mapping")
    for label, value in seconds.items():
        if not _is_finite(value) or value < 0:
            raise ValueError(f"seconds of {label} are {value!r}")
    _check_extras(raw)
    return Run(
        place,
        {name: _measured(name, value) for name, value in metrics.items()},
        {str(name): str(label) for name, label in protocols.items()},
        {str(label): float(value) for label, value in seconds.items()},
        raw,
    )


def _check_extras(raw: Mapping[str, Any]) -> None:
    """What only a run's page shows, where it is there at all."""
    baseline = raw.get("baseline", {})
    if not isinstance(baseline, dict) or not isinstance(baseline.get("metrics", {}), dict):
        raise ValueError("its baseline is no mapping with metrics")
    if not isinstance(baseline.get("protocols", {}), dict):
        raise ValueError("its baseline's protocols are no mapping")
    for name, value in baseline.get("metrics", {}).items():
        _measured(f"{name} of the baseline", value)
    untrained = raw.get("untrained", {})
    if not isinstance(untrained, dict) or not all(map(_is_finite, untrained.values())):
        raise ValueError("its untrained accuracies are no numbers")
    curve = raw.get("knn_curve", [])
    if not isinstance(curve, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_finite, point)) for point in curve
    ):
        raise ValueError("its knn_curve is no list of pairs of numbers")
    floors = raw.get("floors", {})
    if not isinstance(floors, dict) or not all(
        isinstance(values, dict) and all(map(_is_finite, values.values())) for values in floors.values()
    ):
        raise ValueError("its floors are no numbers")
    if not isinstance(raw.get("notes", []), list) or not isinstance(raw.get("diverged", {}), dict):
        raise ValueError("its notes or diverged are of another kind")
    if not isinstance(raw.get("paper", {}), dict) or not isinstance(raw.get("data_notes", []), list):
        raise ValueError("its paper or data_notes are of another kind")


def _measured(name: str, value: Any) -> Measured:
    if not isinstance(value, dict) or not _is_finite(value.get("mean")):
        raise ValueError(f"metric {name} has no finite mean")
    std, n = value.get("std", 0.0), value.get("n", 1)
    if not _is_finite(std) or not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"metric {name} has std {std!r} over {n!r} seeds")
    values = value.get("values", [])
    if not isinstance(values, list) or not all(map(_is_finite, values)):
        raise ValueError(f"metric {name} has values {values!r}")
    return Measured(float(value["mean"]), float(std), n, tuple(map(float, values)))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
