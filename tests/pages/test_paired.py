"""Differences from the baseline, paired over seeds: against NumPy and SciPy on made-up runs."""

import csv
import json
import re

import numpy as np
import pytest
from scipy import stats

from assimilate import report
from assimilate.pages.exported import DIFFERENCE_KEYS
from assimilate.pages.paired import Baselines, holm, paired, t_test
from assimilate.pages.run import parse_place, parse_run
from tests.made_up_out import result, write

SEEDS = range(10)
SETTINGS = {"simclr-0": 90.0, "a1-0": 92.0, "a2-0": 90.4, "wmix-0": 89.0, "noise-0": 90.0, "wperturb-0": 90.2}


def probe(setting, seed):
    return f"probes/digits/{setting}-seed{seed}"


def made_up(setting, seed, metrics, **changes):
    places = {"probe": probe(setting, seed), "paired_with": probe("simclr-0", seed)}
    words = [] if setting == "simclr-0" else [f"view={setting}"]
    return result(row=None, dataset="digits", seed=seed, metrics=metrics, overrides=words, **places | changes)


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """60 runs, 10 seeds of 6 settings, and their values by setting and metric."""
    out, rng = tmp_path_factory.mktemp("sixty"), np.random.default_rng(7)
    hard = rng.normal(0, 1.5, len(SEEDS))  # a seed that is hard for one is hard for all: what pairing takes out
    values = {}
    for setting, level in SETTINGS.items():
        for metric, scale in (("acc1", 1.0), ("knn5", 2.0)):
            values[setting, metric] = level + scale * hard + rng.normal(0, 0.4, len(SEEDS))
        for seed in SEEDS:
            metrics = {metric: float(values[setting, metric][seed]) for metric in ("acc1", "knn5")}
            write(out, made_up(setting, seed, metrics), setting=setting)
    assert report.main([f"out={out}"]) == 0
    return out, values


def test_a_table_of_no_differences_has_its_header(tmp_path):
    write(tmp_path, made_up("simclr-0", 0, {"acc1": 90.0}), setting="simclr-0")
    assert report.main([f"out={tmp_path}"]) == 0
    assert (tmp_path / "report_differences.csv").read_text() == ",".join(DIFFERENCE_KEYS) + "\n"


def test_a_table_without_the_baseline_has_the_command_that_trains_it(tmp_path):
    """With the seeds of the runs that lack it."""
    command = "python -m assimilate.train batch_size=8 recipe=narrow assim=simclr"
    for seed in (0, 1, 3):
        write(tmp_path, made_up("a2-0", seed, {"acc1": 91.0}, baseline_command=command), setting="a2-0")
    # One that is there and shares no metric with the run, as one that diverged, needs no training.
    write(tmp_path, made_up("simclr-0", 5, {}), setting="simclr-0")
    write(tmp_path, made_up("a2-0", 5, {"acc1": 91.0}, baseline_command=command), setting="a2-0")
    into = f"out={tmp_path}"
    told = {(): f"{command} seed=0,1,3 {into} -m", (0, 3): f"{command} seed=1 {into}", (1,): ""}
    trained = set()
    for more, wanted in told.items():
        for seed in set(more) - trained:
            write(tmp_path, made_up("simclr-0", seed, {"acc1": 90.0}), setting="simclr-0")
        trained.update(more)
        assert report.main([f"out={tmp_path}"]) == 0
        html, text = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
        assert [line for line in text.splitlines() if command in line] == [f"    {wanted}"] * bool(wanted)
        assert re.findall(rf">({re.escape(command)}[^<]*)<", html) == [wanted] * bool(wanted)


def test_a_report_of_60_runs_agrees_with_a_computation_outside_it(sixty):
    out, values = sixty
    found = json.loads((out / "report.json").read_text())["differences"]
    assert len(found) == (len(SETTINGS) - 1) * 2
    rows = list(csv.DictReader((out / "report_differences.csv").open(encoding="utf-8")))
    assert len(rows) == len(found)
    assert {tuple(line) for line in found} == {DIFFERENCE_KEYS}
    for metric in ("acc1", "knn5"):
        others = [setting for setting in SETTINGS if setting != "simclr-0"]
        tests = {s: stats.ttest_rel(values[s, metric], values["simclr-0", metric]).pvalue for s in others}
        for setting in others:
            (ours,) = [line for line in found if line["setting"] == f"adhoc/{setting}" and line["metric"] == metric]
            differences = values[setting, metric] - values["simclr-0", metric]
            assert ours["mean"] == pytest.approx(differences.mean(), abs=1e-9)
            assert ours["n"] == 10
            assert ours["seeds"] == list(SEEDS)
            other = stats.bootstrap(
                (differences,), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(3)
            ).confidence_interval
            width = other.high - other.low
            assert ours["low"] == pytest.approx(other.low, abs=0.03 * width)
            assert ours["high"] == pytest.approx(other.high, abs=0.03 * width)
            assert ours["p"] == pytest.approx(tests[setting], rel=1e-6)
            # Holm: the largest of (m − rank)·p over all p up to this one.
            smaller = [p for p in tests.values() if p <= tests[setting]]
            steps = [(len(tests) - sum(q < p for q in tests.values())) * p for p in smaller]
            assert ours["p_holm"] == pytest.approx(min(1, max(steps)), rel=1e-6)
            line = next(row for row in rows if row["setting"] == f"adhoc/{setting}" and row["metric"] == metric)
            assert float(line["mean"]) == pytest.approx(differences.mean(), abs=1e-9)
            assert (float(line["low"]), float(line["high"])) == (ours["low"], ours["high"])
    # Pairing sees what the spread of seeds hides.
    assert stats.ttest_ind(values["a2-0", "acc1"], values["simclr-0", "acc1"]).pvalue > 0.05


