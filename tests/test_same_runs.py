"""Rows that the report takes for one run under several names compose to one identity; others do not."""

import itertools

import pytest
import yaml

from assimilate.config import EXPERIMENTS, compose, make_job
from assimilate.tables.paper_tables import SAME_RUNS, same_runs


def identity(row, dataset, budget="paper"):
    words = [f"+{row.replace('/', '=')}", f"dataset={dataset}", f"budget={budget}"]
    if dataset == "imagenet_fake":
        words.append("generator._target_=somebodys.Generator")
    return make_job("train", compose(words), words).identity


def datasets(row):
    return list(yaml.safe_load((EXPERIMENTS / f"{row}.yaml").read_text())["paper"])


@pytest.mark.parametrize("group", SAME_RUNS, ids=lambda group: group[0])
def test_the_names_of_a_run_compose_to_one_identity(group):
    compared = 0
    for budget, dataset in itertools.product(("paper", "smoke"), ("cifar10", "cifar100", "tinyimagenet")):
        found = [identity(row, dataset, budget) for row in group if dataset in datasets(row)]
        assert all(other == found[0] for other in found)
        compared += len(found) > 1
    assert compared >= 2


def test_other_names_are_not_its_own():
    assert same_runs("table14/epsilon1_01") == ("table13/epsilon1_01",)
    assert same_runs("table14/epsilon1_02") == ()


@pytest.mark.slow
def test_no_other_rows_are_one_run():
    found = {}
    rows = [f"{path.parent.name}/{path.stem}" for path in EXPERIMENTS.glob("*/*.yaml") if path.parent.name != "table1"]
    for row in rows:
        for dataset in datasets(row):
            if dataset != "imagenet_fake":
                found[row, dataset] = identity(row, dataset)
    for (one, first), (other, second) in itertools.combinations(found, 2):
        if first == second and other not in same_runs(one):
            assert found[one, first] != found[other, second], (one, other)
