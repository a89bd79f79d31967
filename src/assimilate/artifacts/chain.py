"""What a run is made of: one projection of the configuration per kind of artifact, torch-free so that plans are quick.

images → generator → latents ─┐
   └→ encoder f → ε1 ─────────┴→ views → encoder → probe

Of a data set that a generator makes (dataset=imagenet_fake), the first two change places, and the latents are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.artifacts.brought import (
    BIGBIGAN,
    IMPORTED,
    LackingDiscriminator,
    lacking_discriminator,
    unfit_perceptual,
)
from assimilate.artifacts.given import TIMM, file_content, given_content
from assimilate.artifacts.origins import (
    STAGE_VERSIONS,
    artifact_root,
    brought_artifact,
    data_artifact,
    evaluation_artifact,
)
from assimilate.artifacts.revisions import (
    crop_revision,
    inversion_revision,
    probe_revision,
    train_revision,
    views_revision,
)
from assimilate.artifacts.store import Artifact
from assimilate.errors import UserError
from assimilate.settings.checks import check_batch_size
from assimilate.settings.identity import (
    GENERATED,
    OWN,
    data_is_sampled,
    draws_one_of_many,
    draws_view_on_the_fly,
    encoder_settings,
    generator_settings,
    inversion_settings,
    needs_cache,
    needs_generator,
    reading_of,
    uses_view,
    view_slots,
    views_used,
)
from assimilate.settings.reference import reference_config, uses_reference
from assimilate.settings.view import check_enough_views

BUILDER_OF = {
    "datasets": "assimilate.prepare_data",
    "generators": "assimilate.train_generator",
    "latents": "assimilate.invert",
    "encoders": "assimilate.train",
    "calibrations": "assimilate.calibrate",
    "views": "assimilate.make_views",
    "probes": "assimilate.evaluate",
}
# Name of the latents of images that were made from them.
KNOWN_LATENTS = "known"
# Settings of `view` that its cache does not depend on.
NOT_OF_A_CACHE = frozenset({"n_used", "n_sampled", "encoder", "cached", "path"})
Parents = Mapping[str, Artifact | None]
UNKNOWN_FINGERPRINT = "not prepared yet"
# Name of the encoder that `checkpoint=` probes.
GIVEN = "given"


@dataclass(frozen=True)
class DataFacts:
    """What the chain needs to know of a prepared data set."""

    fingerprint: str
    num_train: int
    labelled: bool
    has_test: bool
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chain:
    """The artifacts of one run; None where the run has no use for one."""

    data: Artifact
    generator: Artifact | None
    latents: Artifact | None
    reference: Artifact | None  # the SimCLR encoder f
    calibration: Artifact | None
    views: Artifact | None
    evaluation: Artifact | None  # the data set that probes use, where it is not the run's own
    encoder: Artifact
    probe: Artifact | None
    reference_probe: Artifact | None

    def upstream(self) -> list[Artifact]:
        """What must exist before the run's own training, in the order of building.

        A checkpoint that the user brings is read first: one that does not fit is to fail before the hours, not after.
        So is a generator that the images come from.
        """
        origins = [*self.data.parents.values(), self.data]
        steps = [self.generator, self.latents, self.reference, self.calibration, self.views, self.evaluation]
        present = [step for step in steps if step is not None]
        ordered = [*origins, *sorted(present, key=lambda step: not is_brought(step))]
        return list({step.label: step for step in ordered}.values())

    def all(self) -> list[Artifact]:
        """Everything, in the order of building; an artifact with two roles is named once."""
        steps = [*self.upstream(), self.reference_probe, self.encoder, self.probe]
        unique = {step.label: step for step in steps if step is not None}
        return list(unique.values())


def is_brought(step: Artifact) -> bool:
    """Whether an artifact is a file of the user's, or their code, that needs nothing else."""
    needs_images = step.kind != "generators" or "data" in step.content
    return not step.parents and (step.name == IMPORTED or not needs_images)


