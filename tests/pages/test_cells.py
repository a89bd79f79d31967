"""What was run, put into the cells of a table."""

import numpy as np
import pytest

from assimilate.pages.cells import MIXED, NOT_MEASURED, NOT_RUN, fill_table
from assimilate.pages.images import told_apart
from assimilate.pages.numbers import PaperNumber
from assimilate.pages.run import parse_place, parse_run
from assimilate.pages.settings import group_settings
from assimilate.pages.tables import Layout, Row, Table
from tests.made_up_out import result

LAYOUT = Layout(number="3", title="A title", columns=("view",), labels={"second": ("two",), "first": ("one",)})
ROWS = (
    Row("table3", "second", {"cifar10": {"acc1": PaperNumber("91.86")}, "cifar100": {"acc1": PaperNumber("71.69")}}),
    Row("table3", "first", {"cifar10": {"acc1": PaperNumber("92.04")}, "cifar100": {"acc1": PaperNumber("70.41")}}),
    Row("table3", "unlisted", {"cifar10": {"acc1": PaperNumber("1.00")}}),
)
TABLE = Table("table3", LAYOUT, ROWS)


def run_of(setting=None, **values):
    raw = result(**values)
    place = raw["row"] or f"adhoc/{setting}"
    return parse_run(raw, parse_place([raw["budget"], *place.split("/"), raw["dataset"], f"seed{raw['seed']}"]))


def fill(runs, budget="paper", table=TABLE):
    return fill_table(table, runs, budget=budget, command_for=lambda row, dataset: f"run {row.key} on {dataset}")


def entry(table, row, dataset):
    (found,) = (e for e in table.entries if (e.row.name, e.dataset) == (row, dataset))
    return found


def test_rows_stand_in_the_tables_order_and_unlisted_ones_last():
    assert [row.labels for row in fill([]).rows] == [("two",), ("one",), ("unlisted",)]


def test_a_cell_is_the_mean_over_training_seeds():
    values = [91.5, 92.25, 92.75]
    runs = [run_of(row="table3/first", seed=seed, metrics={"acc1": value}) for seed, value in enumerate(values)]
    found = entry(fill(runs), "first", "cifar10")
    (cell,) = found.cells
    assert cell.ours.mean == pytest.approx(np.mean(values))
    assert cell.ours.std == pytest.approx(np.std(values, ddof=1))
    assert cell.ours_text == "92.17 ± 0.63 (3)"
    assert cell.paper_text == "92.04"
    assert cell.difference_text == "+0.13"
    # Three trainings and probes, the images once.
    assert found.hours == f"{(3 * 7560 + 36) / 3600:.2f}"
    assert found.another.endswith("seed=3")


def test_the_spread_over_probe_seeds_never_enters():
    (cell,) = entry(fill([run_of(row="table3/first", metrics={"acc1": 92.0})]), "first", "cifar10").cells
    assert cell.runs[0].metrics["acc1"].std == 0.05
    assert cell.ours_text == "92.00 (1)"


def test_what_was_not_run_says_so_with_its_command():
    table = fill([run_of(row="table3/first", metrics={"acc1": 92.0})])
    assert {(e.row.name, e.dataset) for e in table.missing} == {
        (row, dataset) for row in ("first", "second", "unlisted") for dataset in ("cifar10", "cifar100")
    } - {("first", "cifar10")}
    found = entry(table, "second", "cifar100")
    assert found.cells[0].ours_text == NOT_RUN
    assert found.cells[0].difference_text == "–"
    assert found.command == "run table3/second on cifar100"
    assert not entry(table, "unlisted", "cifar100").in_paper


def test_budgets_never_share_a_cell_and_only_the_papers_is_compared():
    runs = [
        run_of(row="table3/first", budget=budget, metrics={"acc1": value})
        for budget, value in (("paper", 92.0), ("short", 80.0), ("smoke", 12.0))
    ]
    for budget, value in (("paper", "92.00 (1)"), ("short", "80.00 (1)"), ("smoke", "12.00 (1)")):
        table = fill(runs, budget)
        (cell,) = entry(table, "first", "cifar10").cells
        assert cell.ours_text == value
        assert table.compares == (budget == "paper")
        assert (cell.difference is None) == (budget != "paper")
    assert list(fill(runs, "smoke").datasets) == ["cifar10"]  # nothing else was run at this budget
    assert list(fill(runs, "paper").datasets) == ["cifar10", "cifar100"]


def test_a_data_set_that_the_paper_lacks_gets_a_column_with_empty_paper_cells():
    table = fill([run_of(row="table3/first", dataset="digits", metrics={"acc1": 95.0, "knn5": 90.0})])
    assert table.datasets == {"cifar10": ("acc1",), "cifar100": ("acc1",), "digits": ("acc1",)}
    found = entry(table, "first", "digits")
    assert (found.cells[0].paper_text, found.cells[0].ours_text) == ("–", "95.00 (1)")
    assert found.cells[0].difference is None
    assert not found.in_paper


