"""ε1 against a loop over images."""

import numpy as np
import pytest
import torch

from assimilate.data.augmentation import FlipAugmentation, Identity
from assimilate.data.seeding import generator as seeded
from assimilate.views.calibration import measure_epsilon1
from tests.views.worlds import linear_embedding

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)


def test_no_transform_is_no_distance():
    measured = measure_epsilon1(linear_embedding(), IMAGES, Identity(), seed=0)
    assert measured.epsilon1 == pytest.approx(0, abs=1e-5)
    assert measured.cosine["expert1_expert2"]["mean"] == pytest.approx(1, abs=1e-6)


def test_distances_equal_a_loop():
    measured = measure_epsilon1(linear_embedding(), IMAGES, FlipAugmentation(0.5), seed=4)
    rng, embedding = seeded(4, "calibrate", 0), linear_embedding()
    flips = [FlipAugmentation(0.5).draw(9, rng) for _ in range(2)]
    expected = {"original_expert1": [], "original_expert2": [], "expert1_expert2": []}
    for index, image in enumerate(torch.from_numpy(IMAGES)):
        seen = [image] + [image.flip(-1) if flip[index] else image for flip in flips]
        original, first, second = (embedding(view[None].float() / 255 * 2 - 1)[0].double() for view in seen)
        expected["original_expert1"].append(float((original - first).norm()))
        expected["original_expert2"].append(float((original - second).norm()))
        expected["expert1_expert2"].append(float((first - second).norm()))
    for pair, values in expected.items():
        assert measured.distance[pair]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert measured.distance[pair]["std"] == pytest.approx(np.std(values), abs=1e-6)
        cosines = 1 - np.square(values) / 2
        assert measured.cosine[pair]["mean"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert measured.epsilon1 == measured.distance["original_expert1"]["mean"]
