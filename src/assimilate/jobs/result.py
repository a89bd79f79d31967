"""The end of a run: its result, its report, the table that it prints, and the value that a search maximises."""

from collections.abc import Mapping
from typing import Any

import torch

from assimilate.data.images import ImageArrays
from assimilate.data.order import fixed_subset
from assimilate.encoder.curves import CURVE, read_rows
from assimilate.errors import UserError
from assimilate.files.whole_file import may_write
from assimilate.graph.cost import duration
from assimilate.jobs.dashboard import keep_curves, tell_result
from assimilate.jobs.pictures import draw_pictures
from assimilate.jobs.runs import claim_run_folder, finished_run, write_metrics
from assimilate.jobs.session import Session
from assimilate.pages.metrics import compare, note_of
from assimilate.pages.result_file import read_metrics, with_baseline
from assimilate.pages.run import Run
from assimilate.pages.run_page import write_run_page
from assimilate.pages.terminal import run_table
from assimilate.probes.collapse import collapse
from assimilate.probes.features import extract_features, finite_features, freeze
from assimilate.probes.floors import COMMONEST_CLASS, PIXELS, below, commonest_class, named_as
from assimilate.probes.knn import leave_one_out_accuracy
from assimilate.run.baseline_words import words_of_the_baseline
from assimilate.run.checks import KNN_TRAIN
from assimilate.run.words import typed_words


def finish_run(session: Session) -> None:
    """Probe the run's encoder (and f, the SimCLR baseline), write metrics.json and the report, print the table."""
    chain, job = session.chain, session.job
    claim_run_folder(job)
    for probe in (*chain.floors.values(), chain.reference_probe, chain.probe):
        if probe is not None:
            session.ensure(probe)
    measured = {"metrics": {}, "protocols": {}} if chain.probe is None else session.load(chain.probe.step)
    if chain.probe is None:
        why = "no labels" if session.dataset.train.labels is None else "no test images"
        session.say(f"probes skipped: {why}")
        measured["skipped"] = why
    trained = chain.encoder.manifest()
    beside = {floor: session.load(artifact.step) for floor, artifact in chain.floors.items()}
    floors = _floors(session, measured, beside)
    means = {name: value["mean"] for name, value in measured["metrics"].items()}
    result = {
        **measured,
        "knn_curve": [[row["epoch"], row["knn5"]] for row in read_rows(chain.encoder.path / CURVE)],
        "seconds": {step.label: step.manifest()["facts"]["seconds"] for step in chain.made_of()},
        "device": trained["facts"]["device"],
        "versions": trained["provenance"]["versions"],
        "commit": trained["provenance"]["commit"],
        "provenance": {
            "training": trained["provenance"],
            "probe": None if chain.probe is None else chain.probe.manifest()["provenance"],
        },
        "data_fingerprint": session.dataset.fingerprint,
        "data_notes": _notes(session),
        "notes": _warnings(session, measured),
        "probe": None if chain.probe is None else chain.probe.label,
        "paired_with": None if chain.paired_with is None else chain.paired_with.label,
        "floors": floors,
        "floor_notes": {floor: found["note"] for floor, found in beside.items() if "note" in found},
        "below_pixels": below(means, floors.get(PIXELS, {})),
        "artifacts": {step.label: step.manifest()["digest"] for step in chain.made_of()},
    }
    if "weights" in trained["facts"]:
        result["weights"] = trained["facts"]["weights"]
    if chain.reference_probe is not None:
        result["baseline"] = {
            "artifact": chain.reference_probe.label,
            **session.load(chain.reference_probe.step),
        }
    if chain.probe is not None and "weights" not in result and (words := words_of_the_baseline(job)):
        result["baseline_command"] = job.command_of("train", typed_words(words))
    write_metrics(job, result, session.say)
    if may_write(job.run_dir):
        keep_curves(session)
    tell_result(session, result)
    draw_pictures(session)
    run = finished_run(job)
    report = write_run_page(job.out, run)
    _print_table(session, with_baseline(run, job.out))
    session.summarize()
    total = sum(result["seconds"].values())
    session.say(f"time:    {duration(session.seconds)} now; building the whole chain took {duration(total)}")
    session.say(f"result:  {job.run_dir / 'metrics.json'}")
    session.say(f"report:  {report}")


def _print_table(session: Session, run: Run) -> None:
    table = run_table(run)
    if table is None:
        return
    session.terminal.console.print(table)
    for note in (*run.notes, run.warning):
        if note:
            session.say(f"note: {note}")
    if below := note_of(cell for cells in compare(run).values() for cell in cells):
        session.say(below)
    session.say("± is the standard deviation over probe seeds of one training run")
    if run.baseline_command and not run.is_beside_its_baseline:
        session.say(f"baseline to compare with: {run.own_baseline_command}")


