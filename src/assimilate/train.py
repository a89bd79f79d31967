"""Stage: train one row, and whatever it depends on; probe it; write its result and its report.

python -m assimilate.train                                        the whole chain on real digit scans
python -m assimilate.train dataset=cifar100 view=wsearch assim=a2
"""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.artifacts.brought import IMPORTED
from assimilate.artifacts.chain import GIVEN
from assimilate.artifacts.store import Artifact, Built
from assimilate.config import Job, rank
from assimilate.import_encoder import NO_MEAN, UNIT_STD, import_given, import_reference
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.settings.identity import GENERATED
from assimilate.tracking.tracker import EVERY_N_STEPS

if TYPE_CHECKING:
    from assimilate.assimilation.contrastive import ContrastiveModule
    from assimilate.data.augmentation import Augmentation
    from assimilate.data.views import ViewSlot
    from assimilate.encoder.encoder import Encoder
    from assimilate.views.embedding import FrozenEmbedding
    from assimilate.views.synthesis import FreshViews

ENCODER = "encoder.pt"
VIEWMAKER = "viewmaker.pt"
HISTORY = "history.csv"
CURVE = "knn_curve.csv"
RESUMABLE = ("last.ckpt", "last.previous.ckpt")


@stage("train")
def main(job: Job) -> float | None:
    """Run one job. Returns what `objective` names, where a sweep searches by it."""
    from assimilate.launch import train_as_rank
    from assimilate.objective import check_measurable, measure_objective

    if rank() is not None:
        train_as_rank(Session(job, prepare="never"))
        return None
    session = Session(job)
    searches = job.config["objective"] is not None and session.prepare not in ("plan", "only")
    if searches:
        check_measurable(session)
    complete_run(session)
    return measure_objective(session) if searches else None


def complete_run(session: Session) -> None:
    """Find or build everything up to the run's result and report.

    Raises:
        UserError: what cannot be used or may not be built.
    """
    from assimilate.dashboard import tell_views
    from assimilate.evaluate import evaluate_run
    from assimilate.jobs.runs import check_run_folder, check_same_content

    job = session.job
    if session.prepare == "plan":
        session.print_plan()
        return
    session.terminal.say(f"run: {job.run_dir}")
    check_run_folder(job)
    chain = session.chain
    check_same_content(job, [artifact.label for artifact in chain.all()])
    session.announce()
    session.ensure_all(chain.upstream())
    tell_views(session)
    if session.prepare == "only":
        session.summarize()
        session.terminal.say("prepare=only: upstream is complete, nothing was trained")
        return
    if job.config["force"]:
        for artifact in (chain.encoder, chain.probe):
            if artifact is not None:
                session.store.discard(artifact)
    session.ensure(chain.encoder)
    evaluate_run(session)


def make_transforms(config: dict[str, Any], *, compiled: bool = False) -> Callable[[str], "Augmentation"]:
    """The transforms of a configuration's data set, by name; the expert one through torch.compile if asked."""
    from assimilate.data.augmentation import make_transform

    dataset, data = config["dataset"], config["data"]
    size = data["crop_size"] or dataset["image_size"]
    return lambda name: make_transform(name, size, flip=dataset["flip"], expert=data["expert"], compiled=compiled)


