"""What a run is made of: one projection of the configuration per kind of artifact, torch-free so that plans are quick.

images → generator → latents ─┐
   └→ encoder f → ε1 ─────────┴→ views → encoder → probe
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.artifacts import Artifact
from assimilate.checks import check_batch_size
from assimilate.errors import UserError
from assimilate.given import TIMM, file_content, given_content
from assimilate.identity import (
    GENERATED,
    draws_view_on_the_fly,
    generator_settings,
    needs_cache,
    needs_generator,
    view_slots,
)
from assimilate.reference import reference_config, uses_reference
from assimilate.revisions import probe_revision, train_revision

# Raised when a stage's output changes for the same content.
STAGE_VERSIONS = {
    "prepare_data": 1,
    "train_generator": 1,
    "invert": 1,
    "train": 1,
    "calibrate": 1,
    "make_views": 1,
    "evaluate": 1,
}
BUILDER_OF = {
    "datasets": "assimilate.prepare_data",
    "generators": "assimilate.train_generator",
    "latents": "assimilate.invert",
    "encoders": "assimilate.train",
    "calibrations": "assimilate.calibrate",
    "views": "assimilate.make_views",
    "probes": "assimilate.evaluate",
}
Parents = Mapping[str, Artifact | None]
UNKNOWN_FINGERPRINT = "not prepared yet"
# Names of encoders that nobody trains here: the user's f, and what `checkpoint=` probes.
IMPORTED, GIVEN = "imported", "given"


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
    encoder: Artifact
    probe: Artifact | None
    reference_probe: Artifact | None

    def upstream(self) -> list[Artifact]:
        """What must exist before the run's own training, in the order of building.

        A checkpoint that the user brings is read first: one that does not fit is to fail before the hours, not after.
        """
        steps = [self.generator, self.latents, self.reference, self.calibration, self.views]
        present = [step for step in steps if step is not None]
        return [self.data, *sorted(present, key=lambda step: not is_brought(step))]

    def all(self) -> list[Artifact]:
        """Everything, in the order of building; an artifact with two roles is named once."""
        steps = [*self.upstream(), self.reference_probe, self.encoder, self.probe]
        unique = {step.label: step for step in steps if step is not None}
        return list(unique.values())


def is_brought(step: Artifact) -> bool:
    """Whether an artifact is a file of the user's that needs nothing else."""
    return step.name == IMPORTED and not step.parents


def artifact_root(out: Path) -> Path:
    """Where artifacts are kept below `out`."""
    return out / "artifacts"


@functools.lru_cache(maxsize=4)
def _scan_imagenet(root: str) -> tuple[str, int]:
    """The listing's key and its number of training images."""
    # A million file names take seconds to list: once a process.
    from assimilate.data.imagenet import scan_imagenet

    listing = scan_imagenet(root)
    return listing.key, len(listing.train)


def count_train_images(config: Mapping[str, Any]) -> int:
    """Training images of a data set that is not prepared yet: those on disk where that differs from user to user."""
    dataset = config["dataset"]
    if dataset["kind"] == "folder":
        from assimilate.data.listing import scan_folder

        train, _ = scan_folder(Path(dataset["root"]).expanduser()).split(dataset["test_fraction"])
        count = len(train)
    elif dataset["kind"] == "imagenet":
        _, count = _scan_imagenet(str(dataset["root"]))
    else:
        count = {"digits": 1437, "tinyimagenet": 100_000}.get(dataset["kind"], 50_000)
    limit = dataset["max_train_images"]
    return count if limit is None else min(count, int(limit))


def data_artifact(config: Mapping[str, Any], out: Path) -> Artifact:
    """The prepared arrays. A folder of images is known by the names, sizes and times of its files, ImageNet by their
    names; cifar and tinyimagenet are what they are, and what is elsewhere is refused when it is read.

    Raises:
        UserError: `dataset.root` is missing, empty, or not a folder of images.
    """
    dataset = config["dataset"]
    content: dict[str, Any] = {
        key: dataset[key] for key in ("kind", "image_size", "max_train_images", "max_test_images")
    }
    if dataset["kind"] == "folder":
        from assimilate.data.listing import scan_folder

        try:
            listing = scan_folder(Path(dataset["root"]).expanduser())
        except ValueError as error:
            raise UserError(str(error)) from error
        content |= {"listing": listing.key, "test_fraction": dataset["test_fraction"]}
    if dataset["kind"] == "imagenet":
        try:
            content["listing"], _ = _scan_imagenet(str(dataset["root"]))
        except ValueError as error:
            raise UserError(str(error)) from error
    if dataset.get("mean") is not None or dataset.get("std") is not None:
        content |= {"mean": dataset["mean"], "std": dataset["std"]}
    return Artifact(
        "datasets",
        dataset["name"],
        f"{dataset['image_size']}px",
        content,
        {},
        "prepare_data",
        STAGE_VERSIONS["prepare_data"],
        artifact_root(out),
    )


