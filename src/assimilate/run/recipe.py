"""The order of the paper: which steps a configuration asks for, and what each is made from.

images → generator → latents ─┐
   └→ encoder f → ε1 ─────────┴→ views → encoder → probe
"""

from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import Any

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.arrangement import GENERATED, Arrangement, Drawing, GeneratedTransform, Replacement
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.step import OWN_SETTINGS, Trained, TrainingOfF
from assimilate.data.dataset import Dataset, Images
from assimilate.data.transform import Transform
from assimilate.encoder.step import Encoder, GivenEncoder, ImportedEncoder, Network
from assimilate.errors import UserError
from assimilate.generator.step import Generator, Own, by_content
from assimilate.graph.identity import canonical
from assimilate.graph.settings import choices, listed
from assimilate.graph.step import Step
from assimilate.graph.wiring import Wiring, find_class
from assimilate.inversion.step import KnownLatents, Latents
from assimilate.probes.floors import PIXELS, UNTRAINED
from assimilate.probes.pixel_floor import PixelFloor
from assimilate.probes.step import Probe
from assimilate.run.checks import TIMM, check_cuda_graphs, check_own, given_content
from assimilate.run.job_settings import JobSettings
from assimilate.run.keys import why_absent
from assimilate.run.known_keys import leaves, merged
from assimilate.views.calibration_step import Calibration
from assimilate.views.step import View

UNKNOWN = Images(fingerprint="not prepared yet")