def whole_views(config: dict[str, Any]) -> "Augmentation":
    """Un-augmented images as kNN sees them: as large as the training's crops (data.crop_size), from the centre."""
    return make_transforms(config)("none")


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with a trained encoder, its loss history and its kNN curve; or with one that the user brings.

    Raises:
        ValueError: the checkpoint does not fit, or training is not finite.
        UserError: a rank failed.
    """
    from assimilate.launch import launch_ranks

    if artifact.name == IMPORTED:
        return import_reference(session, staging, ENCODER)
    if artifact.name == GIVEN:
        return import_given(session, artifact, staging, ENCODER)
    trainer = session.config["trainer"]
    if trainer["devices"] != 1:
        launch_ranks(session, artifact)
    else:
        fit_encoder(session, artifact, staging)
    return Built({"ranks": trainer["devices"]}, frozenset({HISTORY, CURVE}), frozenset(RESUMABLE))


def _slots(session: Session, artifact: Artifact) -> "list[ViewSlot]":
    """The views of a step. Those of a Viewmaker or an online search are made in the module, from the images."""
    from assimilate.data.views import ViewSlot

    content = artifact.content
    transform = make_transforms(session.config, compiled=session.config["data"]["compile_augmentation"])
    if _is_online(artifact):
        generated = ViewSlot("image", transform("none"))
    elif "viewmaker" in content:
        generated = ViewSlot("image", transform(content["generated_transform"]))
    elif GENERATED in content["slots"]:
        probability = content.get("probability", 1.0)
        otherwise = transform("expert") if probability < 1 else None
        generated = ViewSlot("generated", transform(content["generated_transform"]), probability, otherwise)
    return [generated if slot == GENERATED else ViewSlot("image", transform(slot)) for slot in content["slots"]]


def _is_online(artifact: Artifact) -> bool:
    return bool(artifact.content.get("view", {}).get("name") == "online")


def _attach_search(session: Session, artifact: Artifact, module: "ContrastiveModule") -> None:
    from assimilate.assimilation.online import OnlineSearchTraining
    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator

    assert isinstance(module, OnlineSearchTraining)
    frozen = load_reference(session, artifact.parents["encoder"]) if "encoder" in artifact.parents else None
    module.attach(
        load_generator(session, artifact.parents["generator"]),
        load_latents(artifact.parents["latents"]),
        make_transforms(session.config)(artifact.content["generated_transform"]),
        frozen,
    )


def _module(artifact: Artifact, mean: Sequence[float], std: Sequence[float]) -> "ContrastiveModule":
    from assimilate.assimilation.a1 import A1
    from assimilate.assimilation.a2 import A2
    from assimilate.assimilation.adversarial import ViewmakerTraining
    from assimilate.assimilation.described import alignment_of, loss_of, optimizer_of
    from assimilate.assimilation.online import OnlineSearchTraining
    from assimilate.assimilation.simclr import SimCLR

    content = artifact.content
    # Views of a cache that are expert views of the image are real ones.
    synthetic = not ("views" in artifact.parents and artifact.parents["views"].name == "expert")
    settings = {
        "encoder": content["encoder"],
        "loss": loss_of(content),
        "alignment": alignment_of(content),
        "optimizer": optimizer_of(content),
        "epochs": content["epochs"],
        "mean": mean,
        "std": std,
        "batchnorm": content["batchnorm"],
        "generated_views": [i for i, slot in enumerate(content["slots"]) if slot == GENERATED and synthetic],
        "init_seed": content["seed"],
    }
    if "viewmaker" in content:
        viewmaker = content["viewmaker"]
        return ViewmakerTraining(viewmaker=viewmaker, viewmaker_lr=viewmaker["lr"], **settings)
    if _is_online(artifact):
        view = content["view"]
        return OnlineSearchTraining(online={**view, "uniformity_weight": view["lambda"]}, **settings)
    modules: dict[str, type[ContrastiveModule]] = {"simclr": SimCLR, "a1": A1, "a2": A2}
    return modules[content["assim"]](**settings)


def fresh_views(session: Session, artifact: Artifact) -> "FreshViews":
    """The source of an encoder's views that are made while it trains."""
    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator
    from assimilate.view_makers import move_of
    from assimilate.views.synthesis import FreshViews

    return FreshViews(
        load_generator(session, artifact.parents["generator"]),
        load_latents(artifact.parents["latents"]),
        move_of(artifact.content["view"]),
    )


