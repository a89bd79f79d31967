"""Measurements on disk: one JSON line each, added as soon as it is taken, so that a cut run keeps what it has."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "measurements.jsonl"


class Notebook:
    """The lines of `folder`/measurements.jsonl.

    Args:
        folder: where they are kept.
        facts: what every line says beside its own values: device, versions, commit, whether it is a rehearsal.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any] | None = None) -> None:
        self.path = Path(folder) / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._facts = dict(facts or {})

    def lines(self) -> list[dict[str, Any]]:
        """All of them; one that a kill left half-written is passed over."""
        if not self.path.is_file():
            return []
        found = []
        for text in self.path.read_text().splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:
                continue
        return found

    def has(self, name: str) -> bool:
        """Whether `name` was measured; a failure counts, it would fail again."""
        return any(line["measurement"] == name for line in self.lines())

    def record(self, name: str, **values: Any) -> None:
        """Add a line, and print it."""
        line = {"measurement": name, **values, **self._facts, "utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        text = json.dumps(line, ensure_ascii=False)
        whole = self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with self.path.open("a") as stream:
            stream.write(("\n" if whole else "") + text + "\n")
        print(text, flush=True)


def table(lines: list[dict[str, Any]], names: list[str]) -> str:
    """Markdown of the chosen values; a line without one has an empty cell."""
    rows = [names, ["---"] * len(names), *([_text(line.get(name)) for name in names] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
