"""Rows that the report takes for one run under several names compose to one identity, at every budget."""

import itertools

import pytest
import yaml

from assimilate.pages.tables import read_tables
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.known_keys import EXPERIMENTS
from tests import paper_meaning


def _groups():
    """Names of one run: a row that has others, and those that its tables say are it."""
    found = {}
    for table in read_tables(EXPERIMENTS, [])[0]:
        for name, first in table.layout.same_run_as.items():
            found.setdefault(first, [first]).append(f"{table.group}/{name}")
    return list(found.values())


SAME_RUNS = _groups()


def datasets(row):
    return list(yaml.safe_load((EXPERIMENTS / f"{row}.yaml").read_text())["paper"])


def test_they_are_those_of_equal_identity():
    """`test_every_row` composes every cell and finds the same groups, typed in `tests/paper_meaning`."""
    ours = {
        frozenset((*row.split("/"), dataset) for row in group if dataset in datasets(row))
        for group in SAME_RUNS
        for dataset in ("cifar10", "cifar100", "tinyimagenet")
    }
    assert {cells for cells in ours if len(cells) > 1} == {
        frozenset(map(tuple, cells)) for cells in paper_meaning.SAME_RUNS
    }


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["smoke", "short"])
@pytest.mark.parametrize("group", SAME_RUNS, ids=lambda group: group[0])
def test_at_a_smaller_budget_they_are_one_run_too(group, budget):
    found = {}
    for row, dataset in itertools.product(group, ("cifar10", "cifar100")):
        if dataset in datasets(row):
            words = [f"+{row.replace('/', '=')}", f"dataset={dataset}", f"budget={budget}"]
            found.setdefault(dataset, []).append(make_job("train", compose(words), words).identity)
    assert max(map(len, found.values())) > 1
    for identities in found.values():
        assert all(other == identities[0] for other in identities)


def test_a_long_name_ends_with_a_whole_word():
    """A folder that ends with num_steps=15 held a run with num_steps=150."""
    words = ["generator.num_steps=150", "inversion.num_steps=150", "inversion.optimization.num_steps=15", "epochs=3"]
    name = make_job("train", compose(words), words).run_dir.parents[1].name
    assert name.rpartition("-")[0] == "epochs=3,generator.num_steps=150,inversion.num_steps=150"