class Recipe:
    """The steps of one run, made when they are asked for.

    Args:
        config: the composed configuration, plain values.
        images: what is known of the prepared images.
        probed: whether the stage goes as far as a probe, so that the images of one are looked at.
    """

    def __init__(self, config: Mapping[str, Any], images: Images = UNKNOWN, *, probed: bool = True) -> None:
        self.config = config
        self.probed = probed
        self.images = images
        roles = ("images", "dataset", "generator", "latents", "reference", "calibration")
        self.roles = {name: partial(getattr, self, name) for name in roles}
        self.wiring = Wiring(config, self.roles)

    # ------------------------------------------------------------------------------------------------- arrangement

    @cached_property
    def arrangement(self) -> Arrangement:
        """Which views are contrasted, and which are appended."""
        return self.wiring.make("assim", Arrangement)

    @cached_property
    def slots(self) -> list[tuple[str, str | None]]:
        """(key, word) of the views of a step: two are contrasted, the rest appended."""
        found: list[tuple[str, str | None]] = []
        for place, word in enumerate(self.arrangement.words, start=1):
            count = self._num_sampled if place > 2 and word == GENERATED else 1
            found += [(f"assim.view{place}", word)] * count
        return [(key, self._drawn if word == GENERATED and self._drawn else word) for key, word in found]

    @cached_property
    def _num_sampled(self) -> int:
        return self.wiring.fill("view", Drawing).n_sampled

    @cached_property
    def _drawn(self) -> str | None:
        """The transformation that draws the chosen view anew, so that it is no generated one at all."""
        return self.wiring.class_at("view", View).drawn_by(self.wiring.take)

    @property
    def uses_view(self) -> bool:
        """Whether the chosen view has a place in the arrangement."""
        return GENERATED in self.arrangement.words

    @property
    def generates(self) -> bool:
        """Whether views are generated, rather than drawn from the image by a transformation."""
        return any(word == GENERATED for _, word in self.slots)

    # ------------------------------------------------------------------------------------------------------- steps

    @cached_property
    def dataset(self) -> Dataset:
        """The images."""
        return self.wiring.make("dataset", Dataset)

    @property
    def samples(self) -> bool:
        """Whether a generator makes the images."""
        return self.dataset_class.latents_are_known

    @property
    def dataset_class(self) -> type[Dataset]:
        """The class of the images, without a look at their settings."""
        return self.wiring.class_at("dataset", Dataset)

    @cached_property
    def own_evaluation(self) -> Dataset | None:
        """The images that probes use, where they are not the run's own."""
        if self.wiring.take("dataset.evaluation") is None:
            return None
        return self.wiring.make("dataset.evaluation", Dataset)

    @property
    def evaluation(self) -> Dataset | None:
        """The images that probes use, where they are not the run's own, and the stage probes."""
        return self.own_evaluation if self.probed else None

    @cached_property
    def generator(self) -> Generator:
        """g."""
        node = self.config["generator"]
        if node.get("arguments") is not None:
            arguments = dict(node["arguments"])
            given = {"target": node["_target_"], "arguments": arguments, "contents": by_content(arguments)}
            self.wiring.read |= {"generator._target_", *(f"generator.{key}" for key, _ in leaves(arguments))}
            return self.wiring.fill("generator", Own, given)
        return self.wiring.make("generator", Generator)

    @cached_property
    def latents(self) -> Latents:
        """A latent for each image."""
        if self.dataset.latents_are_known:
            self.wiring.leave("inversion", f"dataset={self.dataset.name} is sampled, so that its latents are known")
            return self.wiring.make(None, KnownLatents)
        return self.wiring.make("inversion", Latents)

    @cached_property
    def view(self) -> View | None:
        """Where generated views come from; None where there are none."""
        if not self.generates:
            return None
        made = self.wiring.make("view", View)
        wanted = [word for _, word in self.slots].count(GENERATED)
        available = made.num_available
        if available is not None and wanted > available:
            words = ", ".join(str(word) for _, word in self.slots)
            asked = f"{wanted} generated views are in a step ({words}), which"
            if wanted == self._num_sampled:
                asked = f"view.n_sampled={wanted}"
            raise UserError(
                f"{asked} exceeds {made.available_as}: distinct views are drawn, so at most as many as are cached"
            )
        return made

    @cached_property
    def reference(self) -> Encoder:
        """f: the data set's SimCLR row, whatever this run's loss, assimilation and seed are; or one that is brought."""
        if self.wiring.take("view.encoder.checkpoint") is not None:
            return self.wiring.fill("view.encoder", ImportedEncoder)
        training = self.wiring.fill(None, TrainingOfF)
        own = training.training or {}
        check_own(own)
        instead = {key for key, _ in leaves(own)}
        wiring = Wiring(merged(self.config, own), self.roles, {key: f"{OWN_SETTINGS}.{key}" for key in instead})
        made = self.simclr(wiring, training.loss, training.seed)
        self.wiring.read |= (wiring.read - instead) | {f"{OWN_SETTINGS}.{key}" for key in instead & wiring.read}
        return made

    def simclr(self, wiring: Wiring, loss: str, seed: int) -> Trained:
        """The SimCLR row of a configuration, its loss by a word or dotted path."""
        chosen = find_class("simclr_loss", loss, Loss)
        return wiring.make(
            None,
            Trained,
            loss=wiring.fill("loss", chosen),
            network=self._network(wiring, chosen),
            slots=(self.transform("assim.view1", "expert", wiring), self.transform("assim.view2", "expert", wiring)),
            seed=seed,
            assim="simclr",
            **self._normalisation(wiring),
            alignment=None,
        )

    @cached_property
    def calibration(self) -> Calibration:
        """ε1, measured from f and the expert views."""
        return self.wiring.make(None, Calibration)

    @cached_property
    def encoder(self) -> Trained:
        """The run's own."""
        view, wiring = self.view, self.wiring
        appended = self.slots[2:]
        words = [str(word) for _, word in self.slots]
        loss_class = wiring.class_at("loss", Loss)
        given: dict[str, Any] = {"alignment": None}
        if appended and loss_class.aligns:
            given["alignment"] = wiring.fill("loss", Alignment)
        if view is not None:
            given |= self._generated(view)
        arranged = self.arrangement if view is not None or appended else None
        assim = "simclr" if arranged is None else arranged.name
        if arranged is not None:
            given["trained_by"] = arranged.trained_by
        called = "-".join(words) if not self.uses_view else str(self.config["view"]["name"])
        return wiring.make(
            None,
            Trained,
            slots=tuple(GENERATED if word == GENERATED else self.transform(key, word) for key, word in self.slots),
            network=self._network(wiring, loss_class),
            assim=assim,
            called=f"{assim}-{called}" if arranged is not None and arranged.title else assim,
            **self._normalisation(wiring),
            **given,
        )

    def _generated(self, view: View) -> dict[str, Any]:
        """What a training with generated views has beside them."""
        given: dict[str, Any] = {"view": view}
        if view.uses_transform:
            key = "assim.generated_transform"
            word = self.wiring.fill("assim", GeneratedTransform).generated_transform
            given["generated_transform"] = self.transform(key, word, of_images=not view.real)
        used, available = getattr(view, "n_used", None), getattr(view, "n_cached", None)
        if view.is_stored and used is not None and (available is None or used < available):
            given["views_used"] = used
        if self.wiring.select("assim.probability") is not None:
            replaced = given["replaced"] = self.wiring.fill("assim", Replacement)
            if replaced.probability < 1:
                if not view.replaces:
                    raise UserError(
                        f"assim.probability={replaced.probability} cannot be used with view={view.name}: only views of "
                        "a cache, or of a generator (view.cached=false), are replaced now and then"
                    )
                given["otherwise"] = self.transform("assim.probability", "expert")
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
        return self.wiring.make("probe", Probe, encoder=encoder, evaluation=self.evaluation)

    @cached_property
    def probe(self) -> Probe:
        """What measures the run's own."""
        return self.probe_of(self.encoder)

    def floors_of(self, probe: Probe) -> dict[str, Step]:
        """What a probe's numbers have to beat: classifiers of pixels, and the same probe of a random network."""
        if not probe.floors:
            return {}
        pixels = self.wiring.make(None, PixelFloor, evaluation=probe.evaluation)
        untrained = probe.encoder.untrained  # the architecture of a file is known when it is read
        return {PIXELS: pixels} | ({} if untrained is None else {UNTRAINED: self.probe_of(untrained)})

    # ------------------------------------------------------------------------------------------------------ the run

    @cached_property
    def job(self) -> JobSettings:
        """How the run is computed."""
        return self.wiring.fill("", JobSettings)

    def check(self, *, measured: bool) -> None:
        """Make every step, so that each setting is looked at.

        Args:
            measured: whether the stage looks at views through f, whatever they are.

        Raises:
            UserError: a setting that cannot be used, or two that contradict each other.
        """
        job = self.job
        self.dataset, self.own_evaluation  # noqa: B018  every setting of them, though steps know them by their images
        if self.config["checkpoint"] is not None:
            self.probe_of(self.given)
            return
        self.probe  # noqa: B018  with all that it is made from
        if measured:
            self.wiring.role("reference")
        batch_size, devices = self.encoder.batch_size, job.trainer.devices
        if batch_size % devices:
            raise UserError(
                f"batch_size={batch_size} is global and must divide by trainer.devices={devices}: "
                f"take {batch_size // devices * devices} or {(batch_size // devices + 1) * devices}"
            )
        check_cuda_graphs(job.trainer.compile, [*self.encoder.upstream(), self.encoder])

    def require(self) -> None:
        """Check that the files and code that the user has to provide exist.

        Raises:
            UserError: one does not exist.
        """
        self.dataset.require()
        if self.config["checkpoint"] is not None:
            return
        for step in self.encoder.upstream():
            step.require()
        if (evaluation := self.evaluation) is not None:
            try:
                evaluation.key  # noqa: B018  looks at the files
            except UserError as error:
                raise UserError(
                    f"dataset={self.dataset.name} is probed on {evaluation.name} "
                    f"({str(error).replace('dataset.root', 'dataset.evaluation.root')}): give "
                    "dataset.evaluation.root=, or dataset.evaluation=null to train without a probe"
                ) from error

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the run's numbers, as nested plain values; two runs of the same are one."""
        place = {"seed": self.config["seed"], "budget": self.config["budget"]["name"]}
        if (pair := self.config["analysis"].get("pair")) is not None:  # a line of Table 1: nothing is trained
            measured = {"images": self.dataset, "reference": self.reference}
            if GENERATED in pair and self.view is not None:
                measured["view"] = self.view
            settings = {key: self.config["analysis"][key] for key in ("pair", "mine")}
            trees: dict[str, Any] = canonical({name: step.tree() for name, step in measured.items()})
            return {**trees, "analysis": canonical(settings), **place}
        final = self.probe if self.config["checkpoint"] is None else self.probe_of(self.given)
        found: dict[str, Any] = canonical({**final.tree(), "images": self.dataset.tree()})
        found["encoder"].pop("seed", None)  # the seeds of one setting lie side by side
        return {**found, **place}

    def ignored(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """(key, reason) of those of the given keys that decide nothing in this run."""
        return [(key, self.why(key)) for key in keys if not self.wiring.is_read(key)]

    def why(self, key: str) -> str:
        """Why nothing in this run reads a key."""
        if (reason := self.wiring.why(key)) is not None:
            return reason
        view, loss = self.config["view"]["name"], self.config["loss"]["name"]
        if self.uses_view and self._drawn is not None and key.startswith(("view.", "assim.")):
            unless = " unless view.cached=true" if "cached" in self.wiring.class_at("view", View).model_fields else ""
            return f"view={view} is drawn anew by a transformation of the image{unless}"
        if (absent := why_absent(key)) is not None:
            return f"{absent} (assim={self.arrangement.name}, view={view}, loss={loss})"
        if not self.uses_view:
            return f"two views of the image are contrasted, none is generated (assim={self.arrangement.name})"
        return f"nothing in this run (assim={self.arrangement.name}, view={view}, loss={loss}) reads it"

    def transform(
        self, key: str, word: str | None, wiring: Wiring | None = None, *, of_images: bool = True
    ) -> Transform:
        """The transformation that a word chooses.

        Args:
            key: where the word stands.
            word: what stands there.
            wiring: of another configuration than the run's.
            of_images: whether what it transforms is as large as the images.

        Raises:
            UserError: there is none, or it shows whole images that are smaller than the crops beside them.
        """
        made = (wiring or self.wiring).fill(None, find_class(key, word, Transform, beside=(GENERATED,)))
        crop = made.crop_size
        if of_images and made.shows_whole_images and crop is not None and crop > made.image_size:
            raise UserError(
                f"{key}={word} shows images of {made.image_size}² beside crops of data.crop_size={crop}: give "
                f"data.crop_size={made.image_size} or less, or a transform that crops"
            )
        return made

    def _network(self, wiring: Wiring, loss: type[Loss]) -> Network:
        if loss.needs_predictor:
            return wiring.fill("encoder", Network)
        needing = [word for word, other in choices(Loss).items() if getattr(other, "needs_predictor", False)]
        reason = f"only loss={listed(needing)} trains a predictor, and this run has loss={self.config['loss']['name']}"
        self.wiring.leave("encoder.predictor_dim", reason)
        return wiring.fill("encoder", Network, {"predictor_dim": None})

    def _normalisation(self, wiring: Wiring) -> dict[str, Any]:
        if not wiring.take("data.normalize"):
            self.wiring.leave("data.std", "data.normalize=false leaves pixels in [0, 1]")
            return {"mean": None, "std": None}
        std = wiring.take("data.std")
        return {"mean": self.images.mean, "std": self.images.std if std is None else tuple(std)}
