"""How row files are written, and that the rooms accept what they compose to; their values: tests/test_every_row.py."""

import re

import pytest
import yaml

from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.known_keys import EXPERIMENTS
from assimilate.run.recipe import Recipe


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


def test_rows_are_numbered_as_printed():
    for table in (path for path in EXPERIMENTS.iterdir() if path.is_dir()):
        found = [re.search(r", row (\d+),", path.read_text()).group(1) for path in table.glob("*.yaml")]
        assert sorted(map(int, found)) == list(range(1, len(found) + 1))


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
    from assimilate.encoder.encoder import EncoderSpec

    trained = Recipe(job_of(f"dataset={dataset}", f"budget={budget}").config).encoder
    trained.optimizer.schedule.check(trained.epochs)
    EncoderSpec.from_dict(trained.network.plain)
