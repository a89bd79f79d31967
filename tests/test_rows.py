"""Table 3's rows: what each composes to, against numbers typed from the paper."""

import re

import pytest
import yaml

from assimilate.config import EXPERIMENTS, compose, make_job


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


# Table 3, typed from the paper: view of each slot, assimilation, and the three columns.
TABLE3 = {
    "expert_expert_simclr": (None, "simclr", 92.04, 70.41, 47.48),
    "expert_wsearch_a1": ("wsearch", "a1", 91.86, 71.69, 51.08),
    "expert_wperturb_a1": ("wperturb", "a1", 91.09, 70.83, 50.18),
    "expert_viewmaker_a1": ("viewmaker", "a1", 82.91, 41.87, 26.40),
    "viewmaker_viewmaker_simclr": ("viewmaker", "simclr", 83.59, 44.04, 40.53),
    "expert_expert_expert_a2": ("expert", "a2", 91.46, 70.76, 47.19),
    "expert_expert_wsearch_a2": ("wsearch", "a2", 92.90, 72.76, 51.05),
    "expert_expert_wperturb_a2": ("wperturb", "a2", 92.38, 72.95, 50.73),
    "expert_expert_viewmaker_a2": ("viewmaker", "a2", 80.07, 36.51, 25.30),
}
SLOTS = {
    "expert_expert_simclr": ("expert", "expert", None),
    "expert_wsearch_a1": ("expert", "generated", None),
    "expert_wperturb_a1": ("expert", "generated", None),
    "expert_viewmaker_a1": ("expert", "generated", None),
    "viewmaker_viewmaker_simclr": ("generated", "generated", None),
    "expert_expert_expert_a2": ("expert", "expert", "generated"),
    "expert_expert_wsearch_a2": ("expert", "expert", "generated"),
    "expert_expert_wperturb_a2": ("expert", "expert", "generated"),
    "expert_expert_viewmaker_a2": ("expert", "expert", "generated"),
}


TABLE10 = {
    "cifar10": {"loss": (0.07, 0.14), "lr": 0.015, "length": (200, 128), "backbone": "resnet18"},
    "cifar100": {"loss": (0.1, 0.1), "lr": 0.06, "length": (800, 512), "backbone": "resnet50"},
    "tinyimagenet": {"loss": (0.5, 0.5), "lr": 0.06, "length": (800, 128), "backbone": "resnet18"},
}


def test_rows_are_numbered_as_printed():
    for table in (path for path in EXPERIMENTS.iterdir() if path.is_dir()):
        found = [re.search(r", row (\d+),", path.read_text()).group(1) for path in table.glob("*.yaml")]
        assert sorted(map(int, found)) == list(range(1, len(found) + 1))


def test_table3_has_nine_rows():
    assert {path.stem for path in (EXPERIMENTS / "table3").glob("*.yaml")} == set(TABLE3)


@pytest.mark.parametrize("row", TABLE3)
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tinyimagenet"])
def test_rows_of_table3(row, dataset):
    view, assim, *numbers = TABLE3[row]
    config = job_of(f"+table3={row}", f"dataset={dataset}").config
    assert config["row"] == f"table3/{row}"
    assert config["dataset"]["name"] == dataset
    assert config["assim"]["name"] == assim
    assert tuple(config["assim"][f"view{slot}"] for slot in (1, 2, 3)) == SLOTS[row]
    if view is not None:
        assert config["view"]["name"] == view
    if assim != "simclr":
        assert config["assim"]["generated_transform"] == ("weak_crop" if assim == "a1" else "flip")
    base = "infonce" if dataset == "cifar10" or assim == "a2" else "ntxent"
    temperature, alpha = 0.5, 0.5
    if view == "viewmaker":  # Table 10
        base, temperature, alpha = "viewmaker", *TABLE10[dataset]["loss"]
        optimizer = {key: config["optimizer"][key] for key in ("lr", "weight_decay", "momentum", "schedule")}
        expected = {"lr": TABLE10[dataset]["lr"], "weight_decay": 1e-4, "momentum": 0.9, "schedule": "constant"}
        assert optimizer == expected
        assert (config["epochs"], config["batch_size"]) == TABLE10[dataset]["length"]
        assert (config["encoder"]["backbone"], config["encoder"]["output_dim"]) == (TABLE10[dataset]["backbone"], 128)
        assert (config["view"]["distortion_budget"], config["view"]["lr"]) == (0.05, 0.001)
    assert config["loss"]["name"] == base
    assert (config["loss"]["temperature"], config["loss"]["alpha"]) == (temperature, alpha)
    assert [config["paper"][name]["acc1"] for name in ("cifar10", "cifar100", "tinyimagenet")] == numbers


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_row_files_follow_the_grammar(path):
    lines = path.read_text().splitlines()
    row = yaml.safe_load(path.read_text())
    stage = "analyze" if path.parent.name == "table1" else "train"
    dataset = next(iter(row["paper"]))
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# python -m assimilate.{stage} +{path.parent.name}={path.stem} dataset={dataset}")
    number, letter = re.fullmatch(r"table(\d+)([ab]?)", path.parent.name).groups()
    title = number + (f"({letter})" if letter else "")
    said = re.fullmatch(
        rf'# Table {re.escape(title)}, row \d+, "(.+)": paper (.+)\. Ours: not measured yet\.', lines[2]
    )
    printed = [float(word) for word in re.findall(r"[\d.]*\d", re.sub(r"Acc@\d|5-NN", "", said.group(2)))]
    cells = [n for cell in row["paper"].values() for n in cell.values()]
    assert sorted(printed) == sorted(n for cell in cells for n in (cell.values() if isinstance(cell, dict) else [cell]))
    assert row["row"] == f"{path.parent.name}/{path.stem}"
    allowed = {"acc1", "acc5", "knn5", "mi", "inner_product"}
    assert all(set(cell) <= allowed for cell in row["paper"].values())


@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "digits"])
def test_rooms_accept_what_every_budget_composes(dataset, budget):
    from assimilate.assimilation.objective import LossSpec
    from assimilate.assimilation.schedule import OptimizerSpec
    from assimilate.encoder.encoder import EncoderSpec

    config = job_of(f"dataset={dataset}", f"budget={budget}").config
    OptimizerSpec.from_dict({**config["optimizer"], "epochs": config["epochs"]})
    LossSpec.from_dict(config["loss"])
    EncoderSpec.from_dict(config["encoder"])
