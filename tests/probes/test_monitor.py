from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from assimilate.assimilation.contrastive import SimCLR
from assimilate.assimilation.fit import fit
from assimilate.assimilation.loss import InfoNCE
from assimilate.assimilation.optimizers import SGD, Constant
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.probes.features import extract_features, freeze
from assimilate.probes.knn import knn_accuracy
from assimilate.probes.monitor import KNNMonitor

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def labelled_images(count: int, seed: int) -> ImageArrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.int64)
    images = rng.integers(0, 150, (count, 3, 8, 8)) + 40 * labels[:, None, None, None]
    return ImageArrays(images.astype(np.uint8), labels)


TRAIN, TEST = labelled_images(24, 0), labelled_images(40, 1)


def run(workdir: Path, *callbacks: pl.Callback, max_epochs: int) -> SimCLR:
    transform = make_transform("expert", 8, flip=0.5, expert={})
    data = ContrastiveDataModule(
        TRAIN,
        mean=MEAN,
        std=STD,
        slots=[ViewSlot("image", transform)] * 2,
        batch_size=12,
        seed=0,
        view_source=None,
        drop_last=True,
    )
    module = SimCLR(
        encoder={"width": 2, "hidden_dim": 8, "output_dim": 8},
        loss=InfoNCE(temperature=0.5),
        optimizer=SGD(lr=0.05, momentum=0.9, weight_decay=0.0, schedule=Constant()),
        epochs=5,
        mean=MEAN,
        std=STD,
    )
    fit(module, data, max_epochs=max_epochs, workdir=workdir, accelerator="cpu", callbacks=callbacks)
    return module


@pytest.mark.parametrize("decay", [None, 0.5])
def test_the_curve_is_measured_without_a_trace_and_survives_a_resume(tmp_path: Path, decay: float | None) -> None:
    """With averaged weights, it is the curve of the average, which is the trained encoder."""

    def average() -> list[pl.Callback]:
        return [] if decay is None else [EMAWeightAveraging(decay=decay)]

    whole = KNNMonitor(TRAIN, TEST, every_n_epochs=2)
    module = run(tmp_path / "whole", whole, *average(), max_epochs=5)
    assert [epoch for epoch, _ in whole.curve] == [0, 2, 4, 5]
    unwatched = run(tmp_path / "unwatched", *average(), max_epochs=5)
    expected = unwatched.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())
    # The last point is the trained encoder's accuracy.
    encoder = freeze(module.encoder)
    bank, queries = (extract_features(encoder, arrays, mean=MEAN, std=STD) for arrays in (TRAIN, TEST))
    labels = torch.from_numpy(TRAIN.labels), torch.from_numpy(TEST.labels)
    assert whole.curve[-1][1] == knn_accuracy(bank, labels[0], queries, labels[1], k=5)
    first = KNNMonitor(TRAIN, TEST, every_n_epochs=2)
    run(tmp_path / "cut", first, *average(), max_epochs=3)
    resumed = KNNMonitor(TRAIN, TEST, every_n_epochs=2)
    run(tmp_path / "cut", resumed, *average(), max_epochs=5)
    # Stopping at epoch 3 added a point there; the others are the same.
    assert [point for point in resumed.curve if point[0] != 3] == whole.curve


def test_the_curve_is_measured_on_the_crops_that_it_is_asked_for(tmp_path: Path) -> None:
    cropped = KNNMonitor(TRAIN, TEST, every_n_epochs=2, transform=make_transform("none", 6, flip=0.0, expert={}))
    module = run(tmp_path, cropped, max_epochs=2)
    encoder, centre = freeze(module.encoder), np.s_[:, :, 1:7, 1:7]
    bank, queries = (
        extract_features(encoder, ImageArrays(arrays.images[centre], arrays.labels), mean=MEAN, std=STD)
        for arrays in (TRAIN, TEST)
    )
    labels = torch.from_numpy(TRAIN.labels), torch.from_numpy(TEST.labels)
    assert cropped.curve[-1] == (2, knn_accuracy(bank, labels[0], queries, labels[1], k=5))