def fit_encoder(session: Session, artifact: Artifact, staging: Path) -> None:
    """Train the encoder of `artifact` in this process, from the last checkpoint in `staging` if there is one."""
    import torch

    from assimilate.assimilation.fit import fit
    from assimilate.dashboard import watchers_of
    from assimilate.data.datamodule import ContrastiveDataModule
    from assimilate.data.views import ViewSource
    from assimilate.probes.monitor import KNNMonitor
    from assimilate.views.cache import CachedViews

    content, dataset, trainer = artifact.content, session.dataset, session.config["trainer"]
    source: ViewSource | None = None
    if "views" in artifact.parents:
        source = CachedViews.open(artifact.parents["views"].path, num_used=content.get("views_used"))
    elif "view" in content and not _is_online(artifact):
        source = fresh_views(session, artifact)
    used = content["normalisation"] or {"mean": NO_MEAN, "std": UNIT_STD}
    mean, std = used["mean"], used["std"]
    datamodule = ContrastiveDataModule(
        dataset.train,
        mean=mean,
        std=std,
        slots=_slots(session, artifact),
        batch_size=content["batch_size"],
        seed=content["seed"],
        view_source=source,
        drop_last=content["drop_last"],
        placement=session.config["data"]["placement"],
    )
    if isinstance(trainer["devices"], int) and (note := datamodule.describe_left_out(trainer["devices"])):
        session.terminal.say(f"  {note}")
    module = _module(artifact, mean, std)
    if _is_online(artifact):
        _attach_search(session, artifact, module)
    if compiling := trainer["compile"]:
        module.compile_networks(None if compiling is True else compiling)
    monitors = []
    every = session.config["knn"]["every_n_epochs"]
    if every and dataset.test is not None and dataset.train.labels is not None:
        monitors = [
            KNNMonitor(
                dataset.train,
                dataset.test,
                every_n_epochs=every,
                k=min(5, len(dataset.train)),
                transform=whole_views(session.config),
            )
        ]
    if trainer["channels_last"]:
        for networks in (module.encoder, module.method):
            networks.to(memory_format=torch.channels_last)
    ranks = trainer["devices"]
    subject = "train" if artifact.label == session.chain.encoder.label else "f"
    watchers = watchers_of(session.tracker, subject, mean, std)
    with session.terminal.bar(f"Training {artifact.name}") as progress:
        record = fit(
            module,
            datamodule,
            max_epochs=content["epochs"],
            workdir=staging,
            accelerator="gpu" if session.device == "cuda" else "cpu",
            devices=ranks,
            strategy="ddp" if ranks != 1 else "auto",
            precision=trainer["precision"],
            accumulate_grad_batches=content["accumulate_grad_batches"],
            cudnn_benchmark=trainer["cudnn_benchmark"],
            checkpoint_every_n_epochs=trainer["checkpoint_every_n_epochs"],
            callbacks=[*monitors, *watchers],
            loggers=session.tracker.loggers(subject),
            log_every_n_steps=session.config["logger"].get("every_n_steps", EVERY_N_STEPS),
            progress=progress,
        )
    if not module.trainer.is_global_zero:
        return
    module.save_encoder(staging / ENCODER)
    if "viewmaker" in content:
        module.save_viewmaker(staging / VIEWMAKER)  # type: ignore[operator]
    _write_rows(staging / HISTORY, record.rows)
    curve = [{"epoch": epoch, "knn5": accuracy} for monitor in monitors for epoch, accuracy in monitor.curve]
    _write_rows(staging / CURVE, curve)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, float]]:
    """A table of numbers that `build` wrote; empty where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def load_trained(artifact: Artifact) -> tuple["Encoder", tuple[float, float, float], tuple[float, float, float]]:
    """(encoder on the CPU in eval mode, mean, std) of an encoder artifact."""
    from assimilate.encoder.checkpoint import load_encoder

    encoder = load_encoder(artifact.path / ENCODER)
    return encoder, encoder.mean, encoder.std


def load_reference(session: Session, artifact: Artifact) -> "FrozenEmbedding":
    """f of an encoder artifact: frozen, normalising, on the session's device."""
    from assimilate.views.embedding import FrozenEmbedding

    encoder, _, _ = load_trained(artifact)
    return FrozenEmbedding.of(encoder).to(session.device)


if __name__ == "__main__":
    sys.exit(main())
