"""The stages of the package, which its modules tell of themselves."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def stages() -> dict[str, str]:
    """The stages, each with what it does: the modules of the package that say so in their first line."""
    found = {}
    for path in sorted(PACKAGE.glob("*.py")):
        with path.open(encoding="utf-8") as stream:
            line = stream.readline().strip().strip('"')
        if line.startswith("Stage: "):
            found[path.stem] = line.removeprefix("Stage: ").rstrip(".")
    return found