def _floors(session: Session, measured: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Of each accuracy, what one has to beat before it says anything of the encoder: {floor: {metric: percent}}."""
    chain, names = session.chain, [*measured["metrics"], *measured.get("diverged", {})]
    test = None if chain.probe is None else chain.probe.step.images_at(session).test
    if chain.probe is None or test is None or test.labels is None:
        return {}
    accuracies = [name for name in names if name in chain.probe.step.accuracies]
    found = {COMMONEST_CLASS: commonest_class(test.labels, accuracies)}
    for floor, other in beside.items():
        found[floor] = named_as(names, {name: value["mean"] for name, value in other["metrics"].items()})
    return found


def _warnings(session: Session, measured: Mapping[str, Any]) -> list[str]:
    """What takes the meaning from the run's numbers, and so stands beside them."""
    chain = session.chain
    notes = list(dict.fromkeys(measured.get("diverged", {}).values()))
    labels = None if chain.probe is None else chain.probe.step.images_at(session).train.labels
    if labels is not None and len(set(labels.tolist())) == 1:
        notes.append("All training images are of one class: accuracies mean nothing.")
    for whose, encoder, probe in (("", chain.encoder, chain.probe), ("f: ", chain.reference, chain.reference_probe)):
        found = [] if probe is None else collapse(probe.manifest()["facts"].get("spread", {}))
        found += [] if encoder is None else encoder.step.doubts(encoder.path, len(session.dataset.train))
        notes += [whose + note for note in found]
    return list(dict.fromkeys(notes))


def _notes(session: Session) -> list[str]:
    """What a reader must know of the images that were trained on and, where they are others, probed on."""
    notes, chain = list(session.dataset.notes), session.chain
    if chain.views is not None:
        notes += chain.views.manifest()["facts"].get("notes", [])
    if chain.evaluation is not None:
        evaluation = session.load(chain.evaluation.step)
        notes += [f"Probed on {evaluation.name}, not on the images of the training.", *evaluation.notes]
    return notes


# ------------------------------------------------------------------------------------------------ objective

# Images in the bank and images to classify, so that a search over a large data set stays cheap.
MAX_IMAGES = 20_000


def check_measurable(session: Session) -> None:
    """Refuse, before anything is trained, an objective that these images cannot give.

    Raises:
        UserError: they have no labels, or no test images where the objective is measured on those.
    """
    name, probe = str(session.config["objective"]), session.chain.probe  # the chain prepares the images
    if name == KNN_TRAIN:
        if session.dataset.train.labels is None:
            raise UserError(
                f"objective={KNN_TRAIN} needs labels, which dataset.name={session.dataset.name} does not have"
            )
    elif probe is None:
        lacking = "labels" if session.dataset.train.labels is None else "test images"
        raise UserError(
            f"objective={name} is measured by a probe: dataset.name={session.dataset.name} has no {lacking}"
        )


def measure_objective(session: Session) -> float:
    """The value to maximise, of a run that is complete; in percent.

    Raises:
        UserError: the run has no such metric.
    """
    name = str(session.config["objective"])
    if name == KNN_TRAIN:
        value = _leave_one_out(session)
        session.say(f"objective: {name} = {value:.2f} (leave-one-out among training images, no test image)")
        return value
    result = read_metrics(session.job.run_dir) or {"metrics": {}}
    metrics = result["metrics"]
    if name in result.get("diverged", {}):
        raise UserError(f"objective={name}: {result['diverged'][name]}")
    if name not in metrics:
        raise UserError(f"objective={name} is no metric of this run; choose {KNN_TRAIN} or one of {', '.join(metrics)}")
    value = float(metrics[name]["mean"])
    session.say(f"objective: {name} = {value:.2f}, measured on test images: a search by it chooses on the test set")
    return value


def _leave_one_out(session: Session) -> float:
    train = session.dataset.train
    assert train.labels is not None  # check_measurable
    chosen = fixed_subset(len(train), min(MAX_IMAGES, len(train)))
    arrays = ImageArrays(train.images[chosen], train.labels[chosen])
    step = session.chain.encoder.step
    encoder = session.load(step).to(session.device)
    freeze(encoder)
    clean = step.whole_images.augmentation()
    features = extract_features(encoder, arrays, mean=encoder.mean, std=encoder.std, transform=clean)
    return leave_one_out_accuracy(finite_features(features), torch.as_tensor(arrays.labels), k=min(5, len(chosen) - 1))
