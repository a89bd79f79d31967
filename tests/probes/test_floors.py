"""Floors: classifiers of raw pixels against scikit-learn's, and their bounds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from assimilate.data.images import ImageArrays, ImageDataset
from assimilate.probes import floors, pixels
from assimilate.probes.shipped import Neighbours


def images(count, seed, size=8, classes=6):
    """Noisy blobs: the class moves the mean of some pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    prototypes = np.random.default_rng(0).integers(60, 190, (classes, 3, size, size))
    noisy = prototypes[labels] + rng.normal(0, 70, (count, 3, size, size))
    return ImageArrays(np.clip(noisy, 0, 255).astype(np.uint8), labels.astype(np.int64))


def dataset(train, test, classes=6):
    names = tuple(map(str, range(classes)))
    return ImageDataset("made-up", train, test, names, "f", (0.5,) * 3, (0.25,) * 3, (), None)


def flat(arrays):
    return arrays.images.reshape(len(arrays), -1) / 255


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_regression_is_scikit_learns(strength):
    """The minimum is unique, so weights and biases agree, though ours is found in rotated and scaled coordinates."""
    train = images(120, seed=1)
    x = torch.from_numpy(flat(train))
    mean = x.mean(0)
    basis = pixels.rotation(x - mean)
    weight, bias = pixels.fit_softmax(
        (x - mean) @ basis, torch.from_numpy(train.labels), 6, strength=strength, tolerance=1e-7
    )
    other = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000).fit(x.numpy(), train.labels)
    ours = weight @ basis.T
    assert np.allclose(ours, other.coef_, atol=1e-2 * np.abs(other.coef_).max())

    def objective(coefficients, intercept):
        logits = x.numpy() @ coefficients.T + intercept
        losses = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        return strength * (losses - logits[np.arange(120), train.labels]).sum() + 0.5 * np.square(coefficients).sum()

    assert objective(ours.numpy(), (bias - mean @ ours.T).numpy()) == pytest.approx(
        objective(other.coef_, other.intercept_), rel=1e-4
    )


def test_accuracies_are_those_of_scikit_learn():
    train, test = images(150, seed=2), images(90, seed=3)
    found = pixels.measure_pixels(dataset(train, test), device="cpu")
    values = {name: value["mean"] for name, value in found["metrics"].items()}
    order = pixels.some(150, 150).numpy()
    order.sort()
    shuffled = pixels.some(150, floors.MOST_FOR_C).numpy()
    x, y = flat(train)[order][shuffled], train.labels[order][shuffled]
    folds = [(np.flatnonzero(np.arange(150) % 3 != k), np.flatnonzero(np.arange(150) % 3 == k)) for k in range(3)]
    scores = [
        cross_val_score(LogisticRegression(C=c, tol=1e-7, max_iter=5000), x, y, cv=folds).mean()
        for c in floors.STRENGTHS
    ]
    best = floors.STRENGTHS[int(np.argmax(scores))]
    assert f"C {best:g}," in found["note"]
    other = LogisticRegression(C=best, tol=1e-7, max_iter=5000).fit(flat(train), train.labels)
    assert values["acc1"] == pytest.approx(100 * other.score(flat(test), test.labels))
    five = np.argsort(-other.decision_function(flat(test)), axis=1)[:, :5]
    assert values["acc5"] == pytest.approx(100 * (five == test.labels[:, None]).any(1).mean())
    for name, metric in (("knn5", "cosine"), ("knn5_euclidean", "euclidean")):
        neighbours = KNeighborsClassifier(5, metric=metric).fit(flat(train), train.labels)
        assert values[name] == pytest.approx(100 * neighbours.score(flat(test), test.labels))
    assert "knn200" not in values  # of 150 images


def test_large_sets_and_images_are_cut_and_it_is_said(monkeypatch):
    for name, value in {"MOST_TRAIN": 60, "MOST_FOR_C": 30, "MOST_TEST": 20, "SIDE": 4}.items():
        monkeypatch.setattr(pixels, name, value)
    train, test = images(100, seed=4), images(50, seed=5)
    fitted = []
    fit = pixels.fit_softmax
    monkeypatch.setattr(pixels, "fit_softmax", lambda x, y, k, **more: fitted.append(x.shape) or fit(x, y, k, **more))
    first = pixels.measure_pixels(dataset(train, test), device="cpu")
    assert pixels.measure_pixels(dataset(train, test), device="cpu") == first
    assert "pixels of 4² (averaged)" in first["note"]
    assert "on 30 training images" in first["note"]
    assert "60 of 100 training and 20 of 50 test images" in first["note"]
    assert max(fitted) == (60, 48)
    assert {shape[0] for shape in fitted} == {20, 60}
    monkeypatch.setattr(pixels, "MOST_PRODUCTS", 48 * 6 * 40)
    assert "40 of 100 training" in pixels.measure_pixels(dataset(train, test), device="cpu")["note"]


def test_grey_images_have_a_third_of_the_directions():
    grey = np.repeat(images(50, seed=6).images[:, :1], 3, axis=1).reshape(50, -1) / 255
    x = torch.from_numpy(grey - grey.mean(0)).float()
    assert pixels.rotation(x).shape == (192, 49)  # 50 centred vectors span 49
    assert pixels.rotation(torch.zeros(5, 12)).shape[1] == 0


def test_images_of_one_class_and_of_no_difference_are_measured():
    same = ImageArrays(np.full((6, 3, 8, 8), 7, np.uint8), np.zeros(6, np.int64))
    metrics = pixels.measure_pixels(dataset(same, same, classes=1), device="cpu")["metrics"]
    assert metrics["acc1"]["mean"] == metrics["knn5"]["mean"] == 100


def test_what_is_below_and_the_last_epochs_floor():
    assert floors.below({"acc1": 90.0, "knn5": 95.0, "own": 1.0}, {"acc1": 96.4, "knn5": 95.0}) == ["acc1"]
    values = {"acc1": 96.4, "knn5": 95.0}
    assert floors.named_as(["acc1", "acc1_last", "own"], values) == {"acc1": 96.4, "acc1_last": 96.4}


def test_neighbours_of_few_images_are_accuracies_with_floors():
    few, metric = images(3, seed=7), Neighbours(further=[5, 10])
    features = torch.from_numpy(flat(few)).float()
    labels = torch.from_numpy(few.labels)
    found = metric.among(features, labels, features, labels)
    assert set(found) == {"knn3", "knn3_euclidean"}
    accuracies = metric.accuracies("knn", 6)
    assert set(found) <= set(accuracies)
    assert "knn3" not in metric.names("knn", 6)  # what an objective may be
    assert set(floors.commonest_class(few.labels, [*found])) == set(found)
    pixel = pixels.measure_pixels(dataset(few, few), device="cpu")["metrics"]
    assert set(found) <= set(pixel)
