"""The lines of a plan: what is cheaper at each budget, and which jobs share what."""

import pytest

from assimilate.jobs.plan import Planned, faster_than, plan_of_all, ranges


@pytest.mark.parametrize(
    ("budget", "quicker"),
    [
        ("paper", "budget=short or budget=cpu recipe=narrow or budget=smoke"),
        ("short", "budget=cpu recipe=narrow or budget=smoke"),
        ("cpu", "budget=smoke"),
        ("smoke", ""),
        ("one_of_my_own", "budget=short or budget=cpu recipe=narrow or budget=smoke"),
    ],
)
def test_only_cheaper_budgets_are_offered(budget, quicker):
    assert faster_than(budget) == quicker
    (*_, told, _) = plan_of_all({1: [Planned("views/a", "a", "make it", "this CPU", 1.0, 1.0)]}, budget)
    assert (f"  faster: {quicker}" in told) == bool(quicker)


def test_jobs_in_sequence_are_one_range():
    assert ranges([1]) == "1"
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    shared, own = Planned("f", "f", "train f", "a GPU", 1.0), Planned("v", "v", "make v", "a GPU", 1.0)
    lines = plan_of_all({1: [shared], 2: [shared, own], 3: [own], 4: []}, "smoke")
    assert "for jobs 1-2   train f" in lines[0]
    assert "for jobs 2-3   make v" in lines[1]
