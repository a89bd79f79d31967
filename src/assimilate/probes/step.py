"""The probe of an encoder as a step."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator

from assimilate.data.transform import NoTransform
from assimilate.encoder.step import Encoder
from assimilate.graph.called import NAMED_CLASSES
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import NEUTRAL, Allowed, At, Count, Flag, From, Positive, Probability, Seed, listed
from assimilate.probes.labelled import Labelled
from assimilate.probes.metric import Metric
from assimilate.probes.protocol import PROTOCOLS, ProbeProtocol
from assimilate.probes.shipped import Linear, Neighbours

# Of a finished artifact: what it measured.
PROBED = "probe.json"
OPTIONAL = "null (the protocol's) or a whole number ≥ 1"


def _different(seeds: list[int]) -> list[int]:
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError("not different")
    return seeds


def _known(name: str) -> str:
    if name not in PROTOCOLS:
        raise ValueError("no protocol")
    return name


def _with_five(neighbours: list[int]) -> list[int]:
    if 5 not in neighbours:
        raise ValueError("no 5")
    return neighbours


class Probe(Labelled):
    """kNN and a linear classifier on the frozen features of an encoder, under one protocol.

    Attributes:
        name: the protocol. essl: as intended; essl_as_coded: without augmentation, the reference code's fault;
            supcontrast_best: the best epoch on the test set, which is optimistic and what the paper reports;
            supcontrast_last: the last one.
        seeds: seeds of the linear classifier, which is trained once with each; a run's mean ± std is over them.
        num_epochs: null: the protocol's own.
        batch_size: null: the protocol's own.
        lr: null: the protocol's own.
        augmentation_seed: seed of the augmentation, beside epoch and image.
        num_draws: null: a fresh augmentation every epoch; k: the epochs take turns with k draws, which is faster.
        draws: shared: an epoch's augmentation serves all seeds; independent: each seed draws its own, which takes n
            times as long.
        neighbours: k of the k-NN accuracies (majority vote, cosine).
        floors: measure beside it, once for all runs on the images, raw pixels and a random network of the
            encoder's architecture.
        further: measurements of your own, by names of yours, each with the `_target_` of a class and its settings.
    """

    kind: ClassVar[str] = "probes"
    stage: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "Probing"
    encoder: Encoder
    flip: Annotated[Probability, From("dataset.flip")]
    name: Annotated[str, AfterValidator(_known), Allowed(listed(list(PROTOCOLS)))]
    seeds: Annotated[
        list[Seed],
        AfterValidator(_different),
        Allowed("a list of different whole numbers from 0 to 2⁶⁴ − 1, at least one"),
    ]
    num_epochs: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    batch_size: Annotated[Count | None, Allowed(OPTIONAL)]
    lr: Annotated[Positive | None, Allowed("null (the protocol's) or a number > 0")]
    augmentation_seed: Seed
    num_draws: Annotated[Count | None, Allowed("null (new draws in every epoch) or a whole number ≥ 1")]
    draws: Literal["shared", "independent"]
    floors: Annotated[Flag, NEUTRAL] = True
    whole_images: Annotated[NoTransform, NEUTRAL, At("")]  # as kNN sees them: as large as the training's crops
    further: Annotated[dict[str, Metric], From("metrics"), Allowed(NAMED_CLASSES)] = {}  # noqa: RUF012
    neighbours: Annotated[list[Count], AfterValidator(_with_five), Allowed("a list of whole numbers ≥ 1 with 5 in it")]

    def build(self, into: Path, at: Place) -> Built:
        """Measure the encoder, and a random network beside it where it is not one itself."""
        from assimilate.probes.measuring import measure_encoder

        of_untrained = {name: metric for name, metric in self.further.items() if metric.of_untrained}
        further = of_untrained if self.encoder.init_seed is None else self.further
        with at.bar(f"Probing {self.label}") as progress:
            measured, spread = measure_encoder(
                at.load(self.encoder),
                self.images_at(at),
                clean=self.whole_images.augmentation(),
                metrics={**self.shipped, **further},
                of_untrained={"knn": Neighbours(), **of_untrained},
                init_seed=self.encoder.init_seed,
                device=at.device,
                progress=progress,
            )
        for why in dict.fromkeys(measured.get("diverged", {}).values()):
            at.say(f"warning: {why}; the other measurements are kept")
        weights = at.manifest(self.encoder)["facts"].get("weights") if self.encoder.is_stored else None
        whose = "" if weights is None else f" [{weights['text']}]"
        measured["protocols"] = {name: label + whose for name, label in measured["protocols"].items()}
        (into / PROBED).write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        means = {name: value["mean"] for name, value in measured["metrics"].items() if name in ("acc1", "knn5")}
        return Built({**means, "spread": spread})

    def load(self, folder: Path, at: Place) -> dict[str, Any]:
        """What was measured: metrics, protocols, untrained, and what diverged."""
        return json.loads((folder / PROBED).read_text(encoding="utf-8"))

    @property
    def departures(self) -> list[str]:
        """How it departs from the protocol that its label names; one that draws nothing has no draws to change."""
        given = {"num_epochs": self.num_epochs, "batch_size": self.batch_size, "lr": self.lr}
        found = [f"{key} {value}" for key, value in given.items() if value is not None]
        if not self.protocol.augments:
            return found
        found += ["no flips"] if self.flip == 0 else []
        turns = f"the epochs take turns with {self.num_draws} augmentation draws"
        return found if self.num_draws is None else [*found, turns]

    def effort(self, images: int) -> Effort:
        """A forward pass an image and epoch, or for each of the draws that the epochs share."""
        return Effort(
            (self.num_draws or self.num_epochs or 100) * images * self.encoder.gflop, width=self.encoder.width
        )

    @property
    def protocol(self) -> ProbeProtocol:
        """What it does."""
        return PROTOCOLS[self.name]

    @property
    def shipped(self) -> dict[str, Metric]:
        """What every probe measures, by name."""
        settings = {
            **self.model_dump(include={"num_epochs", "batch_size", "lr", "flip", "draws", "num_draws"}),
            "preset": self.name,
            "seeds": tuple(self.seeds),
            "augmentation_seed": self.augmentation_seed,
        }
        linear = Linear(settings=settings, departures=self.departures)
        return {"linear": linear, "knn": Neighbours(further=self.neighbours)}

    @property
    def accuracies(self) -> list[str]:
        """The metrics that are accuracies in percent."""
        every = {**self.shipped, **self.further}
        return [name for key, metric in every.items() for name in metric.accuracies(key, num_classes=6)]

    @property
    def metrics(self) -> list[str]:
        """The metrics that it can leave in metrics.json, of enough images and classes."""
        every = {**self.shipped, **self.further}
        return [metric for name, measured in every.items() for metric in measured.names(name, num_classes=6)]

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        shipped = {**self.shipped, **dict.fromkeys(self.model_copy(update={"further": {}}).metrics)}
        for name in self.further:
            if name in shipped:
                raise ValueError(f"metrics.{name} cannot be used: a shipped metric has that name; give another")
        return self

    def unused(self) -> Mapping[str, str]:
        if self.protocol.augments:
            return {}
        why = f"probe.name={self.name} trains on the features of whole images and draws nothing"
        return dict.fromkeys(("num_draws", "augmentation_seed", "draws"), why)

    @property
    def label(self) -> str:
        return self.encoder.label