class _Projection:
    """Turns a configuration into artifacts; one method a kind."""

    def __init__(self, config: Mapping[str, Any], out: Path, facts: DataFacts) -> None:
        self._config = config
        self._root = artifact_root(out)
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
            STAGE_VERSIONS[stage] + revision,
            self._root,
        )

    def generator(self) -> Artifact:
        config = self._config["generator"]
        if config.get("checkpoint") is not None:
            content = {"checkpoint": file_content(config["checkpoint"], "generator.checkpoint")}
            return self._artifact("generators", IMPORTED, "train_generator", content, {})
        # Truncation is a matter of synthesis, not of training.
        left_out = {"checkpoint", "truncation", "checkpoint_every"}
        settings = {key: value for key, value in generator_settings(config).items() if key not in left_out}
        content = {**settings, "flip": self._config["dataset"]["flip"]}
        if config.get("augment") == "leak":
            content["expert"] = self._config["data"]["expert"]
        return self._artifact("generators", config["name"], "train_generator", content, {})

    def latents(self, generator: Artifact, reference: Artifact | None) -> Artifact:
        config = self._config["inversion"]
        content: dict[str, Any] = {"truncation": self._config["generator"]["truncation"]}
        if config.get("latents") is not None:
            content["latents"] = file_content(config["latents"], "inversion.latents")
            return self._artifact("latents", IMPORTED, "invert", content, {"generator": generator})
        content |= {key: config[key] for key in ("name", "perceptual", "optimization")}
        if config.get("checkpoint") is not None:
            content["checkpoint"] = file_content(config["checkpoint"], "inversion.checkpoint")
        else:  # an encoder is trained
            left_out = {"checkpoint", "latents", "checkpoint_every"}
            content |= {key: value for key, value in config.items() if key not in left_out}
            content["flip"] = self._config["dataset"]["flip"]
        perceptual = reference if config["perceptual"] == "encoder" else None
        parents = {"generator": generator, "encoder": perceptual}
        return self._artifact("latents", config["name"], "invert", content, parents)

    def _training(self, config: Mapping[str, Any], loss: str) -> dict[str, Any]:
        keys = ("epochs", "batch_size", "accumulate_grad_batches", "drop_last", "batchnorm", "optimizer")
        dataset = config["dataset"]
        encoder = dict(config["encoder"])
        if loss != "simsiam":
            encoder["predictor_dim"] = None  # no other loss trains one
        return {
            **{key: config[key] for key in keys},
            "normalisation": self._normalisation,
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
            slots = [config["view"]["name"] if slot == GENERATED else slot for slot in slots]
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
                left_out = {"n_cached", "n_sampled", "encoder", "cached", "seed", "batch"}
                view = {key: value for key, value in config["view"].items() if key not in left_out}
                content["view"] = {**view, "truncation": config["generator"]["truncation"]}
        name = assim if assim == "simclr" else f"{assim}-{config['view']['name']}"
        return self._artifact("encoders", name, "train", content, sources, revision=train_revision(content))

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
        settings = {"checkpoint": content, "input": self._config["input"], "normalisation": self._normalisation}
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
        content = {key: value for key, value in view.items() if key not in {"n_sampled", "encoder", "cached", "path"}}
        if view["name"] == "external":
            content |= self._external(view)
        elif view["name"] == "expert":
            content |= {
                "expert": self._config["data"]["expert"],
                "flip": self._config["dataset"]["flip"],
                "image_size": self._config["dataset"]["image_size"],
                "crop_size": self._config["data"]["crop_size"],
            }
        else:
            content["truncation"] = self._config["generator"]["truncation"]
        return self._artifact("views", view["name"], "make_views", content, parents)

    def _external(self, view: Mapping[str, Any]) -> dict[str, Any]:
        from assimilate.views.external import scan_external

        try:
            found = scan_external(Path(view["path"]))
        except ValueError as error:
            raise UserError(str(error)) from error
        count = found.num_views if view["n_cached"] is None else view["n_cached"]
        if view["n_sampled"] > count:
            raise UserError(
                f"view.n_sampled={view['n_sampled']} exceeds the {count} views that every image has at "
                f"view.path={view['path']}: distinct views are drawn"
            )
        return {"n_cached": count, "listing": found.key, "image_size": self._config["dataset"]["image_size"]}

    def probe(self, encoder: Artifact) -> Artifact:
        content = {"probe": self._config["probe"], "flip": self._config["dataset"]["flip"]}
        revision = probe_revision(self._config)
        return self._artifact("probes", encoder.name, "evaluate", content, {"encoder": encoder}, revision=revision)


def build_chain(config: Mapping[str, Any], out: Path, facts: DataFacts) -> Chain:
    """All artifacts of a run.

    Raises:
        UserError: a checkpoint that the user brings is not there, timm lacks what is asked of it, or batch_size exceeds
            the data set.
    """
    project = _Projection(config, out, facts)
    probing = facts.labelled and facts.has_test
    if config["checkpoint"] is not None:
        encoder = project.given()
        probe = project.probe(encoder) if probing else None
        return Chain(data_artifact(config, out), None, None, None, None, None, encoder, probe, None)
    if facts.fingerprint != UNKNOWN_FINGERPRINT:
        check_batch_size(config, facts.num_train)
    searched = needs_generator(config)
    generator = project.generator() if searched else None
    reference = project.reference() if uses_reference(config) else None
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
    own_reference = reference is not None and reference.name == "simclr"
    return Chain(
        data=data_artifact(config, out),
        generator=generator,
        latents=latents,
        reference=reference,
        calibration=calibration,
        views=views,
        encoder=encoder,
        probe=project.probe(encoder) if probing else None,
        reference_probe=project.probe(reference) if probing and own_reference and reference is not None else None,
    )
