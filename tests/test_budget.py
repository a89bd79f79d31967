"""What a budget lowers, and that a step's views can still be drawn."""

import pytest

from assimilate.config import compose, make_job
from assimilate.errors import UserError
from assimilate.settings.budget import apply_budget
from assimilate.settings.identity import run_identity


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


GENERATED = ["assim.view1=generated", "assim.view2=generated"]


@pytest.mark.parametrize(
    ("overrides", "n_cached", "n_used", "n_sampled"),
    [
        ([], 2, None, 1),
        (["view.n_sampled=4"], 2, None, 2),
        (GENERATED, 3, None, 1),
        ([*GENERATED, "view.n_sampled=4"], 4, None, 2),
        (["view.n_used=4"], 2, 2, 1),
        (["view.n_used=1"], 2, 1, 1),
        (["view.n_cached=1"], 1, None, 1),
        (["view=reconstruction"], 1, None, 1),
    ],
)
def test_smoke_caches_as_many_views_as_a_step_draws(overrides, n_cached, n_used, n_sampled):
    view = job_of("dataset=cifar10", "assim=a2", "budget=smoke", *overrides).config["view"]
    assert (view["n_cached"], view.get("n_used"), view["n_sampled"]) == (n_cached, n_used, n_sampled)


def test_caps_reach_the_settings_of_f():
    config = job_of("dataset=cifar10", "recipe=simsiam", "loss=simsiam", "view_encoder=essl", "budget=smoke").config
    assert config["view"]["encoder"]["training"]["encoder"]["hidden_dim"] == config["encoder"]["hidden_dim"] == 64


def test_a_budget_without_caps_changes_nothing():
    config = job_of("dataset=cifar10").config
    before = repr(config)
    assert apply_budget(config) == []
    assert repr(config) == before


# ------------------------------------------------------------------------------------------------ parts of a cache


def test_a_part_of_a_cache_is_another_run_unless_it_is_all_of_it():
    whole = run_identity(job_of("dataset=cifar10").config)
    assert run_identity(job_of("dataset=cifar10", "view.n_used=8").config) == whole
    assert run_identity(job_of("dataset=cifar10", "view.n_used=4").config) != whole
    assert "n_used" not in whole["view"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["view.n_used=9"], r"view\.n_used=9 exceeds view\.n_cached=8"),
        (["view.n_used=0"], r"view\.n_used=0 cannot be used"),
        (["view.n_used=2", "view.n_sampled=3"], r"view\.n_sampled=3 exceeds view\.n_used=2"),
        (["view.n_used=2", *GENERATED], r"exceeds view\.n_used=2"),
        (["view=wperturb", "view.cached=false", "view.n_used=2"], r"view\.n_used would be ignored"),
    ],
)
def test_parts_that_cannot_be(overrides, message):
    with pytest.raises(UserError, match=message):
        job_of("dataset=cifar10", *overrides)


def test_simclr_names_the_transform_of_generated_views_where_there_are_any():
    """Table 5; a run of two expert views is what it was."""
    words = ["dataset=cifar100", "view=wsearch", "assim=simclr", *GENERATED]
    assert job_of(*words).identity != job_of(*words, "assim.generated_transform=crop50").identity
    assert "generated_transform" not in job_of("dataset=cifar100", "assim=simclr").identity["assim"]
    with pytest.raises(UserError, match=r"assim\.generated_transform would be ignored"):
        job_of("dataset=cifar100", "assim=simclr", "assim.generated_transform=crop50")
