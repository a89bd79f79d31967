"""Stage: train one row, and whatever it depends on; probe it; write its result and its report.

python -m assimilate.train                                        the whole chain on real digit scans
python -m assimilate.train dataset=cifar100 view=wsearch assim=a2
"""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.artifacts.artifact import Artifact
from assimilate.assimilation.step import GENERATED, Trained
from assimilate.config import Job, rank
from assimilate.data.transform import Transform
from assimilate.encoder.step import ENCODER, GivenEncoder, ImportedEncoder
from assimilate.graph.built import Built
from assimilate.import_encoder import NO_MEAN, UNIT_STD, import_given, import_reference
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.tracking.tracker import EVERY_N_STEPS
from assimilate.views.learned import LearnedView, OnlineSearch, Viewmaker

if TYPE_CHECKING:
    from assimilate.assimilation.contrastive import ContrastiveModule
    from assimilate.data.augmentation import Augmentation
    from assimilate.data.views import ViewSlot
    from assimilate.encoder.encoder import Encoder
    from assimilate.views.embedding import FrozenEmbedding
    from assimilate.views.synthesis import FreshViews

VIEWMAKER = "viewmaker.pt"
HISTORY = "history.csv"
CURVE = "knn_curve.csv"
RESUMABLE = ("last.ckpt", "last.previous.ckpt")


@stage("train")
def main(job: Job) -> float | None:
    """Run one job. Returns what `objective` names, where a sweep searches by it."""
    if rank() is not None:
        from assimilate.launch import train_as_rank

        train_as_rank(Session(job, prepare="never"))
        return None
    session = Session(job)
    if job.config["objective"] is None or session.prepare in ("plan", "only"):
        complete_run(session)
        return None
    from assimilate.objective import check_measurable, measure_objective

    check_measurable(session)
    complete_run(session)
    return measure_objective(session)


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

    if isinstance(artifact.step, ImportedEncoder):
        return import_reference(session, staging, ENCODER)
    if isinstance(artifact.step, GivenEncoder):
        return import_given(session, artifact, staging, ENCODER)
    trainer = session.config["trainer"]
    if trainer["devices"] != 1:
        launch_ranks(session, artifact)
    else:
        fit_encoder(session, artifact, staging)
    return Built({"ranks": trainer["devices"]}, frozenset({HISTORY, CURVE}), frozenset(RESUMABLE))


def _slots(session: Session, step: Trained) -> "list[ViewSlot]":
    """The views of a step. Those of a Viewmaker or an online search are made in the module, from the images."""
    from assimilate.data.views import ViewSlot

    compiled = session.config["data"]["compile_augmentation"]
    generated = None
    if isinstance(step.view, LearnedView):
        generated = ViewSlot("image", step.view.given_images.augmentation(compiled=compiled))
    elif step.generated_transform is not None:
        otherwise = step.otherwise.augmentation(compiled=compiled) if step.otherwise is not None else None
        changed = step.generated_transform.augmentation(compiled=compiled)
        generated = ViewSlot("generated", changed, step.probability, otherwise)
    slots = []
    for slot in step.slots:
        if isinstance(slot, Transform):
            slots.append(ViewSlot("image", slot.augmentation(compiled=compiled)))
        else:
            assert generated is not None
            slots.append(generated)
    return slots


def _attach_search(session: Session, artifact: Artifact, module: "ContrastiveModule") -> None:
    from assimilate.assimilation.online import OnlineSearchTraining
    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator

    assert isinstance(module, OnlineSearchTraining)
    transform = artifact.step.generated_transform
    assert transform is not None
    frozen = load_reference(session, artifact.parents["reference"]) if "reference" in artifact.parents else None
    module.attach(
        load_generator(session, artifact.parents["generator"]),
        load_latents(artifact.parents["latents"]),
        transform.augmentation(),
        frozen,
    )


def _module(step: Trained, mean: Sequence[float], std: Sequence[float]) -> "ContrastiveModule":
    from assimilate.assimilation.a1 import A1
    from assimilate.assimilation.a2 import A2
    from assimilate.assimilation.adversarial import ViewmakerTraining
    from assimilate.assimilation.online import OnlineSearchTraining
    from assimilate.assimilation.simclr import SimCLR

    # Views of a cache that are expert views of the image are real ones.
    synthetic = step.view is not None and not step.view.real
    settings: dict[str, Any] = {
        "encoder": step.network.model_dump(),
        "loss": step.loss,
        "alignment": step.alignment,
        "optimizer": step.optimizer,
        "epochs": step.epochs,
        "mean": mean,
        "std": std,
        "batchnorm": step.batchnorm,
        "generated_views": [i for i, slot in enumerate(step.slots) if slot == GENERATED and synthetic],
        "init_seed": step.seed,
    }
    view = step.view
    if isinstance(view, Viewmaker):
        viewmaker = {"distortion_budget": view.distortion_budget, "width": view.width, "lr": view.lr}
        return ViewmakerTraining(viewmaker=viewmaker, viewmaker_lr=view.lr, **settings)
    if isinstance(view, OnlineSearch):
        return OnlineSearchTraining(online=view.settings, **settings)
    modules: dict[str, type[ContrastiveModule]] = {"simclr": SimCLR, "a1": A1, "a2": A2}
    return modules[step.assim](**settings)


def fresh_views(session: Session, artifact: Artifact) -> "FreshViews":
    """The source of an encoder's views that are made while it trains."""
    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator
    from assimilate.views.synthesis import FreshViews

    return FreshViews(
        load_generator(session, artifact.parents["generator"]),
        load_latents(artifact.parents["latents"]),
        artifact.step.view.move(),
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

    step, dataset, trainer = artifact.step, session.dataset, session.config["trainer"]
    assert isinstance(step, Trained)
    source: ViewSource | None = None
    if "view" in artifact.parents:
        source = CachedViews.open(artifact.parents["view"].path, num_used=step.views_used)
    elif step.view is not None and not isinstance(step.view, LearnedView):
        source = fresh_views(session, artifact)
    mean, std = step.mean or NO_MEAN, step.std or UNIT_STD
    datamodule = ContrastiveDataModule(
        dataset.train,
        mean=mean,
        std=std,
        slots=_slots(session, step),
        batch_size=step.batch_size,
        seed=step.seed,
        view_source=source,
        drop_last=step.drop_last,
        placement=session.config["data"]["placement"],
    )
    if isinstance(trainer["devices"], int) and (note := datamodule.describe_left_out(trainer["devices"])):
        session.terminal.say(f"  {note}")
    module = _module(step, mean, std)
    if isinstance(step.view, OnlineSearch):
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
            max_epochs=step.epochs,
            workdir=staging,
            accelerator="gpu" if session.device == "cuda" else "cpu",
            devices=ranks,
            strategy="ddp" if ranks != 1 else "auto",
            precision=trainer["precision"],
            accumulate_grad_batches=step.accumulate_grad_batches,
            cudnn_benchmark=trainer["cudnn_benchmark"],
            checkpoint_every_n_epochs=trainer["checkpoint_every_n_epochs"],
            callbacks=[*monitors, *watchers],
            loggers=session.tracker.loggers(subject),
            log_every_n_steps=session.config["logger"].get("every_n_steps", EVERY_N_STEPS),
            progress=progress,
            options=step.trainer.given,
        )
    if not module.trainer.is_global_zero:
        return
    module.save_encoder(staging / ENCODER)
    if isinstance(step.view, Viewmaker):
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
