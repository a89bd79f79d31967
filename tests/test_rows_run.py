"""Rows at the smoke budget, through the commands: three typical ones here, every one of them with `make test-slow`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assimilate import train
from tests.chain_run import SMOKE, artifacts, run, stamps
from tests.paper_tables import FAKE, PAPER, numbers
from tests.stand_in_sets import write_bigbigan, write_stand_ins

TRAINED = [(table, row) for table, (_, _, rows) in PAPER.items() if table != "table1" for row in rows]


def result_of(out: Path, table: str, row: str, dataset: str, seed: int = 0) -> dict:
    return json.loads((out / "smoke" / table / row / dataset / f"seed{seed}" / "metrics.json").read_text())


def check_result(result: dict, table: str, row: str, dataset: str) -> None:
    assert (result["row"], result["dataset"], result["budget"]) == (f"{table}/{row}", dataset, "smoke")
    assert result["paper"] == (numbers(table, row).get(dataset) or {})
    printed = {metric for cell in numbers(table, row).values() for metric in cell}
    if dataset == "tinyimagenet":  # its stand-in has three classes, so nothing is among the first five
        printed -= {"acc5"}
    assert printed <= result["metrics"].keys()
    assert all(0 <= result["metrics"][metric]["mean"] <= 100 for metric in printed)


# ------------------------------------------------------------------------------------------------ typical ones


@pytest.mark.xdist_group("chain")
@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("table3", "expert_wsearch_a1"),
        ("table7", "cache1_view1"),
        ("table19", "wsearch_aug_wsearch_aug_wsearch_aug_a2_full"),
    ],
)
def test_a_row_runs_on_digits(copy, table, row, capsys):
    before = stamps(copy)
    assert run(train, f"+{table}={row}", "dataset=digits", f"out={copy}") == 0
    check_result(result_of(copy, table, row, "digits"), table, row, "digits")
    shown = capsys.readouterr().out
    assert "paper" not in shown.partition("Acc@1")[0].splitlines()[-2]  # which has no digits
    aug = "aug" in row
    counts = {kind: len(artifacts(copy, kind)) for kind in ("generators", "latents", "views", "encoders")}
    assert counts == {"generators": 1 + aug, "latents": 1 + aug, "views": 1 + aug, "encoders": 3}
    assert {path: time for path, time in stamps(copy).items() if path in before} == before


@pytest.mark.xdist_group("chain")
def test_a_row_that_is_another_run_is_not_trained(copy, capsys):
    """The finished default run is a row of Table 3 and one of Table 7: they share its encoder, probe and numbers."""
    (done,) = (json.loads(path.read_text()) for path in copy.rglob("metrics.json"))
    before = stamps(copy)
    for table, row in (("table3", "expert_expert_wsearch_a2"), ("table7", "cache8_view1")):
        assert run(train, f"+{table}={row}", "dataset=digits", f"out={copy}") == 0
        assert "built:  nothing" in capsys.readouterr().out
        result = result_of(copy, table, row, "digits")
        assert (result["metrics"], result["artifacts"]) == (done["metrics"], done["artifacts"])
        assert result["row"] == f"{table}/{row}"
    assert stamps(copy) == before


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Stand-ins of every data set, and the folder where the rows of this file are run on them."""
    root = tmp_path_factory.mktemp("stand-ins")
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_stand_ins(root, monkeypatch)
        write_bigbigan(root / "bigbigan.pth")
        yield root


@pytest.mark.xdist_group("rows")
def test_two_rows_of_one_run_keep_their_own_paper_numbers(stand_ins, tmp_path, capsys):
    for table, row in (("table3", "expert_expert_simclr"), ("table12", "simclr_baseline")):
        assert run(train, f"+{table}={row}", "dataset=cifar10", f"out={tmp_path}") == 0
        check_result(result_of(tmp_path, table, row, "cifar10"), table, row, "cifar10")
    assert capsys.readouterr().out.count("built:  nothing") == 1
    first, second = (
        result_of(tmp_path, *place, "cifar10")
        for place in (("table3", "expert_expert_simclr"), ("table12", "simclr_baseline"))
    )
    assert first["metrics"] == second["metrics"]
    assert (first["paper"], second["paper"]) == ({"acc1": 92.04}, {"acc1": 92.04, "knn5": 90.65})
    assert len(artifacts(tmp_path, "encoders")) == 1


