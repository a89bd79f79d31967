"""Outputs that changed under an unchanged configuration have new keys, and no others have."""

import numpy as np
import pytest

from assimilate.artifacts.chain import STAGE_VERSIONS, DataFacts, build_chain
from assimilate.artifacts.revisions import probe_revision
from assimilate.composing import compose
from assimilate.config import make_job


def revision_of_the_encoder(tmp_path, *words):
    words = ["dataset=digits", "encoder.width=16", *words]  # the digits' own is 8
    config = make_job("train", compose(words), words).config
    encoder = build_chain(config, tmp_path, DataFacts("facts", 1000, True, True)).encoder
    return encoder.stage_version - STAGE_VERSIONS["train"]


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        (["assim=simclr"], 0),
        (["assim=a2", "view=wsearch"], 1),
        (["assim=a2", "view=wsearch", "view.n_used=4"], 1),
        (["assim=a2", "view=wsearch", "view.n_used=1"], 0),
        (["assim=a2", "view=wsearch", "view.n_sampled=2"], 0),
        (["assim=a2", "view=wperturb", "view.cached=false"], 0),
        (["assim=a2", "view=wperturb", "view.cached=true"], 1),
        (["assim=a1", "view=expert", "view.cached=true"], 1),
        (["assim=a1", "view=wsearch", "assim.probability=0.5"], 1),
        (["assim=simclr", "assim.view1=generated", "assim.view2=generated", "view=wsearch"], 0),
        (["assim=simclr", "assim.view2=generated", "view=wsearch"], 1),
        (["assim=a2", "view=viewmaker"], 0),
        (["assim=a2", "view=wsearch", "accumulate_grad_batches=2"], 2),
        (["assim=simclr", "accumulate_grad_batches=2"], 1),
        (["assim=simclr", "data.crop_size=8"], 1),
        (["assim=simclr", "data.crop_size=12"], 2),
        (["assim=simclr", "encoder.width=15"], 1),
    ],
)
def test_of_an_encoder(tmp_path, words, revision):
    """One of several cached views is drawn by one number an image, where it was by one a view; the last window of
    accumulated gradients, kNN's crops, and crops of a size that is no power of two differed as well."""
    assert revision_of_the_encoder(tmp_path, *words) == revision


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        (["view=wsearch"], 1),
        (["view=wsearch", "view.search.iterations=1"], 1),
        (["view=wsearch", "view.search.iterations=0"], 0),
        (["view=wsearch", "view.anchor=original"], 0),
        (["view=wperturb", "view.cached=true"], 0),
    ],
)
def test_of_a_cache_of_views(tmp_path, words, revision):
    """The view that starts at its anchor once took no step of Adam's."""
    words = ["dataset=digits", "assim=a2", *words]
    config = make_job("train", compose(words), words).config
    views = build_chain(config, tmp_path, DataFacts("facts", 1000, True, True)).views
    assert views.stage_version - STAGE_VERSIONS["make_views"] == revision


@pytest.mark.parametrize(
    ("num_views", "words", "revision"),
    [
        (3, [], 1),
        (3, ["view.n_cached=2"], 1),
        (3, ["view.n_cached=1"], 0),
        (3, ["view.n_sampled=3"], 0),
        # Its output did not change; with another key once more, it would be trained again once more.
        (1, [], 1),
    ],
)
def test_of_an_encoder_with_external_views(tmp_path, num_views, words, revision):
    path = tmp_path / "views.npy"
    np.save(path, np.zeros((1000, num_views, 3, 16, 16), dtype=np.uint8))
    words = ["assim=a2", "view=external", f"view.path={path}", *words]
    assert revision_of_the_encoder(tmp_path, *words) == revision


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        ([], 0),
        (["probe=supcontrast"], 1),
        (["probe=genrep"], 2),
        (["dataset.image_size=24"], 1),
    ],
)
def test_of_a_probe(words, revision):
    """GenRep's crops are 7/8 of an image; others are as long as the images."""
    assert (
        probe_revision(make_job("train", compose(["dataset=cifar10", "assim=simclr", *words]), words).config)
        == revision
    )