def test_the_differences_stand_in_every_page(sixty):
    out, values = sixty
    mean = (values["a1-0", "acc1"] - values["simclr-0", "acc1"]).mean()
    shown = re.escape(f"+{mean:.2f}*")
    pattern = rf"{shown} \[\+\d\.\d\d, \+\d\.\d\d\] \(10\)"
    for page in ("report.html", "report.md"):
        assert re.search(pattern, (out / page).read_text().replace("\\", "")), page  # Markdown escapes * and [
    # Which line is the baseline stands on it: once on the page, once in Markdown.
    html, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    (marked,) = re.findall(r"<tr>.*<span class=\"soft\">baseline</span>.*", html)
    assert "SimCLR" in marked
    (line,) = [line for line in text.splitlines() if "(baseline)" in line]
    assert line.startswith("| SimCLR (baseline) |")
    run = (out / "paper/adhoc/a1-0/digits/seed3/report.html").read_text()
    assert f"+{mean:.2f}*" in run
    assert "Difference from the baseline" in run
    assert "Difference from the baseline" not in (out / "paper/adhoc/simclr-0/digits/seed3/report.html").read_text()


def runs_of(setting, seeds, value, **changes):
    for seed in seeds:
        made = made_up(setting, seed, {"acc1": value + seed}, **changes)
        yield parse_run(made, parse_place(("paper", "adhoc", setting, "digits", f"seed{seed}")))


def test_a_baseline_that_stands_in_another_table_is_named(tmp_path):
    """As the row of a table, beside which own settings have a table of their own."""
    row = {"row": "table3/expert_expert_simclr", "probe": probe("simclr-0", 0), "paired_with": probe("simclr-0", 0)}
    write(tmp_path, result(dataset="digits", metrics={"acc1": 90.0}, **row))
    write(tmp_path, made_up("a1-0", 0, {"acc1": 92.0}), setting="a1-0")
    other = {**row, "row": "table13/epsilon1_03", "probe": probe("a1-1", 0)}
    write(tmp_path, result(dataset="digits", metrics={"acc1": 93.0}, **other))
    assert report.main([f"out={tmp_path}"]) == 0
    said = "the difference from table3/expert_expert_simclr, which stands in another table"
    html, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text().replace("\\", "")
    assert html.count(f"<li>Δ is {said}</li>") == html.count(f"<sup>Δ</sup> digits: {said}</li>") == 1
    assert text.count(f"\nΔ is {said}\n") == text.count(f"<sup>Δ</sup> digits: {said}\n") == 1
    # In the table that it stands in, it is marked.
    assert html.count('<small class="paired">baseline</small>') == 2  # and in the whole table, behind a click
    assert text.count(" (baseline) |") == 1


def test_only_common_seeds_count_and_one_has_no_interval():
    base, ours = list(runs_of("simclr-0", (0, 1, 4), 90)), list(runs_of("a1-0", (1, 2, 4), 91))
    found = Baselines([*base, *ours]).differences({"a1": ours, "simclr": base})
    assert set(found) == {("a1", "acc1")}
    assert found["a1", "acc1"].seeds == (1, 4)
    assert (found["a1", "acc1"].mean, found["a1", "acc1"].p) == (1.0, None)  # equal differences: no t
    alone = Baselines([*base, ours[0]]).differences({"a1": ours[:1]})["a1", "acc1"]
    assert (alone.text(2), alone.low, alone.p_holm) == ("+1.00 (1)", None, None)
    assert Baselines(ours).differences({"a1": ours}) == {}  # nothing to compare with


def test_differences_that_are_equal_but_for_rounding_have_no_p():
    assert paired({0: 0.1 + 0.2, 1: 0.3, 2: 91.3 - 91}).p is None
    assert paired({0: 1.0, 1: 1.0, 2: 1.1}).p is not None


def test_another_recipe_is_no_baseline():
    """A pair is the very probe that the run names: of its images, recipe, budget and seed."""
    base = list(runs_of("simclr-0", SEEDS, 90, probe="probes/digits/simclr-other"))
    ours = list(runs_of("a1-0", SEEDS, 91))
    assert Baselines([*base, *ours]).differences({"a1": ours}) == {}


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 30])
def test_student_and_holm(freedom):
    for t in (0.0, 0.5, 2.1, 8.0, 60.0):
        assert t_test(t, freedom) == t_test(-t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)
    assert holm([0.01, 0.04, 0.03, 0.5]) == [0.04, 0.09, 0.09, 0.5]
    assert holm([0.6, 0.5]) == [1.0, 1.0]


def test_the_interval_is_the_same_every_time_and_bounds_the_mean():
    values = dict(enumerate(np.random.default_rng(0).normal(1, 1, 10)))
    assert paired(values) == paired(dict(reversed(values.items())))
    assert paired(values).low < paired(values).mean < paired(values).high
