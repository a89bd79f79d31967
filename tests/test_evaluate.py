"""What the evaluation says of its protocol, and what kNN is shown."""

import numpy as np
import pytest
import torch

from assimilate.probes.step import Probe
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe


def test_a_label_mentions_only_what_the_probe_does():
    given = {"num_epochs": None, "batch_size": None, "lr": 0.5, "num_draws": 8, "flip": 0.0}
    changed = ["lr 0.5", "no flips", "the epochs take turns with 8 augmentation draws"]
    assert Probe.model_construct(name="essl", **given).departures == changed
    # A probe on un-augmented features flips nothing and draws nothing, whatever the data set or the recipe says.
    assert Probe.model_construct(name="essl_as_coded", **given).departures == ["lr 0.5"]


@pytest.mark.parametrize(("crop_size", "margin"), [(112, 8), (None, 0)])
def test_knn_sees_what_the_encoder_was_trained_to_see(crop_size, margin):
    crop = [] if crop_size else ["data.crop_size=null"]
    overrides = ("dataset=imagenet", "assim=simclr", *crop)
    config = make_job("train", compose(overrides), overrides).config
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 128, 128), dtype=np.uint8))
    probe = Recipe(config).probe
    assert probe.whole_images == probe.encoder.whole_images
    views = probe.whole_images.augmentation()(images, torch.Generator())
    assert torch.equal(views, images[..., margin : 128 - margin, margin : 128 - margin] / 255)