def test_a_folder_called_cifar10_is_not_cifar10():
    titles = {"run": "SimCLR", "dataset": "cifar10 (folder)"}
    table = fill([run_of(row="table3/first", metrics={"acc1": 99.0}, titles=titles)])
    assert entry(table, "first", "cifar10").cells[0].ours_text == NOT_RUN
    assert entry(table, "first", "cifar10 (folder)").cells[0].paper is None


def test_protocols_are_never_averaged():
    runs = [
        run_of(row="table3/first", seed=seed, metrics={"acc1": 92.0}, protocols={"acc1": label})
        for seed, label in enumerate(["last epoch", "best epoch"])
    ]
    (cell,) = entry(fill(runs), "first", "cifar10").cells
    assert cell.ours is None
    assert cell.ours_text == MIXED
    assert cell.protocols == ("last epoch", "best epoch")


def test_a_metric_that_a_run_lacks_is_not_a_cell_that_was_not_run():
    (cell,) = entry(fill([run_of(row="table3/first", metrics={"knn5": 90.0})]), "first", "cifar10").cells
    assert cell.ours_text == NOT_MEASURED


def test_a_table_says_which_of_our_metrics_its_own_is():
    table = Table("table3", Layout(measured_as={"acc1": "knn5_euclidean"}), ROWS)
    runs = [run_of(row="table3/first", metrics={"acc1": 92.0, "knn5_euclidean": 37.0})]
    (cell,) = entry(fill(runs, table=table), "first", "cifar10").cells
    assert cell.ours_text == "37.00 (1)"


def test_settings_are_grouped_over_their_seeds_and_apart_by_data_set_budget_and_protocol():
    runs = [
        run_of("alpha=1-aa", row=None, seed=seed, metrics={"acc1": value}, overrides=["loss.alpha=1", f"seed={seed}"])
        for seed, value in enumerate([90.0, 91.0])
    ]
    runs.append(run_of("alpha=1-aa", row=None, dataset="digits", metrics={"acc1": 50.0}))
    runs.append(run_of("alpha=1-aa", row=None, budget="smoke", metrics={"acc1": 10.0}))
    runs.append(run_of("other-bb", row=None, metrics={"acc1": 80.0}, protocols={"acc1": "best epoch"}))
    found = group_settings(runs, budget="paper")
    assert [(table.dataset, table.protocols["acc1"], len(table.settings)) for table in found] == [
        ("cifar10", "linear probe, lr 30, last epoch", 1),
        ("cifar10", "best epoch", 1),
        ("digits", "linear probe, lr 30, last epoch", 1),
    ]
    # Each goes by a name of its own, and what parts two of the same images stands beside it.
    assert [table.title for table in found] == [
        "cifar10, own settings (1 of 2)",
        "cifar10, own settings (2 of 2)",
        "digits, own settings",
    ]
    other_way = "Unlike the other table of these images: Acc@1 measured in another way (named below)."
    assert [table.apart for table in found] == [other_way, other_way, ""]
    (smoke,) = group_settings(runs, budget="smoke")
    assert smoke.title == "cifar10, budget=smoke"
    (setting,) = found[0].settings
    assert setting.words == "loss.alpha=1"
    assert (setting.measured("acc1").mean, setting.measured("acc1").n) == (90.5, 2)
    assert list(found[0].protocols) == ["acc1"]


def test_a_table_lacks_a_metric_that_others_of_its_images_have():
    runs = [run_of("a-aa", row=None, metrics={"acc1": 80.0, "knn5": 70.0}), run_of("b-bb", row=None, metrics={})]
    both, neither = group_settings(runs, budget="paper")
    assert both.apart == ""
    assert neither.apart == "Unlike the other table of these images: no Acc@1, 5-NN."


def test_fewer_test_images_are_other_images():
    """Those that a budget takes are fewer in all its runs."""
    runs = [
        run_of(f"{budget}-{most}", row=None, budget=budget, metrics={"acc1": 1.0}, config={"dataset": made})
        for budget, most in (("demo", None), ("demo", 64), ("smoke", 128))
        for made in [{"max_test_images": most, "image_size": 16}]
    ]
    assert [run.dataset for run in told_apart(runs)] == ["cifar10", "cifar10, 64 test images", "cifar10"]


