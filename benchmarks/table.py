"""Every benchmark of this folder, one after the other, and their lines as a table.

python benchmarks/table.py                writes docs/benchmarks.md; nothing else should run meanwhile. What stands
                                          there below `BY_HAND` is kept. A run that was stopped goes on after the last
                                          benchmark that it finished, if the commit is the same and nothing was changed
python benchmarks/table.py knn losses     these alone, printed and not written
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER.parent / "docs" / "benchmarks.md"
KEPT = FOLDER.parent / "build" / "benchmarks"
CHANGED, UNKNOWN = "+changes", "unknown"
BY_HAND = "<!-- Below this line: written by hand. -->"
NAMES = (
    "augmentation", "epoch", "preparing", "losses", "knn", "probe", "training_step", "options", "generator", "search",
    "ray_search", "inversion", "report",
)  # fmt: skip


def commit_of(page: Path) -> str:
    """The commit of a page's repository, with `CHANGED` where anything but the page was: a run writes that itself."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(page.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("describe", "--always")
    others = git("status", "--porcelain", "--", ":/", f":(exclude){page.name}")
    return (commit or UNKNOWN) + (CHANGED if others else "")


def kept_or_run(name: str, commit: str) -> tuple[list[dict[str, Any]], int]:
    """The lines of one benchmark, from an earlier run of this commit that was stopped or now, and the exit code."""
    path = KEPT / commit / f"{name}.jsonl"
    if path.is_file():
        text = path.read_text()
        print(f"{name}: finished before\n{text}", end="", flush=True)
        return [json.loads(line) for line in text.splitlines()], 0
    found, code = lines_of(name)
    if not code and commit != UNKNOWN and not commit.endswith(CHANGED):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in found))
        unfinished.replace(path)
    return found, code


def lines_of(name: str) -> tuple[list[dict[str, Any]], int]:
    """Run one benchmark: the lines that it prints, and its exit code."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            print(text, end="", flush=True)
            if text.startswith("{"):
                found.append(json.loads(text))
    return found, process.returncode


def table(lines: list[dict[str, Any]], commit: str, load: float) -> str:
    """Markdown: a row a comparison."""
    rows = [
        "| benchmark | median | 90% interval | pairs | target | verdict | details |",
        "|---|---|---|---|---|---|---|",
    ]
    machine = lines[0]["machine"]
    for line in lines:
        unit = next(key for key in ("ratio", "milliseconds", "images_per_second") if key in line)
        known = {"benchmark", unit, "interval90", "spread", "pairs", "target", "verdict", "machine"}
        details = ", ".join(f"{key} {_short(value)}" for key, value in line.items() if key not in known)
        if line["machine"] != machine:  # other threads, say
            details += f", on {line['machine']}"
        value = f"{line[unit]}" + ("" if unit == "ratio" else f" {unit.replace('_', ' ')}")
        interval = " to ".join(map(str, line["interval90"] or ()))
        rows.append(
            f"| {line['benchmark']} | {value} | {interval} | {line['pairs']} | {line['target'] or ''} | "
            f"{line['verdict']} | {details} |"
        )
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`. Ours and the reference run in turns; a ratio is the median over the pairs, its "
            "interval a bootstrap of that median (of fewer than five pairs it is little more than their spread, of one "
            "there is none). A row that takes long ends before it has all its pairs: after 60 seconds and 5 "
            "pairs, or 3 of epochs and inversions; searches after 180 or 600 seconds and 1 pair. Counts, errors and "
            "totals are the same each time and need no pairs. `met` and `missed` need the whole interval on one side "
            "of a target.",
            "",
            f"Machine: {machine}; commit {commit}; {datetime.now(UTC):%Y-%m-%d}; load before the first: {load:.2f}.",
            "",
            *rows,
            "",
        ]
    )


def replaced(page: str, text: str) -> str:
    """The page with `text` above `BY_HAND`, and what stands below it as it was."""
    _, marker, below = page.partition(BY_HAND)
    return f"{text}\n{BY_HAND}{below}" if marker else text


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def main() -> None:
    chosen = sys.argv[1:]
    unknown = set(chosen) - set(NAMES)
    if unknown or any(word.startswith("-") for word in chosen):
        raise SystemExit(f"{__doc__}\nbenchmarks: {', '.join(NAMES)}")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: something else is running here (load {load:.2f}): timings will be off", file=sys.stderr)
    commit = commit_of(TABLE)
    lines: list[dict[str, Any]] = []
    failed = []
    for name in chosen or NAMES:
        found, code = lines_of(name) if chosen else kept_or_run(name, commit)
        lines += found
        if code:  # the hour of the others is kept
            failed.append(f"benchmarks/{name}.py failed (exit code {code})")
    if not lines:
        raise SystemExit("; ".join(failed))
    text = "\n".join([table(lines, commit, load), *(f"{failure}.\n" for failure in failed)])
    if chosen:
        print(text)
    else:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(replaced(TABLE.read_text() if TABLE.exists() else "", text))
        print(f"written: {TABLE}")
        if not failed:
            shutil.rmtree(KEPT, ignore_errors=True)  # the next run begins anew
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
