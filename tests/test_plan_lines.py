"""The lines of a plan: what is cheaper at each budget, and which jobs share what."""

import pytest

from assimilate.jobs.plan import Planned, plan_of_all, ranges, smaller_than


@pytest.mark.parametrize(
    ("budget", "smaller"),
    [
        ("paper", "budget=short or budget=smoke"),
        ("short", "budget=smoke"),
        ("cpu", "budget=smoke"),
        ("smoke", ""),
        ("one_of_my_own", "budget=short or budget=smoke"),
    ],
)
def test_only_budgets_that_cap_more_are_offered(budget, smaller):
    assert smaller_than(budget) == smaller
    (*_, told, _) = plan_of_all({1: [Planned("views/a", "a", "make it", "this CPU", 1.0, 1.0)]}, budget)
    assert (f"  smaller: {smaller}" in told) == bool(smaller)


def test_jobs_in_sequence_are_one_range():
    assert ranges([1]) == "1"
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    shared, own = Planned("f", "f", "train f", "a GPU", 1.0), Planned("v", "v", "make v", "a GPU", 1.0)
    lines = plan_of_all({1: [shared], 2: [shared, own], 3: [own], 4: []}, "smoke")
    assert "for jobs 1-2   train f" in lines[0]
    assert "for jobs 2-3   make v" in lines[1]
