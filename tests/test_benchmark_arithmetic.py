"""What the benchmarks make of their timings: numbers that are known beforehand go in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import pairs  # noqa: E402
import table  # noqa: E402
import training_step  # noqa: E402

LINE = {
    "benchmark": "knn/k5",
    "ratio": 1.1,
    "interval90": [1.0, 1.2],
    "spread": [0.9, 1.3],
    "pairs": 15,
    "target": "≤ 1.15",
    "verdict": "unresolved",
    "seconds": 0.123456,
    "machine": "a CPU, 2 CPU threads",
}


def test_a_step_that_comes_round_now_and_then_is_counted():
    """Ten steps of 1 ms after those that are left out, of which one took 9 ms more."""
    taken = [0.5] * 6 + [0.001] * 9 + [0.010]
    assert training_step.per_step(list(np.cumsum(taken))) == pytest.approx(1.9)


def test_pairs_run_in_turns():
    calls = []
    measured = training_step.pair(lambda: calls.append("ours") or 2.0, lambda: calls.append("bare") or 1.0, 2)
    assert measured == [(2.0, 1.0)] * 2
    assert calls == ["ours", "bare", "ours", "bare", "bare", "ours"]  # the first two are the warm-up


@pytest.mark.parametrize(("low", "high", "word"), [(1.0, 1.1, "met"), (1.0, 1.2, "unresolved"), (1.2, 1.3, "missed")])
def test_a_verdict_needs_the_whole_interval(low, high, word):
    assert pairs.verdict(low, high, at_most=1.15) == word
    assert pairs.verdict(-high, -low, at_least=-1.15) == word


def test_the_interval_of_a_median():
    """Of 15 values 90% of the medians of samples of them lie within the five in the middle and their neighbours."""
    low, high = pairs.interval([float(value) for value in range(15)])
    assert 3 <= low < 7 < high <= 11
    assert pairs.interval([2.0]) == (2.0, 2.0)


def test_a_row_says_how_many_pairs_and_where_it_was_measured():
    other = {**LINE, "benchmark": "step", "machine": "a CPU, 1 CPU threads"}
    rows = [row for row in table.table([LINE, other], "abc", 0.1).splitlines() if row.startswith("| ")]
    assert rows[1] == "| knn/k5 | 1.1 | 1.0 to 1.2 | 15 | ≤ 1.15 | unresolved | seconds 0.1235 |"
    assert rows[2].endswith("seconds 0.1235, on a CPU, 1 CPU threads |")
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_memory_of_serving_is_that_of_the_pages_it_reads(tmp_path):
    """A whole epoch of one view of one touches the whole file."""
    stored = np.ones((8000, 1, 3, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "images.npy", stored)
    command = [sys.executable, str(BENCHMARKS / "search.py"), "--serve", str(tmp_path)]
    megabytes = float(subprocess.check_output(command, text=True).split()[-1])
    # The first batch was read before the count began.
    assert 0.7 * stored.nbytes / 1e6 < megabytes < 1.5 * stored.nbytes / 1e6


def test_one_that_fails_does_not_cost_the_others(tmp_path, monkeypatch):
    for name, body in (("knn", f"print({json.dumps(json.dumps(LINE))})"), ("losses", "raise SystemExit(3)")):
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    monkeypatch.setattr(table, "NAMES", ("losses", "knn"))
    monkeypatch.setattr(table, "TABLE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(sys, "argv", ["table.py"])
    with pytest.raises(SystemExit, match=r"losses\.py failed \(exit code 3\)"):
        table.main()
    written = (tmp_path / "benchmarks.md").read_text()
    assert "| knn/k5 | 1.1 |" in written
    assert written.rstrip().endswith("benchmarks/losses.py failed (exit code 3).")