@pytest.mark.parametrize(
    ("of_1000", "of_64", "names"),
    [
        ("a", "b", ["cifar10", "cifar10", "cifar10, 64 test images"]),
        ("a", "a", ["cifar10"] * 3),
        (None, None, ["cifar10", "cifar10, 1000 test images", "cifar10, 64 test images"]),  # of an earlier version
    ],
)
def test_the_same_images_have_one_name_whatever_their_settings(of_1000, of_64, names):
    """A limit above the number of test images takes all of them."""
    runs = [
        run_of(f"most={most}", row=None, metrics={"acc1": 1.0}, data_fingerprint=pixels, config={"dataset": made})
        for most, pixels in ((None, "a"), (1000, of_1000), (64, of_64))
        for made in [{"max_test_images": most}]
    ]
    assert [run.dataset for run in told_apart(runs)] == names
    assert [run.dataset for run in told_apart(runs[::-1])] == names[::-1]


def test_folders_of_one_name_are_told_apart():
    titles = {"run": "SimCLR", "views": "", "baseline": "SimCLR", "dataset": "images (folder)"}
    runs = [
        run_of(f"{root}-aa", row=None, dataset="images", titles=titles, metrics={"acc1": 1.0}, config=config)
        for root in ("one", "two", "two")
        for config in [{"dataset": {"root": f"/{root}/images"}}]
    ]
    found = group_settings(told_apart(runs), budget="paper")
    assert [table.title for table in found] == [
        "images (folder) in /one/images, own settings",
        "images (folder) in /two/images, own settings",
    ]
    smoke = run_of(
        "three-aa",
        row=None,
        dataset="images",
        budget="smoke",
        titles=titles,
        metrics={"acc1": 1.0},
        config={"dataset": {"root": "/one/images"}},
    )
    (other,) = group_settings(told_apart([*runs, smoke]), budget="smoke")  # they stand on one page
    assert other.title == "images (folder) in /one/images, budget=smoke"
    (alone,) = group_settings(told_apart(runs[1:]), budget="paper")
    assert alone.title == "images (folder), own settings"


def test_images_of_several_sizes_are_several_data_sets():
    """But those that the paper prints numbers of keep its name."""
    runs = [
        run_of(
            f"size={size}-aa",
            row=None,
            metrics={"acc1": float(size)},
            floors={"raw pixels": {"acc1": float(size)}},
            config={"dataset": {"image_size": size}},
        )
        for size in (16, 32)
    ]
    row = run_of(row="table3/first", metrics={"acc1": 92.0}, config={"dataset": {"image_size": 32}})
    found = group_settings(told_apart([*runs, row]), budget="paper")
    assert [table.title for table in found] == ["cifar10 at 16², own settings", "cifar10 at 32², own settings"]
    assert [table.floors for table in found] == [{"raw pixels": ["16.00"]}, {"raw pixels": ["32.00"]}]
    assert told_apart([*runs, row])[-1].dataset == "cifar10"
    assert [run.dataset for run in told_apart(runs[1:])] == ["cifar10"]


def test_seeds_of_one_setting_are_together_whatever_its_folder_was_called():
    runs = [
        run_of(f"{words}-11e803b4", row=None, seed=seed, metrics={"acc1": 90.0})
        for seed, words in enumerate(["assim=simclr,recipe=narrow", "recipe=narrow,assim=simclr"])
    ]
    (table,) = group_settings(runs, budget="paper")
    assert [len(setting.runs) for setting in table.settings] == [2]


def test_a_setting_goes_by_its_title_and_what_all_have_is_said_once():
    def run(view, *words):
        titles = {"run": f"A2 with {view}", "dataset": "cifar10"}
        return run_of(f"{view}-aa", row=None, metrics={"acc1": 90.0}, titles=titles, overrides=words)

    runs = [
        run("blur", "view=blur", "recipe=narrow", "seed=1"),
        run("W-search", "recipe=small", "view=wsearch", "recipe=narrow", "seed=1"),  # of two the last counts
    ]
    (table,) = group_settings(runs, budget="paper")
    assert table.common == "recipe=narrow"
    assert {setting.title: setting.shown for setting in table.settings} == {
        "A2 with blur": "view=blur",
        "A2 with W-search": "view=wsearch",
    }
    (alone,) = group_settings(runs[:1], budget="paper")
    assert (alone.common, alone.settings[0].shown) == ("", "view=blur recipe=narrow")