class _Projection:
    """Turns a configuration into artifacts; one method a kind."""

    def __init__(self, config: Mapping[str, Any], out: Path, facts: DataFacts) -> None:
        self._config = config
        self._out, self._root = out, artifact_root(out)
        self._fingerprint = facts.fingerprint
        self._normalisation = {"mean": facts.mean, "std": facts.std} if config["data"]["normalize"] else None

    def _artifact(
        self, kind: str, name: str, stage: str, content: Mapping[str, Any], parents: Parents, *, revision: int = 0
    ) -> Artifact:
        present = {role: parent for role, parent in parents.items() if parent is not None}
        return Artifact(
            kind,
            self._config["dataset"]["name"],
            name,
            {"data": self._fingerprint, **content},
            present,
            stage,
            STAGE_VERSIONS[stage] + revision + crop_revision(content),
            self._root,
        )

    def generator(self) -> Artifact:
        brought = brought_artifact(self._config, self._out)
        if brought is not None:
            return brought
        config = self._config["generator"]
        # Truncation is a matter of synthesis, not of training.
        left_out = {"checkpoint", "truncation", "_target_"}
        settings = {key: value for key, value in generator_settings(config).items() if key not in left_out}
        content = {**settings, "flip": self._config["dataset"]["flip"]}
        if config.get("augment") == "leak":
            content["expert"] = self._config["data"]["expert"]
        return self._artifact("generators", config["name"], "train_generator", content, {})

    def latents(self, generator: Artifact, reference: Artifact | None) -> Artifact:
        if data_is_sampled(self._config):
            parents = {"generator": generator, "data": data_artifact(self._config, self._out)}
            return self._artifact("latents", KNOWN_LATENTS, "invert", {}, parents)
        config = self._config["inversion"]
        content: dict[str, Any] = {"truncation": self._config["generator"].get("truncation")}
        if config.get("latents") is not None:
            content["latents"] = file_content(config["latents"], "inversion.latents")
            return self._artifact("latents", IMPORTED, "invert", content, {"generator": generator})
        if self._config["generator"]["name"] in (OWN, BIGBIGAN) and (lacking := lacking_discriminator(config)):
            raise LackingDiscriminator(lacking)
        if unfit := unfit_perceptual(config, self._config["dataset"]["image_size"]):
            raise UserError(unfit)
        settings = inversion_settings(config)
        used = ("name", "perceptual", "perceptual_norm", "optimization")
        content |= {key: settings[key] for key in used if key in settings}
        if config.get("checkpoint") is not None:
            content["checkpoint"] = file_content(config["checkpoint"], "inversion.checkpoint")
        else:  # an encoder is trained
            left_out = {"checkpoint", "latents"}
            content |= {key: value for key, value in settings.items() if key not in left_out}
            content["flip"] = self._config["dataset"]["flip"]
        perceptual = reference if config["perceptual"] == "encoder" else None
        upstream = {"generator": generator, "encoder": perceptual}
        revision = inversion_revision(content)
        return self._artifact("latents", config["name"], "invert", content, upstream, revision=revision)

    def _training(self, config: Mapping[str, Any], loss: str) -> dict[str, Any]:
        keys = ("epochs", "batch_size", "accumulate_grad_batches", "drop_last", "batchnorm", "optimizer")
        dataset = config["dataset"]
        encoder = encoder_settings(config["encoder"])
        normalisation = self._normalisation
        if normalisation is not None and config["data"]["std"] is not None:
            normalisation = {**normalisation, "std": config["data"]["std"]}
        if loss != "simsiam":
            encoder["predictor_dim"] = None  # no other loss trains one
        return {
            **{key: config[key] for key in keys},
            "normalisation": normalisation,
            "precision": config["trainer"]["precision"],
            "encoder": encoder,
            "normalize": config["data"]["normalize"],
            "crop_size": config["data"]["crop_size"],
            "image_size": dataset["image_size"],
            "flip": dataset["flip"],
            "expert": config["data"]["expert"],
        }

    def reference(self) -> Artifact:
        """f: the data set's SimCLR row, whatever this run's loss, assimilation and seed are."""
        config = reference_config(self._config)
        view_encoder = config["view"].get("encoder", {"seed": 0})  # views without an f of their own: inversion's
        if view_encoder.get("checkpoint") is not None:
            given = {"checkpoint": file_content(view_encoder["checkpoint"], "view.encoder.checkpoint")}
            return self._artifact("encoders", IMPORTED, "train", given, {})
        name = config["simclr_loss"]
        content: dict[str, Any] = {
            **self._training(config, name),
            "assim": "simclr",
            "slots": ["expert", "expert"],
            "loss": self._loss(config, name, without={"alpha", "align_anchors"}),
            "seed": view_encoder["seed"],
        }
        return self._artifact("encoders", "simclr", "train", content, {}, revision=train_revision(content))

    def _loss(self, config: Mapping[str, Any], name: str, *, without: set[str]) -> dict[str, Any]:
        # Temperatures mean nothing to SimSiam.
        left_out = without | ({"temperature", "base_temperature"} if name == "simsiam" else set())
        loss = {key: value for key, value in config["loss"].items() if key not in left_out}
        return {**loss, "name": name}

    def encoder(self, sources: Mapping[str, Artifact | None]) -> Artifact:
        """The run's own encoder; `sources` are what its generated views come from."""
        config = self._config
        slots, appended = view_slots(config), view_slots(config)[2:]
        generated = GENERATED in slots
        learned = config["view"]["name"] == "viewmaker"
        if draws_view_on_the_fly(config):  # it is no generated view at all
            view = config["view"]["name"]
            transform = config["assim"]["generated_transform"] if view == "original" else view
            slots = [transform if slot == GENERATED else slot for slot in slots]
            generated = False
        # Eq. 13 has no term of its own for appended views.
        left_out = set() if appended and config["loss"]["name"] != "full" else {"alpha", "align_anchors"}
        assim = config["assim"]["name"] if generated or appended else "simclr"
        loss = config["loss"]["name"]
        content: dict[str, Any] = {
            **self._training(config, loss),
            "assim": assim,
            "slots": slots,
            "loss": self._loss(config, loss, without=left_out),
            "seed": config["seed"],
        }
        if generated:
            content["generated_transform"] = config["assim"]["generated_transform"]
            if learned:
                content["generated_transform"] = config["view"]["transform"]
                content["viewmaker"] = {key: config["view"][key] for key in ("distortion_budget", "width", "lr")}
            elif not needs_cache(config):  # made while training
                left_out = {"n_cached", "n_used", "n_sampled", "encoder", "cached", "seed", "batch"}
                settings = {key: value for key, value in config["view"].items() if key not in left_out}
                content["view"] = {**settings, "truncation": config["generator"].get("truncation")}
            elif (used := views_used(config)) is not None:
                content["views_used"] = used
            if config["assim"].get("probability", 1) < 1:
                content["probability"] = config["assim"]["probability"]
        views = config["view"]["name"] if uses_view(config) else "-".join(slots)
        name = assim if assim == "simclr" else f"{assim}-{views}"
        revision = train_revision(content, draws_one_of_many=draws_one_of_many(config))
        return self._artifact("encoders", name, "train", content, sources, revision=revision)

    def given(self) -> Artifact:
        """The encoder of `checkpoint=`."""
        checkpoint = str(self._config["checkpoint"])
        content = given_content(checkpoint)
        if checkpoint.startswith(TIMM):
            from assimilate.encoder.timm_backbone import describe_timm

            try:
                found = describe_timm(content["timm"])
            except ValueError as error:
                raise UserError(f"checkpoint={checkpoint}: {error}") from error
            content = {"timm": found.name, "source": found.source}
        settings = {"checkpoint": content, "input": reading_of(self._config), "normalisation": self._normalisation}
        return self._artifact("encoders", GIVEN, "evaluate", settings, {})

    def calibration(self, reference: Artifact) -> Artifact:
        content = {
            "expert": self._config["data"]["expert"],
            "flip": self._config["dataset"]["flip"],
            "image_size": self._config["dataset"]["image_size"],
            "crop_size": self._config["data"]["crop_size"],
            "seed": 0,
        }
        return self._artifact("calibrations", "epsilon1", "calibrate", content, {"encoder": reference})

    def views(self, parents: Mapping[str, Artifact | None]) -> Artifact:
        view = self._config["view"]
        content = {key: value for key, value in view.items() if key not in NOT_OF_A_CACHE}
        if view["name"] == "external":
            content |= self._external(view)
        elif view["name"] == "expert":
            if view["draws"] == "independent":
                del content["draws"], content["draw_batch"]
            content |= {
                "expert": self._config["data"]["expert"],
                "flip": self._config["dataset"]["flip"],
                "image_size": self._config["dataset"]["image_size"],
                "crop_size": self._config["data"]["crop_size"],
            }
        else:
            content["truncation"] = self._config["generator"].get("truncation")
        return self._artifact("views", view["name"], "make_views", content, parents, revision=views_revision(content))

    def _external(self, view: Mapping[str, Any]) -> dict[str, Any]:
        from assimilate.views.external import scan_external

        try:
            found = scan_external(Path(view["path"]))
        except ValueError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"view.path={view['path']}: it cannot be read ({error.strerror})") from error
        count = found.num_views if view["n_cached"] is None else view["n_cached"]
        check_enough_views(self._config, count, f"the {count} views that every image has at view.path={view['path']}")
        return {"n_cached": count, "listing": found.key, "image_size": self._config["dataset"]["image_size"]}

    def probe(self, encoder: Artifact, evaluation: Artifact | None) -> Artifact:
        content = {"probe": self._config["probe"], "flip": self._config["dataset"]["flip"]}
        parents = {"encoder": encoder, "data": evaluation}
        revision = probe_revision(self._config)
        return self._artifact("probes", encoder.name, "evaluate", content, parents, revision=revision)


