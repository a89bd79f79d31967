"""Tests that share a costly fixture run in one process."""

import pytest


@pytest.mark.xdist_group("groups")
def test_a_group_is_known_to_xdist(request):
    """pytest-xdist 3.8 under pytest 9.2 ignores xdist_group without a word: every such fixture is then made twice."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("not under xdist")
    assert request.node.nodeid.endswith("@groups")
