"""Views of the image itself, arrangements that name every view, replacement with a probability, shared draws."""

import pytest

from assimilate.artifacts.chain import build_chain
from assimilate.data.dataset import Images
from assimilate.errors import UserError
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.chain_run import artifacts, run


def chain_of(tmp_path, *overrides):
    words = ["dataset=cifar10", f"out={tmp_path}", *overrides]
    job = make_job("train", compose(words), words)
    facts = Images(
        fingerprint="fingerprint", num_train=50_000, labelled=True, has_test=True, mean=(0.5,) * 3, std=(0.2,) * 3
    )
    return build_chain(job.config, tmp_path, facts)


def slots_of(artifact):
    return [slot if isinstance(slot, str) else slot.word for slot in artifact.step.slots]


@pytest.mark.parametrize("view", ["basic", "crop50", "crop70", "crop90", "expert"])
def test_transformations_of_the_image_need_nothing_generated(tmp_path, view):
    chain = chain_of(tmp_path, f"view={view}", "assim=a2")
    assert chain.generator is chain.views is chain.reference is None
    assert slots_of(chain.encoder) == ["expert", "expert", view]
    assert slots_of(chain_of(tmp_path, f"view={view}", "assim=a1").encoder) == ["expert", view]


def test_the_original_takes_the_transformation_of_generated_views(tmp_path):
    assert slots_of(chain_of(tmp_path, "view=original", "assim=a2").encoder) == ["expert", "expert", "flip"]
    cropped = chain_of(tmp_path, "view=original", "assim=a1", "assim.generated_transform=crop70")
    assert slots_of(cropped.encoder) == ["expert", "crop70"]
    with pytest.raises(UserError, match=r"assim\.generated_transform"):
        chain_of(tmp_path, "view=basic", "assim=a2", "assim.generated_transform=crop70")


def test_the_reconstruction_is_a_cache_of_one_view(tmp_path):
    chain = chain_of(tmp_path, "view=reconstruction", "assim=a2")
    assert chain.views is not None
    assert chain.views.step.n_cached == 1
    assert chain.reference is None
    assert {"generator", "latents"} <= chain.views.parents.keys()


def test_replacement_tables_name_every_view(tmp_path):
    """Table 5: W-search, W-search, basic."""
    views = ["assim.view1=generated", "assim.view2=generated", "assim.view3=basic"]
    chain = chain_of(tmp_path, "view=wsearch", "assim=a2", *views)
    assert slots_of(chain.encoder) == ["generated", "generated", "basic"]
    assert chain.encoder.name == "a2-wsearch"
    views = ["assim.view1=basic", "assim.view2=basic", "assim.view3=basic"]
    assert chain_of(tmp_path, "assim=a2", *views).encoder.name == "a2-basic-basic-basic"


def test_a_probability_is_part_of_the_encoder_unless_it_is_one(tmp_path):
    always = chain_of(tmp_path, "view=wsearch", "assim=a1").encoder
    assert chain_of(tmp_path, "view=wsearch", "assim=a1", "assim.probability=1").encoder.key == always.key
    half = chain_of(tmp_path, "view=wsearch", "assim=a1", "assim.probability=0.5").encoder
    assert half.step.probability == 0.5
    assert half.key != always.key
    with pytest.raises(UserError, match=r"assim\.probability=0 cannot be used"):
        chain_of(tmp_path, "view=wsearch", "assim=a1", "assim.probability=0")


def test_shared_draws_are_another_cache(tmp_path):
    cached = ["view=expert", "view.cached=true", "assim=a2"]
    independent, shared = (chain_of(tmp_path, *cached, f"view.draws={draws}") for draws in ("independent", "shared"))
    assert independent.views.key != shared.views.key
    with pytest.raises(UserError, match=r"view\.draw_batch"):
        chain_of(tmp_path, *cached, "view.draw_batch=16")


@pytest.mark.xdist_group("views")
def test_they_train(copy):
    from assimilate import train

    for overrides in (
        ["view=original"],
        ["view=reconstruction"],
        ["view=wsearch", "assim=a1", "assim.probability=0.5"],
        ["view=expert", "view.cached=true", "view.draws=shared", "view.draw_batch=16"],
    ):
        assert run(train, *overrides, "knn.every_n_epochs=0", f"out={copy}") == 0
    assert {path.name.split("-")[0] for path in artifacts(copy, "views")} == {"wsearch", "reconstruction", "expert"}
