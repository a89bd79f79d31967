"""Row files are read without composing them, and every one of them has its place in a table."""

import re

import pytest

from assimilate.known_keys import EXPERIMENTS
from assimilate.tables.numbers import PaperNumber
from assimilate.tables.paper_rows import parse_row
from assimilate.tables.paper_tables import TABLES

ROW = """\
# @package _global_
# python -m assimilate.train +table9=x dataset=cifar10
defaults:
  - override /assim: a2
row: table9/x
paper:
  cifar10: {acc1: 92.90, knn5: 90.0}
  cifar100: {acc1: {mean: 92.898, std: 0.045}}
"""


def test_numbers_keep_their_digits():
    row = parse_row(ROW, table="table9", name="x")
    assert row.key == "table9/x"
    assert row.numbers["cifar10"] == {"acc1": PaperNumber("92.90"), "knn5": PaperNumber("90.0")}
    assert row.numbers["cifar100"]["acc1"] == PaperNumber("92.898", "0.045")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("row: table9/x", "row: table9/y"), "its place says table9/x"),
        (("92.90", "about 93"), "neither a number"),
        (("{acc1: 92.90, knn5: 90.0}", "92.90"), "no mapping of metrics"),
        (("mean: 92.898, ", ""), "neither a number"),
        (("row:", "row: ["), "no YAML"),
    ],
)
def test_a_row_file_that_is_wrong_says_how(change, message):
    with pytest.raises(ValueError, match=message):
        parse_row(ROW.replace(*change), table="table9", name="x")


def test_every_row_file_has_labels_and_a_place():
    listed = {(table.group, name) for table in TABLES for name in table.rows}
    files = {(path.parent.name, path.stem) for path in EXPERIMENTS.glob("*/*.yaml")}
    assert files == listed
    for table in TABLES:
        assert all(len(labels) == len(table.columns) for labels in table.rows.values())
        assert len(set(table.rows.values())) == len(table.rows)


def test_rows_stand_in_the_order_that_their_files_say():
    """The order was typed twice, by different hands: in the tables, and in the second line of each file."""
    for table in TABLES:
        numbers = []
        for name in table.rows:
            found = re.search(r"row (\d+)", (EXPERIMENTS / table.group / f"{name}.yaml").read_text())
            assert found, name
            numbers.append(int(found.group(1)))
        assert numbers == list(range(1, len(numbers) + 1)), table.group


def test_every_row_is_read_as_the_file_prints_it():
    for path in EXPERIMENTS.glob("*/*.yaml"):
        row = parse_row(path.read_text(), table=path.parent.name, name=path.stem)
        numbers = [number for metrics in row.numbers.values() for number in metrics.values()]
        assert numbers
        for number in numbers:
            assert re.search(rf"{re.escape(number.mean)}\b", path.read_text())
