"""The order of the paper: which steps a configuration asks for, and what each is made from.

images → generator → latents ─┐
   └→ encoder f → ε1 ─────────┴→ views → encoder → probe
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from assimilate.artifacts.given import given_content
from assimilate.assimilation.loss import Alignment, Loss
from assimilate.assimilation.step import GENERATED, Trained
from assimilate.data.dataset import Dataset, Images
from assimilate.data.transform import Transform
from assimilate.encoder.step import Encoder, GivenEncoder, ImportedEncoder, Network
from assimilate.errors import UserError
from assimilate.generator.step import Generator, Own, by_content
from assimilate.graph.wiring import Wiring, find_class
from assimilate.inversion.step import KnownLatents, Latents
from assimilate.probes.step import Probe
from assimilate.settings.options import UNAUGMENTED_PROBES
from assimilate.views.calibration_step import Calibration
from assimilate.views.step import View

TIMM = "timm/"
UNKNOWN = Images(fingerprint="not prepared yet")
OWN_SETTINGS = "view.encoder.training"


class LackingDiscriminator(UserError):
    """The inversion is to use the discriminator of a generator that has none."""


class Recipe:
    """The steps of one run, made when they are asked for.

    Args:
        config: the composed configuration, plain values.
        images: what is known of the prepared images.
    """

    def __init__(self, config: Mapping[str, Any], images: Images = UNKNOWN) -> None:
        self.config = config
        self.images = images
        roles: dict[str, Callable[[], Any]] = {
            name: (lambda name=name: getattr(self, name))  # type: ignore[misc]
            for name in ("images", "dataset", "generator", "latents", "reference", "calibration", "evaluation")
        }
        self.wiring = Wiring(config, roles)
        self._roles = roles

    # ------------------------------------------------------------------------------------------------- arrangement

    @cached_property
    def slots(self) -> list[str]:
        """The views of a step by their words: two are contrasted, the rest appended."""
        take = self.wiring.take
        words = [take("assim.view1"), take("assim.view2")]
        third = take("assim.view3")
        if third is not None:
            count = take("view.n_sampled") if third == GENERATED else 1
            words += [third] * count
        return [self._drawn if word == GENERATED and self._drawn is not None else word for word in words]

    @cached_property
    def _drawn(self) -> str | None:
        """The transformation that draws the chosen view anew, so that it is no generated one at all."""
        return self.wiring.class_at("view", View).drawn_by(self.wiring.take)

    @property
    def uses_view(self) -> bool:
        """Whether the chosen view has a place in the arrangement."""
        assim = self.config["assim"]
        return GENERATED in (assim["view1"], assim["view2"], assim.get("view3"))

    @property
    def generates(self) -> bool:
        """Whether views are generated, rather than drawn from the image by a transformation."""
        return GENERATED in self.slots

    # ------------------------------------------------------------------------------------------------------- steps

    @cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return self.wiring.make("dataset", Dataset)

    @cached_property
    def evaluation(self) -> Dataset | None:
        """The images that probes use, where they are not the run's own."""
        return (
            None
            if self.wiring.select("dataset.evaluation") is None
            else self.wiring.make("dataset.evaluation", Dataset)
        )

    @cached_property
    def generator(self) -> Generator:
        """g."""
        node = self.config["generator"]
        if node.get("arguments") is not None:
            given = {"target": node["_target_"], "arguments": by_content(node["arguments"])}
            return self.wiring.fill("generator", Own, given)
        return self.wiring.make("generator", Generator)

    @cached_property
    def latents(self) -> Latents:
        """A latent for each image."""
        if self.dataset.latents_are_known:
            return self.wiring.make(None, KnownLatents)
        made = self.wiring.make("inversion", Latents)
        if not made.generator.has_discriminator and (lacking := made.lacking_discriminator()):
            raise LackingDiscriminator(lacking)
        return made

    @cached_property
    def view(self) -> View | None:
        """Where generated views come from; None where there are none."""
        return self.wiring.make("view", View) if self.generates else None

    @cached_property
    def reference(self) -> Encoder:
        """f: the data set's SimCLR row, whatever this run's loss, assimilation and seed are; or one that is brought."""
        take = self.wiring.take
        if take("view.encoder.checkpoint") is not None:
            return self.wiring.make("view.encoder", ImportedEncoder)
        own = self.wiring.select(OWN_SETTINGS) or {}
        merged = _merged(self.config, own)
        wiring = Wiring(merged, self._roles)
        chosen = find_class("simclr_loss", take("simclr_loss"), Loss)
        made = wiring.make(
            None,
            Trained,
            loss=wiring.fill("loss", chosen),
            network=self._network(wiring, chosen),
            slots=tuple(self._transform(wiring, word) for word in ("expert", "expert")),
            seed=take("view.encoder.seed") or 0,
            assim="simclr",
            **self._normalisation(wiring),
            **_NO_VIEWS,
        )
        instead = set(_leaves(own))
        self.wiring.read |= (wiring.read - instead) | {f"{OWN_SETTINGS}.{key}" for key in instead & wiring.read}
        return made

    @cached_property
    def calibration(self) -> Calibration:
        """ε1, measured from f and the expert views."""
        return self.wiring.make(None, Calibration)

    @cached_property
    def encoder(self) -> Encoder:
        """The run's own."""
        slots, view = self.slots, self.view
        appended = slots[2:]
        wiring = self.wiring
        loss_class = wiring.class_at("loss", Loss)
        given: dict[str, Any] = dict(_NO_VIEWS)
        if appended and loss_class.aligns:
            given["alignment"] = wiring.fill("loss", Alignment)
        if view is not None:
            given |= self._generated(view)
        assim = str(self.config["assim"]["name"]) if view is not None or appended else "simclr"
        called = "-".join(slots) if not self.uses_view else str(self.config["view"]["name"])
        return wiring.make(
            None,
            Trained,
            slots=tuple(word if word == GENERATED else self._transform(wiring, word) for word in slots),
            network=self._network(wiring, loss_class),
            assim=assim,
            called=assim if assim == "simclr" else f"{assim}-{called}",
            **self._normalisation(wiring),
            **given,
        )

    def _generated(self, view: View) -> dict[str, Any]:
        """What a training with generated views has beside them."""
        given: dict[str, Any] = {"view": view}
        if view.uses_transform:
            given["generated_transform"] = self._transform(
                self.wiring, self.wiring.take("assim.generated_transform"), "assim.generated_transform"
            )
        used, available = getattr(view, "n_used", None), getattr(view, "n_cached", None)
        if view.is_stored and used is not None and (available is None or used < available):
            given["views_used"] = used
        if self.wiring.select("assim.probability") is not None:
            given["probability"] = self.wiring.take("assim.probability")
            if given["probability"] < 1:
                given["otherwise"] = self._transform(self.wiring, "expert")
        return given

    @cached_property
    def given(self) -> GivenEncoder:
        """The encoder of `checkpoint=`."""
        checkpoint = str(self.wiring.take("checkpoint"))
        content = given_content(checkpoint)
        if checkpoint.startswith(TIMM):
            from assimilate.encoder.timm_backbone import describe_timm

            try:
                found = describe_timm(content["timm"])
            except ValueError as error:
                raise UserError(f"checkpoint={checkpoint}: {error}") from error
            content = {"timm": found.name, "source": found.source}
        reading = {key: value for key, value in self.config["input"].items() if key != "prefix" or value is not None}
        normalisation = self._normalisation(self.wiring)
        return self.wiring.make(None, GivenEncoder, weights=content, reading=reading, **normalisation)

    def probe_of(self, encoder: Encoder) -> Probe:
        """What measures an encoder."""
        made = self.wiring.make("probe", Probe, encoder=encoder)
        if made.name in UNAUGMENTED_PROBES:
            self.wiring.read -= {f"probe.{name}" for name in ("num_draws", "augmentation_seed", "draws")}
        return made

    @cached_property
    def probe(self) -> Probe:
        """What measures the run's own."""
        return self.probe_of(self.encoder)

    # ------------------------------------------------------------------------------------------------------- parts

    def _transform(self, wiring: Wiring, word: str, key: str = "assim") -> Transform:
        return wiring.fill(None, find_class(key, word, Transform))

    def _network(self, wiring: Wiring, loss: type[Loss]) -> Network:
        return wiring.fill("encoder", Network, {} if loss.needs_predictor else {"predictor_dim": None})

    def _normalisation(self, wiring: Wiring) -> dict[str, Any]:
        if not wiring.take("data.normalize"):
            return {"mean": None, "std": None}
        std = wiring.take("data.std")
        return {"mean": self.images.mean, "std": self.images.std if std is None else tuple(std)}


_NO_VIEWS: dict[str, Any] = {
    "view": None,
    "generated_transform": None,
    "views_used": None,
    "probability": 1.0,
    "alignment": None,
}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`second` over `first`, mapping by mapping."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(first.get(key), Mapping)
        result[key] = _merged(first[key], value) if both else value
    return result


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found
