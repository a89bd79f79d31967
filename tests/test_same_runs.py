"""Rows that the report takes for one run under several names compose to one identity, at every budget."""

import itertools

import pytest
import yaml

from assimilate.composing import compose
from assimilate.config import make_job
from assimilate.known_keys import EXPERIMENTS
from assimilate.tables.paper_tables import SAME_RUNS, same_runs
from tests import paper_tables


def datasets(row):
    return list(yaml.safe_load((EXPERIMENTS / f"{row}.yaml").read_text())["paper"])


def test_they_are_those_of_equal_identity():
    """`test_every_row` composes every cell and finds the same groups, typed in `tests/paper_tables`."""
    ours = {
        frozenset((*row.split("/"), dataset) for row in group if dataset in datasets(row))
        for group in SAME_RUNS
        for dataset in ("cifar10", "cifar100", "tinyimagenet")
    }
    assert {cells for cells in ours if len(cells) > 1} == {
        frozenset(map(tuple, cells)) for cells in paper_tables.SAME_RUNS
    }


def test_a_row_has_the_other_names_of_its_run():
    assert same_runs("table14/epsilon1_01") == ("table13/epsilon1_01",)
    assert same_runs("table14/epsilon1_02") == ()


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
