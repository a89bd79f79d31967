"""What is measured of an encoder, by metrics from outside."""

import math

import numpy as np
import pytest
import torch

from assimilate.data.images import ImageArrays, ImageDataset
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.graph.place import silent
from assimilate.probes.measuring import measure_encoder
from assimilate.probes.metric import Metric


class Several(Metric):
    """Two numbers, of which one need not be any."""

    second: float

    def measure(self, seen):
        return {"first": 1.0, "second": self.second}


def images(count):
    rng = np.random.default_rng(count)
    return ImageArrays(rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), np.arange(count) % 2)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_number_that_is_not_finite_is_left_out_and_told_and_the_others_stay(value):
    encoder = Encoder.from_spec(EncoderSpec(width=4, hidden_dim=8, output_dim=8), init_seed=0)
    dataset = ImageDataset("made-up", images(16), images(6), ("a", "b"), "f", (0.5,) * 3, (0.25,) * 3, (), None)
    metrics = {"mine": Several(second=value), "other": Several(second=2.0)}
    measured, _ = measure_encoder(
        encoder, dataset, clean=lambda images, rng: images.float() / 255, metrics=metrics, of_untrained=metrics,
        init_seed=0, device="cpu", progress=silent,
    )  # fmt: skip
    kept = {"mine_first", "other_first", "other_second"}
    assert set(measured["metrics"]) == set(measured["untrained"]) == set(measured["protocols"]) == kept
    assert measured["diverged"] == {"mine_second": f"mine_second is not finite: {value:.4g}"}
    assert torch.tensor([each["mean"] for each in measured["metrics"].values()]).isfinite().all()
