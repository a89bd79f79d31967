"""Row files are read without composing them, and every one of them has its place in a table."""

import re

import pytest

from assimilate.pages.numbers import PaperNumber
from assimilate.pages.tables import parse_row, read_tables
from assimilate.run.known_keys import EXPERIMENTS

ROW = """\
# @package _global_
# python -m assimilate.train +table9=x dataset=cifar10 generator.checkpoint=g.pt
# Table 9, row 1: paper 92.90.
# What else there is to say.
defaults:
  - override /assim: a2
row: table9/x
paper:
  cifar10: {acc1: 92.90, knn5: 90.0}
  cifar100: {acc1: {mean: 92.898, std: 0.045}}
"""


@pytest.fixture(scope="module")
def tables():
    found, problems = read_tables(EXPERIMENTS, [])
    assert not problems
    return found


def test_numbers_keep_their_digits():
    row = parse_row(ROW, table="table9", name="x")
    assert (row.key, row.stage, row.words, row.notes) == (
        *("table9/x", "train", ("generator.checkpoint=g.pt",)),
        "What else there is to say.",
    )
    assert row.numbers["cifar10"] == {"acc1": PaperNumber("92.90"), "knn5": PaperNumber("90.0")}
    assert row.numbers["cifar100"]["acc1"] == PaperNumber("92.898", "0.045")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("row: table9/x", "row: table9/y"), "its place says table9/x"),
        (("92.90, knn5", "about 93, knn5"), "neither a number"),
        (("{acc1: 92.90, knn5: 90.0}", "92.90"), "no mapping of metrics"),
        (("mean: 92.898, ", ""), "neither a number"),
        (("row:", "row: ["), "no YAML"),
    ],
)
def test_a_row_file_that_is_wrong_says_how(change, message):
    with pytest.raises(ValueError, match=message):
        parse_row(ROW.replace(*change), table="table9", name="x")


def test_every_row_file_has_labels_and_a_place(tables):
    listed = {(table.group, name) for table in tables for name in table.layout.labels}
    files = {(path.parent.name, path.stem) for path in EXPERIMENTS.glob("*/*.yaml")}
    assert files == listed == {(row.table, row.name) for table in tables for row in table.rows}
    for table in tables:
        labels = table.layout.labels
        assert all(len(texts) == len(table.layout.columns) for texts in labels.values())
        assert len(set(labels.values())) == len(labels)
        assert {dataset for row in table.rows for dataset in row.numbers} == set(table.layout.datasets)


def test_tables_stand_in_the_papers_order(tables):
    numbers = ["1", "3", "4", "5a", "5b", "6", "7", "8", *map(str, range(11, 20))]
    assert [table.layout.number for table in tables] == numbers
    assert [table.group for table in tables] == [f"table{number}" for number in numbers]


def test_rows_stand_in_the_order_that_their_files_say(tables):
    """The order was typed twice, by different hands: in the tables, and in the second line of each file."""
    for table in tables:
        numbers = []
        for row in table.rows:
            found = re.search(r"row (\d+)", (EXPERIMENTS / f"{row.key}.yaml").read_text())
            assert found, row.key
            numbers.append(int(found.group(1)))
        assert numbers == list(range(1, len(numbers) + 1)), table.group


def test_every_row_is_read_as_the_file_prints_it(tables):
    for row in (row for table in tables for row in table.rows):
        text = (EXPERIMENTS / f"{row.key}.yaml").read_text()
        numbers = [number for metrics in row.numbers.values() for number in metrics.values()]
        assert numbers
        assert all(re.search(rf"{re.escape(number.mean)}\b", text) for number in numbers)


def test_a_users_table_stands_after_the_papers_and_is_none_of_it(tmp_path, tables):
    """What says `row:` in a folder of options is a row; the rest are options."""
    (tmp_path / "mytable").mkdir()
    (tmp_path / "view").mkdir()
    (tmp_path / "mytable" / "idea.yaml").write_text(ROW.replace("table9/x", "mytable/idea"))
    (tmp_path / "view" / "mine.yaml").write_text("name: mine\n")
    found, problems = read_tables(EXPERIMENTS, [tmp_path])
    assert not problems
    assert [table.group for table in found] == [*(table.group for table in tables), "mytable"]
    own = found[-1]
    assert (own.own, own.name, own.title, own.labels_of("idea")) == (True, "mytable", "mytable", ("idea",))
    assert own.rows[0].source == (f"--config-dir={tmp_path}",)
    (tmp_path / "mytable" / "table.toml").write_text('title = "An idea"\nlabels = {idea = ["A2"]}\n')
    own = read_tables(EXPERIMENTS, [tmp_path])[0][-1]
    assert (own.title, own.row_title("idea")) == ("mytable. An idea", "mytable: A2")
    for wrong, said in (("title = ", "is no TOML"), ("captoin = 'x'", "captoin")):
        (tmp_path / "mytable" / "table.toml").write_text(wrong)
        (problem,) = read_tables(EXPERIMENTS, [tmp_path])[1]
        assert problem.path.endswith("mytable/table.toml")
        assert said in problem.reason
