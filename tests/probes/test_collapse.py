"""Floors, collapsed features and losses that tell nothing: closed forms, and both sides of each threshold."""

import math

import numpy as np
import pytest
import torch

from assimilate.assimilation.loss import FullNTXent, InfoNCE, NTXent, SimSiamLoss, ViewmakerLoss
from assimilate.assimilation.step import Trained
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.probes.collapse import collapse, some, spread_of
from assimilate.probes.floors import commonest_class


def test_the_floor_is_the_best_constant_answer():
    labels = np.repeat(np.arange(7), [10, 1, 2, 3, 4, 0, 5])
    best = max(100 * float(np.mean(labels == answer)) for answer in range(7))
    five = 100 * float(np.mean(np.isin(labels, [0, 6, 4, 3, 2])))
    assert commonest_class(labels, ["acc1", "acc5", "knn5"]) == pytest.approx(
        {"acc1": best, "acc5": five, "knn5": best}
    )


def test_spread_equals_the_mean_cosine_and_rank_counts_equal_directions():
    vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosine = sum(float(unit[i] @ unit[j]) for i in range(50) for j in range(50)) / 2500
    assert spread_of(vectors)["spread"] == pytest.approx(math.sqrt(1 - cosine))
    corners = torch.cat([torch.eye(4), -torch.eye(4)])
    assert spread_of(corners) == pytest.approx({"spread": 1.0, "effective_rank": 4.0})
    assert spread_of(torch.ones(9, 4)) == pytest.approx({"spread": 0.0, "effective_rank": 0.0}, abs=1e-6)
    assert len(some(torch.zeros(10_001, 1))) <= 4096


def test_collapsed_features_are_noted_and_a_random_network_s_are_not():
    encoder = Encoder.from_spec(EncoderSpec(width=8, hidden_dim=16, output_dim=16)).eval()
    with torch.no_grad():
        images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        features = encoder.features(images)
        ordinary = {"features": spread_of(features), "untrained": spread_of(features)}
        ordinary["projections"] = spread_of(encoder.projector(features))
    assert collapse(ordinary) == []
    same = spread_of(features[:1] + 1e-5 * torch.randn(64, features.shape[1]))
    (note,) = collapse({**ordinary, "projections": same})
    assert note.startswith("The projections of different images are nearly the same")
    line = spread_of(torch.outer(torch.linspace(-1, 1, 64), torch.ones(8)) + torch.tensor([1.0] + [0.0] * 7))
    wide = {"spread": 0.2, "effective_rank": 9.0}
    assert "nearly on a line" in collapse({"features": line, "untrained": wide})[0]
    assert collapse({"features": line, "untrained": line}) == []  # the images themselves lie on one


@pytest.mark.parametrize("num_views", [2, 3])
def test_what_embeddings_that_tell_nothing_have(num_views):
    n, views = 12, list(torch.eye(12 * num_views).chunk(num_views))  # all orthogonal
    for kind in (InfoNCE, NTXent, FullNTXent, ViewmakerLoss):
        loss = kind(temperature=0.2)
        expected = float(loss.base(views[:2] if loss.aligns else views))
        assert loss.uninformed(batch_size=n, num_views=num_views) == pytest.approx(expected, abs=1e-5)
    assert ViewmakerLoss(temperature=1e-3).uninformed(batch_size=n, num_views=2) == pytest.approx(1000 - math.log(24))
    assert SimSiamLoss().uninformed(batch_size=n, num_views=num_views) == 0


def test_an_encoder_that_tells_images_apart_against_a_viewmaker_is_not_called_untaught():
    """Views of an image that are half as close as they could be have a loss above that of a collapsed network."""
    loss = ViewmakerLoss(temperature=0.07)
    first = torch.eye(32)[:16]
    second = 0.5 * first + 0.75**0.5 * torch.eye(32)[16:]
    half_as_close = float(loss.base([first, second]))
    collapsed = float(loss.base([torch.ones(16, 32)] * 2))
    assert collapsed < half_as_close < loss.uninformed(batch_size=16, num_views=2) - 1


@pytest.mark.parametrize("base", [None, 0.07])
@pytest.mark.parametrize("kind", [InfoNCE, NTXent])
def test_a_loss_that_ends_where_it_tells_nothing_is_noted(tmp_path, kind, base):
    spec = kind(temperature=0.5, base_temperature=base)
    step = Trained.model_construct(loss=spec, slots=("a", "b"), batch_size=8, drop_last=False)

    def ends_at(loss, steps=60):
        (tmp_path / "history.csv").write_text(f"epoch,step,loss\n1,{steps},{loss}\n")
        return step.doubts(tmp_path, 20)  # batches of 8, 8 and 4

    collapsed = [float(spec.scale * spec.base([torch.ones(size, 3)] * 2)) for size in (8, 8, 4)]
    assert "nothing was learned" in ends_at(sum(collapsed) / 3)[0]
    assert ends_at(sum(collapsed) / 3 + 1)
    assert ends_at(0.98 * sum(collapsed) / 3) == []
    assert ends_at(sum(collapsed) / 3, steps=40) == []  # a smoke run has hardly begun