def test_floors_of_several_encoders_are_a_range():
    floors = [{"random network": {"acc1": random}, "raw pixels": {"acc1": 70.0}} for random in (60.0, 85.0)]
    adhoc = [
        run_of(f"width={width}-aa", row=None, metrics={"acc1": 90.0, "knn5": 80.0}, floors=floors[width])
        for width in (0, 1)
    ]
    (table,) = group_settings(adhoc, budget="paper")
    assert table.floors == {"random network": ["60.00 to 85.00", "–"], "raw pixels": ["70.00", "–"]}
    rows = [
        run_of(row=f"table3/{row}", metrics={"acc1": 90.0}, floors=own)
        for row, own in zip(("first", "second"), floors, strict=True)
    ]
    assert [text for mark, text in fill(rows).notes if mark == "⊥"] == [
        "cifar10, random network: Acc@1 60.00 to 85.00",
        "cifar10, raw pixels: Acc@1 70.00",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema: .*should be 1"),
        ({"metrics": {"acc1": {"mean": float("nan")}}}, "metrics.acc1.mean: .*finite"),
        ({"metrics": {"acc1": {"mean": 92.0, "n": True}}}, "metrics.acc1.n"),
        ({"metrics": {"acc1": {"mean": True}}}, "metrics.acc1.mean"),
        ({"metrics": {"acc1": 92.0}}, "metrics.acc1"),
        ({"metrics": []}, "metrics: "),
        ({"metrics": None}, "metrics: .*required"),
        ({"seconds": {"encoders/x": -1.0}}, "seconds.encoders/x"),
        ({"knn_curve": [[0]]}, "knn_curve.0"),
        ({"baseline": {"metrics": {"acc1": {}}}}, "baseline.metrics.acc1.mean"),
        ({"untrained": {"knn5": "much"}}, "untrained.knn5"),
        ({"overrides": "all"}, "overrides"),
    ],
)
def test_a_foreign_result_is_refused_with_a_reason(change, message):
    raw = result(metrics={"acc1": 92.0}) | change
    with pytest.raises(ValueError, match=message):
        parse_run(raw, parse_place(["paper", "table3", "expert_expert_simclr", "cifar10", "seed0"]))


@pytest.mark.parametrize(
    "place",
    [
        "paper/table3/expert_expert_simclr/cifar10/seed1",
        "paper/table3/expert_expert_simclr/digits/seed0",
        "paper/table3/expert_wsearch_a1/cifar10/seed0",
        "paper/adhoc/expert_expert_simclr/cifar10/seed0",
    ],
)
def test_a_result_that_was_moved_is_refused(place):
    with pytest.raises(ValueError, match="was it moved"):
        parse_run(result(metrics={"acc1": 92.0}), parse_place(place.split("/")))


def test_a_smoke_result_in_the_papers_folder_is_refused():
    with pytest.raises(ValueError, match="budget 'smoke'"):
        parse_run(
            result(budget="smoke", metrics={"acc1": 92.0}),
            parse_place(["paper", "table3", "expert_expert_simclr", "cifar10", "seed0"]),
        )


def test_a_run_that_has_two_names_fills_both_rows():
    runs = [run_of(row="table3/first", seed=seed, metrics={"acc1": 92.0 + seed}) for seed in (0, 1)]
    runs.append(run_of(row="table3/second", seed=1, metrics={"acc1": 93.0}))
    runs.append(run_of(row="table3/first", dataset="digits", metrics={"acc1": 50.0}))
    same = {("table3/second", "cifar10"): {"table3/first": "Table 3: one"}}

    def lenders(row, dataset):
        return same.get((row, dataset), {})

    table = fill_table(TABLE, runs, budget="paper", lenders=lenders)
    found = entry(table, "second", "cifar10")
    assert [(run.place.row, run.place.seed) for run in found.runs] == [("table3/first", 0), ("table3/second", 1)]
    assert found.borrowed_from == ("Table 3: one",)
    assert entry(table, "first", "cifar10").borrowed_from == ()
    # Only where the paper has both: what a row changes may be another data set's default.
    assert entry(table, "second", "digits").runs == ()
    # At another budget it is another run.
    short = fill_table(TABLE, runs, budget="short", lenders=lenders)
    assert not [e for e in short.entries if e.runs]


def test_f_stands_beside_a_setting_once_and_only_if_measured_alike():
    def baseline(artifact, value, label="linear probe, lr 30, last epoch"):
        return {
            "artifact": artifact,
            "metrics": {"acc1": {"mean": value, "std": 0.1, "n": 5}},
            "protocols": {"acc1": label},
        }

    runs = [
        run_of("a-aa", row=None, seed=seed, metrics={"acc1": 90.0}, baseline=baseline("probes/f", 88.0))
        for seed in (0, 1)
    ]
    runs.append(run_of("b-bb", row=None, metrics={"acc1": 91.0}, baseline=baseline("probes/f", 87.0, "best epoch")))
    (table,) = group_settings(runs, budget="paper")
    first, second = table.settings
    assert table.columns == [("acc1", True, "Acc@1 of f"), ("acc1", False, "Acc@1")]
    assert (first.of_baseline("acc1").mean, first.of_baseline("acc1").n) == (88.0, 1)
    assert second.of_baseline("acc1") is None