def build_chain(
    config: Mapping[str, Any], out: Path, facts: DataFacts, *, probed: bool = True, measured: bool = False
) -> Chain:
    """All artifacts of a run.

    Args:
        config: the resolved configuration.
        out: where artifacts are kept.
        facts: what is known of the images.
        probed: whether the stage goes as far as a probe; without one, the data set of the probe need not be there.
        measured: whether the stage looks at views through f, so that there is one whatever the views.

    Raises:
        UserError: a checkpoint that the user brings is not there, timm lacks what is asked of it, batch_size exceeds
            the data set, the data set that probes use is not there, the inversion needs a discriminator that the
            generator does not bring, or the images are too small for its perceptual network.
    """
    project = _Projection(config, out, facts)
    probing = facts.labelled and facts.has_test
    if config["checkpoint"] is not None:
        encoder = project.given()
        probe = project.probe(encoder, None) if probing else None
        return Chain(data_artifact(config, out), None, None, None, None, None, None, encoder, probe, None)
    if facts.fingerprint != UNKNOWN_FINGERPRINT:
        check_batch_size(config, facts.num_train)
    searched = needs_generator(config)
    generator = project.generator() if searched else None
    reference = project.reference() if measured or uses_reference(config) else None
    latents = project.latents(generator, reference) if generator is not None else None
    calibration = views = None
    if needs_cache(config):
        parents = {"generator": generator, "latents": latents}
        if config["view"]["name"] == "wsearch":
            assert reference is not None
            if config["view"]["epsilon1"] == "auto":
                calibration = project.calibration(reference)
            parents |= {"encoder": reference, "calibration": calibration}
        views = project.views(parents)
    made_while_training = {"generator": generator, "latents": latents} if views is None else {}
    if config["view"]["name"] == "online" and config["view"]["frozen"]:
        made_while_training["encoder"] = reference
    encoder = project.encoder({"views": views, **made_while_training})
    evaluation = evaluation_artifact(config, out) if probed else None
    probing = probing or evaluation is not None
    baseline = reference if reference is not None and reference.name == "simclr" else None
    return Chain(
        data=data_artifact(config, out),
        generator=generator,
        latents=latents,
        reference=reference,
        calibration=calibration,
        views=views,
        evaluation=evaluation,
        encoder=encoder,
        probe=project.probe(encoder, evaluation) if probing else None,
        reference_probe=project.probe(baseline, evaluation) if probing and baseline is not None else None,
    )
