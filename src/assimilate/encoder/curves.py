"""The tables of numbers beside a trained encoder: its losses, and its kNN curve."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Of a finished artifact: a row a logged step, a row a measured epoch.
HISTORY = "history.csv"
CURVE = "knn_curve.csv"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with a column for every name that a row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, float]]:
    """A table of numbers; empty where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
