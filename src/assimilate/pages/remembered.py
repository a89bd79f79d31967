"""What the last report made of each run, so that pages of runs that have not changed since are not made again."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import MANIFEST, artifact_root
from assimilate.files.whole_file import write_whole
from assimilate.pages.card import Card, card_of
from assimilate.pages.curves import thin
from assimilate.pages.found import read_curve
from assimilate.pages.paired import Paired
from assimilate.pages.result_file import METRICS
from assimilate.pages.run import Run
from assimilate.pages.run_page import HISTORY, PICTURES, REPORT, write_run_page

REMEMBERED = ".report.json"
# Points of a curve that the page of everything holds.
NUM_POINTS = 80
Curve = list[list[float]]


class Remembered:
    """By run: a digest of all that its page shows, and the curve of its loss.

    Args:
        out: where everything lies; what is no record there is taken for none.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        try:
            known = json.loads((out / REMEMBERED).read_text(encoding="utf-8"))
            self._known: Mapping[str, Any] = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self._known = {}
        self._now: dict[str, tuple[str, Curve]] = {}

    def write_run_page(self, run: Run, cards: Sequence[Card], paired: Mapping[str, Paired]) -> None:
        """Write the page of a run, unless the one that is there was made from the very same files."""
        folder, known = run.place.folder, self._known.get(run.place.folder)
        said = [sorted(paired.items()), card_of(run.artifacts, cards)]
        match known:
            case [digest, [list() as epochs, list() as losses]] if digest == self._digest(run, said):
                self._now[folder] = digest, [epochs, losses]
                return
        write_run_page(self.out, run, cards, paired)
        self._now[folder] = self._digest(run, said), as_columns(self._loss(run))

    def loss(self, run: Run) -> Curve:
        """(epochs, losses), few enough for a page of many runs."""
        known = self._now.get(run.place.folder)
        return as_columns(self._loss(run)) if known is None else known[1]

    def save(self) -> None:
        """Keep it for the next report."""
        write_whole(self.out / REMEMBERED, json.dumps(self._now))

    def _loss(self, run: Run) -> list[tuple[float, float]]:
        return [] if run.encoder is None else read_curve(self.out, run.encoder, HISTORY, "loss")

    def _digest(self, run: Run, said: list[Any]) -> str:
        """Of what its page says beside the run, and of the time and size of each file that it shows, and of its own."""
        folder, artifacts = f"{self.out}/{run.place.folder}", artifact_root(self.out)
        files = [f"{folder}/{METRICS}", f"{folder}/{REPORT}"]
        with contextlib.suppress(OSError):
            files += sorted(entry.path for entry in os.scandir(f"{folder}/{PICTURES}"))
        labels = [*run.seconds, run.baseline.artifact, run.paired_with]
        files += [f"{artifacts}/{label}/{MANIFEST}" for label in labels if label]
        return hashlib.sha256(repr([_code(), *said, *map(_stamp, files)]).encode()).hexdigest()


def as_columns(points: list[tuple[float, float]]) -> Curve:
    """A thinned curve as [[x, …], [y, …]], with five digits."""
    thinned = thin(points, NUM_POINTS)
    return [[float(f"{point[axis]:.5g}") for point in thinned] for axis in (0, 1)]


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@functools.cache
def _code() -> str:
    """A digest of what makes pages: another version makes other ones."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *here.glob("templates/*")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
