"""What a probe measures of one encoder, and of a random network beside it."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays, ImageDataset
from assimilate.encoder.encoder import Encoder
from assimilate.graph.place import Progress
from assimilate.probes.collapse import some, spread_of
from assimilate.probes.features import extract_features, finite_features, freeze, staying_frozen
from assimilate.probes.metric import DivergedError, Metric, Reading, Seen, summary


def measure_encoder(
    encoder: Encoder,
    dataset: ImageDataset,
    *,
    clean: Augmentation,
    metrics: Mapping[str, Metric],
    of_untrained: Mapping[str, Metric],
    init_seed: int | None,
    device: str,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the metrics say of an encoder, and some of them of a random network.

    A metric that diverges leaves its numbers under `diverged`, with the reason, and the others as they are: they were
    measured, and the same command would end the same. So does a number that is not finite.

    Args:
        encoder: the network, with its normalisation.
        dataset: labelled images, of training and test.
        clean: what is done to an image whose features are measured.
        metrics: by name.
        of_untrained: those of the random network.
        init_seed: from which its parameters were drawn; None: it is untrained itself.
        device: "cpu" or "cuda".
        progress: hears of a metric's epochs.

    Returns:
        metrics, protocols, untrained and diverged; and how far the features differ (`spread_of`), by what they are of.

    Raises:
        ValueError: the encoder's features are not finite, or a metric says why it cannot be measured.
    """
    train, test, mean, std = dataset.train, dataset.test, encoder.mean, encoder.std
    assert test is not None
    labels = {"bank_labels": torch.as_tensor(train.labels), "labels": torch.as_tensor(test.labels)}

    def seen(network: Encoder) -> Seen:
        def features(arrays: ImageArrays) -> torch.Tensor:
            return finite_features(extract_features(network, arrays, mean=mean, std=std, transform=clean))

        return Seen(network, dataset, features(train), features(test), **labels, progress=progress)

    freeze(encoder.to(device))
    floors: dict[str, Reading] = {}
    spread = {}
    if init_seed is not None:
        fresh = Encoder.from_spec(encoder.spec, init_seed=init_seed)
        fresh.mean, fresh.std = mean, std
        untrained = seen(freeze(fresh.to(device)))
        spread["untrained"] = spread_of(some(untrained.bank))
        for name, metric in of_untrained.items():
            readings = metric.readings(name, untrained)
            floors |= {key: reading for key, reading in readings.items() if key not in _not_finite(readings)}
    found: dict[str, Reading] = {}
    diverged: dict[str, str] = {}
    with staying_frozen(encoder):
        trained = seen(encoder)
        spread["features"] = spread_of(some(trained.bank))
        if encoder.projects:
            with torch.no_grad():
                spread["projections"] = spread_of(encoder.projector(some(trained.bank)))
        for name, metric in metrics.items():
            try:
                found |= metric.readings(name, trained)
            except DivergedError as error:
                diverged |= dict.fromkeys(metric.names(name, len(dataset.class_names)), str(error))
    not_finite = _not_finite(found)
    diverged |= not_finite
    found = {key: reading for key, reading in found.items() if key not in not_finite}
    measured = {
        "metrics": {name: summary(reading.values) for name, reading in found.items()},
        "protocols": {name: reading.label for name, reading in found.items() if reading.label},
        "spread_over": "probe seeds of one training run",
        "untrained": {name: reading.values[0] for name, reading in floors.items()},
        **({"diverged": diverged} if diverged else {}),
    }
    return measured, spread


def _not_finite(readings: Mapping[str, Reading]) -> dict[str, str]:
    """Readings that are no numbers, and what is said of them."""
    return {
        name: f"{name} is not finite: {', '.join(f'{value:.4g}' for value in reading.values)}"
        for name, reading in readings.items()
        if not all(map(math.isfinite, reading.values))
    }
