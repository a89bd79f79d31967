"""What the benchmarks make of their timings: numbers that are known beforehand go in."""

import ast
import json
import subprocess
import sys
import time
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
    """Of every ten steps of 1 ms one takes 9 ms more; the first ten are the warm-up."""
    taken = [0.5] * 10 + ([0.001] * 9 + [0.010]) * 3
    assert training_step.per_step(taken, 10) == pytest.approx([1.9] * 3)


def test_both_loops_take_each_step_in_turns():
    """What is timed as the trainer's is all that lies between two steps of the bare loop."""
    steps = []
    in_turns = training_step.InTurns(steps.append("bare") for _ in range(4))
    in_turns.begin()
    for _ in range(4):
        time.sleep(0.002)
        steps.append("ours")
        in_turns.take_turns()
    assert steps == ["ours", "bare"] * 4
    assert all(taken >= 0.002 for taken in in_turns.ours)
    assert len(in_turns.bare) == 4


def test_a_comparison_has_a_pair_for_every_so_many_steps():
    timed = training_step.Case(width=2, batch=4, size=8, steps=2, threads=1).compare(3)
    assert len(timed) == 3
    assert all(own > 0 and bare > 0 for own, bare in timed)


@pytest.mark.parametrize(("taken", "expected"), [(1.0, 15), (5.0, 13), (100.0, 5)])
def test_on_a_slow_machine_a_row_has_as_many_pairs_as_a_minute_holds_and_five_at_least(monkeypatch, taken, expected):
    now = [0.0]
    monkeypatch.setattr(pairs.time, "perf_counter", lambda: now[0])

    def side():
        now[0] += taken / 2

    assert pairs.time_pairs(side, side, warmup=0) == [(taken / 2, taken / 2)] * expected


@pytest.mark.parametrize(("low", "high", "word"), [(1.0, 1.1, "met"), (1.0, 1.2, "unresolved"), (1.2, 1.3, "missed")])
def test_a_verdict_needs_the_whole_interval(low, high, word):
    assert pairs.verdict(low, high, at_most=1.15) == word
    assert pairs.verdict(-high, -low, at_least=-1.15) == word


def test_the_interval_of_a_median():
    """Of 15 values 90% of the medians of samples of them lie within the five in the middle and their neighbours."""
    low, high = pairs.interval([float(value) for value in range(15)])
    assert 3 <= low < 7 < high <= 11


@pytest.mark.parametrize(
    ("values", "interval", "word"),
    [
        ([5.2], None, "unresolved"),
        ([5.1, 5.3], [5.1, 5.3], "met"),
        (5.2, [5.2, 5.2], "met"),
        (4.0, [4.0, 4.0], "missed"),
    ],
)
def test_one_timed_pair_resolves_nothing_but_a_count_is_what_it_is(values, interval, word, capsys):
    pairs.report("search", values, at_least=5.0)
    line = json.loads(capsys.readouterr().out)
    assert (line["interval90"], line["verdict"]) == (interval, word)
    shown = "" if interval is None else f"{interval[0]} to {interval[1]}"
    assert f" | {shown} | {line['pairs']} | ≥ 5.0 | {word} | " in table.table([line], "abc", 0.1)


def test_the_page_says_when_a_row_ends_early():
    """After so many seconds and pairs, as its benchmark calls `turns`."""
    said = table.table([LINE], "abc", 0.1)
    limits = {(pairs.SECONDS, pairs.FEWEST)}
    for path in BENCHMARKS.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "turns":
                given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
                limits.add((given.get("limit", pairs.SECONDS), given.get("fewest", pairs.FEWEST)))
    assert limits == {(60, 5), (60, 3), (180, 1), (600, 1)}
    assert (
        "after 60 seconds and 5 pairs, or 3 of epochs and inversions; searches after 180 or 600 seconds and 1" in said
    )


def test_a_row_says_how_many_pairs_and_where_it_was_measured():
    other = {**LINE, "benchmark": "step", "machine": "a CPU, 1 CPU threads"}
    rows = [row for row in table.table([LINE, other], "abc", 0.1).splitlines() if row.startswith("| ")]
    assert rows[1] == "| knn/k5 | 1.1 | 1.0 to 1.2 | 15 | ≤ 1.15 | unresolved | seconds 0.1235 |"
    assert rows[2].endswith("seconds 0.1235, on a CPU, 1 CPU threads |")
    assert all(row.count("|") == rows[0].count("|") for row in rows)


def test_what_was_written_by_hand_below_the_table_is_kept():
    page = table.replaced("", "old rows\n")
    assert page == "old rows\n"
    page = table.replaced(f"{page}\n{table.BY_HAND}\n\nWhat the rows mean.\n", "new rows\n")
    assert page == f"new rows\n\n{table.BY_HAND}\n\nWhat the rows mean.\n"


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
    monkeypatch.setattr(table, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(sys, "argv", ["table.py"])
    with pytest.raises(SystemExit, match=r"losses\.py failed \(exit code 3\)"):
        table.main()
    written = (tmp_path / "benchmarks.md").read_text()
    assert "| knn/k5 | 1.1 |" in written
    assert written.rstrip().endswith("benchmarks/losses.py failed (exit code 3).")


def test_a_run_that_was_stopped_goes_on_and_a_changed_tree_begins_anew(tmp_path, monkeypatch):
    body = "import pathlib, sys\nwith pathlib.Path(__file__).with_name('runs').open('a') as file: file.write('.')\n"
    (tmp_path / "knn.py").write_text(body + f"print({json.dumps(json.dumps(LINE))})")
    (tmp_path / "losses.py").write_text(body + "raise SystemExit(3)")
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    monkeypatch.setattr(table, "KEPT", tmp_path / "kept")
    for commit, runs in (("abc", 1), ("abc", 1), ("def", 2), ("def+changes", 3), ("def+changes", 4), ("unknown", 5)):
        assert table.kept_or_run("knn", commit) == ([LINE], 0)
        assert len((tmp_path / "runs").read_text()) == runs
    for runs in (6, 7):  # one that failed is run again
        assert table.kept_or_run("losses", "abc") == ([], 3)
        assert len((tmp_path / "runs").read_text()) == runs


def test_the_page_that_a_run_writes_is_no_change_of_the_code(tmp_path):
    page = tmp_path / "docs/benchmarks.md"
    page.parent.mkdir()
    page.write_text("before")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    page.write_text("after")
    assert table.commit_of(page) == commit
    (tmp_path / "new.py").write_text("")
    assert table.commit_of(page) == f"{commit}+changes"
