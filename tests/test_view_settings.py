"""Settings of views that cannot be: said by name before anything is built."""

import pytest

from assimilate.errors import UserError
from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe


@pytest.fixture(scope="module", autouse=True)
def one_loader():
    with hydra_ready():
        yield


def job_of(*overrides, stage="train"):
    return make_job(stage, compose(overrides), overrides)


def refused(message, *overrides, stage="train"):
    with pytest.raises(UserError, match=message) as caught:
        job_of(*overrides, stage=stage)
    assert "\n" not in str(caught.value)


CIFAR = "dataset=cifar10"
THREE = ("assim.view1=generated", "assim.view2=generated", "assim.view3=generated")


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        (["view=wsearch", "view.solver=gradient"], "steps"),
        (["view=wsearch", "view.solver=ray"], "forward passes an image"),
        (["view=wperturb", "view.sigma=auto"], "forward passes an image"),
        (["view=wperturb", "view.sigma=0.1"], "steps"),
    ],
)
def test_what_a_page_calls_the_steps_of_a_view_is_what_it_takes(words, counted):
    at_one_distance = ["view.epsilon1=0.3"] if "0.1" not in words[1] else []
    view = Recipe(job_of(CIFAR, *words, *at_one_distance).config).view
    assert view.counted(None) == counted


@pytest.mark.parametrize("view", ["wsearch", "wperturb", "wmix"])
def test_more_views_in_a_step_than_are_cached(view):
    refused(r"view\.n_sampled=9 exceeds view\.n_cached=8", CIFAR, f"view={view}", "view.n_sampled=9")
    refused(
        r"3 generated views are in a step \(generated, generated, generated\), which exceeds view\.n_cached=2",
        *(CIFAR, f"view={view}", "view.n_cached=2", *THREE),
    )
    job_of(CIFAR, f"view={view}", "view.n_cached=3", *THREE)
    job_of(CIFAR, f"view={view}", "view.n_sampled=8")


def test_views_drawn_anew_are_as_many_as_one_likes():
    job_of(CIFAR, "view=wperturb", "view.cached=false", "view.n_sampled=9")
    job_of(CIFAR, "view=expert", "view.n_sampled=3", "budget=smoke")


@pytest.mark.parametrize("view", ["viewmaker", "online", "basic", "crop50", "expert", "original"])
def test_views_that_are_not_replaced_by_chance(view):
    message = rf"assim\.probability(=0\.5 cannot be used with view={view}| would be ignored: view={view} is drawn anew)"
    refused(message, f"view={view}", "assim=a1", "assim.probability=0.5")
    job_of(f"view={view}", "assim=a1")


def test_a_probability_holds_for_cached_and_fresh_views():
    for words in (["view=wsearch"], ["view=wperturb", "view.cached=false"], ["view=expert", "view.cached=true"]):
        job_of(*words, "assim=a1", "assim.probability=0.5")


@pytest.mark.parametrize("key", ["epsilon1", "epsilon2"])
def test_online_search_measures_nothing(key):
    refused(
        rf"view\.{key}=auto cannot be used with view=online", "view=online", "view.objective=eq3", f"view.{key}=auto"
    )


def test_an_objective_reads_its_own_settings():
    for setting in ("epsilon1=0.2", "epsilon2=0.2", "lambda=0.1", "hinge=view"):
        refused(r"would be ignored: view\.objective=cosine does not read it", "view=online", f"view.{setting}")
        job_of("view=online", "view.objective=eq3", f"view.{setting}")
        job_of("view=wsearch", f"view.{setting}")
    refused(r"view\.threshold would be ignored", "view=online", "view.objective=eq3", "view.threshold=0.1")
    job_of("view=online", "view.threshold=0.1")


def test_online_rays_measure_epsilon1():
    rays = ("view=online", "view.solver=ray")
    job_of(*rays, "view.passes=3", "view.measure_every=10")
    refused(r"would be ignored: view\.solver=ray does not read it", *rays, "view.epsilon1=0.2")
    refused(r"would be ignored: view\.solver=gradient does not read it", "view=online", "view.passes=3")


def test_an_encoder_that_nothing_looks_through():
    refused(r"view\.encoder\.checkpoint would be ignored", "view=online", "view.encoder.checkpoint=f.pt")


def test_a_share_of_nothing():
    refused(
        r"view\.search\.tolerance_relative=0\.04 cannot be used with view\.epsilon1=0, .*tolerance=0\.001",
        "view.epsilon1=0",
    )
    job_of("view.epsilon1=0", "view.search.tolerance_relative=null", "view.search.tolerance=0.001")
    job_of(CIFAR, "view.epsilon1=0")


@pytest.mark.parametrize("words", [("dataset.image_size=18",), ("data.crop_size=14",), ("data.crop_size=4",)])
def test_sides_that_a_viewmaker_cannot_halve_twice(words):
    refused(rf"{words[0]} cannot be used with view=viewmaker, .* a multiple of 4, at least 8", "view=viewmaker", *words)


def test_codes_that_the_generator_has_not():
    refused(r"view\.split=7: the generator has 6 codes", "view=wmix", "view.split=7")
    job_of("view=wmix", "view.split=6")
    refused(r"has 2 numbers, but the generator has 8 codes", CIFAR, "view=wperturb", "view.sigma=[0.1,0.2]")
    job_of(CIFAR, "view=wperturb", "view.sigma=[0,0,0,0,0.1,0.1,0.1,0.1]")


@pytest.mark.parametrize(("view", "key"), [("wperturb", "sigma"), ("wmix", "strength")])
def test_strengths_that_are_found(view, key):
    auto = (f"view={view}", f"view.{key}=auto")
    job_of(CIFAR, *auto, "view.epsilon1=0.3", "view.encoder.seed=1")
    refused(rf"view\.{key}=auto cannot be used with view\.cached=false", CIFAR, *auto, "view.cached=false")
    refused(rf"view\.epsilon1=0 cannot be used with view\.{key}=auto", CIFAR, *auto, "view.epsilon1=0")
    for given in ("epsilon1=0.3", "passes=3", "tolerance=0.1"):
        refused(rf"would be ignored: view\.{key}=auto alone looks through f", CIFAR, f"view={view}", f"view.{given}")


@pytest.mark.parametrize("key", ["verify", "preview"])
@pytest.mark.parametrize("stage", ["train", "invert", "evaluate"])
def test_only_make_views_looks_at_a_cache(key, stage):
    refused(rf"{key}=true would be ignored: only assimilate\.make_views", f"{key}=true", stage=stage)
    job_of(f"{key}=true", stage="make_views")


def test_what_make_views_cannot_do_at_once():
    refused("verify=true and shard=1/2 exclude each other", "verify=true", "shard=1/2", stage="make_views")
    refused("shard=1/2 and preview=true exclude each other", "preview=true", "shard=1/2", stage="make_views")
    refused("verify=true and force=true exclude each other", "verify=true", "force=true", stage="make_views")
    job_of("preview=true", "force=true", stage="make_views")