# ------------------------------------------------------------------------------------------------ every one


@pytest.fixture(scope="module")
def digits_out(tmp_path_factory):
    return tmp_path_factory.mktemp("every-row") / "out"


@pytest.mark.slow
@pytest.mark.xdist_group("every_row")
@pytest.mark.parametrize(("table", "row"), TRAINED, ids=["/".join(names) for names in TRAINED])
def test_every_row_runs_on_digits(digits_out, table, row):
    assert run(train, f"+{table}={row}", "dataset=digits", f"out={digits_out}") == 0
    check_result(result_of(digits_out, table, row, "digits"), table, row, "digits")


@pytest.fixture(scope="module")
def stand_in_out(tmp_path_factory):
    return tmp_path_factory.mktemp("stand-in-rows") / "out"


ON_STAND_INS = [
    *((table, row, "cifar10") for table, row in (
        ("table3", "expert_wsearch_a1"), ("table3", "expert_expert_viewmaker_a2"), ("table6", "expert_a2_cached"),
        ("table6", "wperturb_a2_on_the_fly"), ("table7", "cache8_view4"), ("table12", "wsearch_simclr_a2_simsiam"),
        ("table12", "wsearch_simsiam_a2_infonce"), ("table16", "projected_sigma_02"), ("table18", "sgd"),
        ("table18", "reconstruction"),
    )),
    *((table, row, "cifar100") for table, row in (
        ("table3", "expert_expert_wsearch_a2"), ("table3", "viewmaker_viewmaker_simclr"),
        ("table5a", "wsearch_crop70_wsearch_crop70"), ("table5b", "wsearch_wsearch_basic_a2"), ("table11", "a2_full"),
        ("table17", "sigma_04"), ("table19", "basic_basic_basic_a2_full"),
        ("table19", "wsearch_aug_wsearch_aug_wsearch_aug_a2"),
    )),
    *((table, row, "tinyimagenet") for table, row in (
        ("table3", "expert_wperturb_a1"), ("table3", "expert_viewmaker_a1"), ("table8", "simclr"),
        ("table8", "wsearch_a2"),
    )),
    *(("table4", row, FAKE) for row in ("expert_expert_simclr", "expert_wperturb_a1", "expert_expert_wperturb_a2")),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("rows")
@pytest.mark.parametrize(("table", "row", "dataset"), ON_STAND_INS, ids=["/".join(cell) for cell in ON_STAND_INS])
def test_rows_run_on_stand_ins_of_their_data_sets(stand_ins, stand_in_out, table, row, dataset):
    words = [f"+{table}={row}", f"dataset={dataset}", f"out={stand_in_out}"]
    words += [f"generator.checkpoint={stand_ins / 'bigbigan.pth'}"] if dataset == FAKE else []
    assert run(train, *words) == 0
    check_result(result_of(stand_in_out, table, row, dataset), table, row, dataset)


@pytest.mark.slow
def test_a_whole_table_with_two_seeds_from_any_directory(tmp_path):
    """`-m '+table3=glob(*)' seed=0,1`: 18 jobs, and what they share is built once."""
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "assimilate.train", "-m", "+table3=glob(*)", "dataset=digits", "seed=0,1"]
    done = subprocess.run(
        [*command, *SMOKE, f"out={tmp_path / 'out'}"],
        cwd=tmp_path / "elsewhere", env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "out").rglob("metrics.json"))) == 18
    for row in PAPER["table3"][2]:
        for seed in (0, 1):
            assert result_of(tmp_path / "out", "table3", row, "digits", seed)["seed"] == seed
    counts = {kind: len(artifacts(tmp_path / "out", kind)) for kind in ("generators", "latents")}
    assert counts == {"generators": 1, "latents": 1}
    # Every row and seed, f being seed 0's SimCLR.
    assert len(artifacts(tmp_path / "out", "encoders")) == 18
