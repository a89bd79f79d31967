"""What a probe measures of one encoder: neighbours, linear accuracy, and its untrained counterpart."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays, ImageDataset
from assimilate.encoder.encoder import Encoder
from assimilate.graph.progress import Progress
from assimilate.probes.collapse import some, spread_of
from assimilate.probes.features import extract_features, finite_features, freeze, staying_frozen
from assimilate.probes.knn import knn_metrics
from assimilate.probes.linear import DivergedError, linear_probe

CURVE_LABEL = "5-NN, majority vote, cosine, backbone features, un-augmented"
# What metrics.json calls what the kNN computes.
NAMES = {"knn5_cosine": "knn5", "knn5_euclidean": "knn5_euclidean", "knn200_weighted": "knn200"}


def measure_encoder(
    encoder: Encoder,
    dataset: ImageDataset,
    *,
    clean: Augmentation,
    neighbours: Sequence[int],
    init_seed: int,
    device: str,
    linear: Mapping[str, Any],
    departures: Sequence[str],
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Linear-probe and kNN accuracies of an encoder, and the kNN accuracies of its random initialisation.

    A linear probe that diverges leaves its metrics under `diverged`, with the reason, and the others as they are: they
    were measured, and the same command would end the same.

    Args:
        encoder: the network, with its normalisation.
        dataset: labelled images, of training and test.
        clean: what is done to an image that kNN sees.
        neighbours: further k of the kNN.
        init_seed: from which its parameters were drawn.
        device: "cpu" or "cuda".
        linear: the settings of the linear probe.
        departures: what it does otherwise than its protocol, for its label.
        progress: hears of its epochs.

    Returns:
        metrics, protocols, untrained and diverged; and how far the features differ (`spread_of`), by what they are of.

    Raises:
        ValueError: the encoder's features are not finite.
    """
    train, test, mean, std = dataset.train, dataset.test, encoder.mean, encoder.std
    assert test is not None
    train_y, test_y = torch.as_tensor(train.labels), torch.as_tensor(test.labels)
    freeze(encoder.to(device))

    def features_of(network: Encoder, arrays: ImageArrays) -> Tensor:
        return finite_features(extract_features(network, arrays, mean=mean, std=std, transform=clean))

    def knn(bank: Tensor, queries: Tensor, further: Sequence[int] = ()) -> dict[str, float]:
        return knn_metrics(bank, train_y, queries, test_y, k=min(5, len(train_y)), further=further)

    fresh = Encoder.from_spec(encoder.spec, init_seed=init_seed)
    freeze(fresh.to(device))
    untrained_bank = features_of(fresh, train)
    untrained = knn(untrained_bank, features_of(fresh, test))
    with staying_frozen(encoder):
        bank = features_of(encoder, train)
        found = knn(bank, features_of(encoder, test), neighbours)
        spread = {"features": spread_of(some(bank)), "untrained": spread_of(some(untrained_bank))}
        if encoder.spec.projector != "none":
            with torch.no_grad():
                spread["projections"] = spread_of(encoder.projector(some(bank)))
        metrics: dict[str, Any] = {}
        labels: dict[str, str] = {}
        diverged: dict[str, str] = {}
        here = f" (here: {', '.join(departures)})" if departures else ""
        num_classes = len(dataset.class_names)
        try:
            probe = linear_probe(
                encoder, train, test, mean=mean, std=std, num_classes=num_classes, progress=progress, **linear
            )
            metrics |= probe.summary()
            labels |= {metric: label + here for metric, label in probe.labels.items()}
        except DivergedError as error:
            diverged = dict.fromkeys(("acc1", "acc5") if num_classes > 5 else ("acc1",), str(error))
    names = {f"knn{k}_cosine": f"knn{k}" for k in neighbours} | NAMES
    for name, value in found.items():
        metrics[names.get(name, name)] = {"mean": value, "std": 0.0, "n": 1, "values": [value]}
    protocols = {
        **{f"knn{k}": f"{k}-NN, majority vote, cosine, backbone features, un-augmented" for k in neighbours},
        **labels,
        "knn5": CURVE_LABEL,
        "knn5_euclidean": "5-NN, majority vote, Euclidean, un-normalised backbone features",
        "knn200": "200-NN, cosine, weight exp(s/.1): what the E-SSL code calls kNN",
    }
    measured = {
        "metrics": metrics,
        "protocols": {name: label for name, label in protocols.items() if name in metrics},
        "spread_over": "probe seeds of one training run",
        "untrained": {names.get(name, name): value for name, value in untrained.items()},
        **({"diverged": diverged} if diverged else {}),
    }
    return measured, spread
