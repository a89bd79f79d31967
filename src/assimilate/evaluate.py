"""Stage: probe a trained row and write its result.

python -m assimilate.evaluate dataset=cifar100 view=wsearch assim=a2
python -m assimilate.evaluate dataset=cifar100 checkpoint=/my/resnet18.pth     weights that somebody else trained
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import Artifact
from assimilate.assimilation.step import Trained
from assimilate.assimilation.trainer_options import moves_numbers
from assimilate.config import Job
from assimilate.graph.built import Built
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.pages.result_file import PROBED
from assimilate.pages.run import Run
from assimilate.pages.terminal import run_table
from assimilate.settings.identity import SAMPLED_DATA
from assimilate.words import shell_word

# In fewer the loss of a sound training is still about where it began.
STEPS_OF_A_TRAINING = 50
CURVE_LABEL = "5-NN, majority vote, cosine, backbone features, un-augmented"


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with linear-probe and kNN accuracies of an encoder and of its random initialisation.

    A linear probe that diverges leaves its metrics under `diverged`, with the reason, and the others as they are: they
    were measured, and the same command would end the same.

    Raises:
        ValueError: the encoder's features are not finite.
    """
    import torch

    from assimilate.encoder.encoder import Encoder
    from assimilate.probes.collapse import some, spread_of
    from assimilate.probes.features import extract_features, finite_features, freeze, staying_frozen
    from assimilate.probes.knn import knn_metrics
    from assimilate.probes.linear import DivergedError, linear_probe
    from assimilate.probes.protocol import PROTOCOLS
    from assimilate.train import load_trained, whole_views

    dataset, config = session.evaluation_dataset, session.config["probe"]
    protocol = PROTOCOLS[config["name"]]
    assert dataset.test is not None
    encoder, mean, std = load_trained(artifact.parents["encoder"])
    freeze(encoder.to(session.device))

    def features_of(network: Encoder) -> list[Any]:
        assert dataset.test is not None
        clean = whole_views(session.config)
        return [
            finite_features(extract_features(network, arrays, mean=mean, std=std, transform=clean))
            for arrays in (dataset.train, dataset.test)
        ]

    train_y, test_y = torch.as_tensor(dataset.train.labels), torch.as_tensor(dataset.test.labels)
    fresh = Encoder.from_spec(encoder.spec, init_seed=getattr(artifact.parents["encoder"].step, "seed", 0))
    freeze(fresh.to(session.device))
    untrained_bank, untrained_queries = features_of(fresh)
    untrained = knn_metrics(untrained_bank, train_y, untrained_queries, test_y, k=min(5, len(train_y)))
    with staying_frozen(encoder), session.terminal.bar(f"Probing {artifact.name}") as progress:
        bank, queries = features_of(encoder)
        neighbours = knn_metrics(bank, train_y, queries, test_y, k=min(5, len(train_y)), further=config["neighbours"])
        measured = {"features": spread_of(some(bank)), "untrained": spread_of(some(untrained_bank))}
        if encoder.spec.projector != "none":
            with torch.no_grad():
                measured["projections"] = spread_of(encoder.projector(some(bank)))
        metrics: dict[str, Any] = {}
        labels: dict[str, str] = {}
        diverged: dict[str, str] = {}
        try:
            probe = linear_probe(
                encoder,
                dataset.train,
                dataset.test,
                mean=mean,
                std=std,
                preset=config["name"],
                seeds=tuple(config["seeds"]),
                num_classes=len(dataset.class_names),
                num_epochs=config["num_epochs"],
                batch_size=config["batch_size"],
                lr=config["lr"],
                flip=session.config["dataset"]["flip"],
                augmentation_seed=config["augmentation_seed"],
                draws=config["draws"],
                num_draws=config["num_draws"],
                progress=progress,
            )
            metrics |= probe.summary()
            labels |= probe.labels
        except DivergedError as error:
            diverged = dict.fromkeys(("acc1", "acc5") if len(dataset.class_names) > 5 else ("acc1",), str(error))
            session.terminal.say(f"warning: {error}; the other measurements are kept")
    further = {f"knn{k}_cosine": f"knn{k}" for k in config["neighbours"]}
    names = {**further, "knn5_cosine": "knn5", "knn5_euclidean": "knn5_euclidean", "knn200_weighted": "knn200"}
    for name, value in neighbours.items():
        metrics[names.get(name, name)] = {"mean": value, "std": 0.0, "n": 1, "values": [value]}
    changes = _changes(config, session.config["dataset"]["flip"], augments=protocol.train != "none")
    here = f" (here: {', '.join(changes)})" if changes else ""
    protocols = {
        **{f"knn{k}": f"{k}-NN, majority vote, cosine, backbone features, un-augmented" for k in config["neighbours"]},
        **{metric: label + here for metric, label in labels.items()},
        "knn5": CURVE_LABEL,
        "knn5_euclidean": "5-NN, majority vote, Euclidean, un-normalised backbone features",
        "knn200": "200-NN, cosine, weight exp(s/.1): what the E-SSL code calls kNN",
    }
    weights = artifact.parents["encoder"].manifest()["facts"].get("weights")
    whose = "" if weights is None else f" [{weights['text']}]"
    result = {
        "metrics": metrics,
        "protocols": {name: label + whose for name, label in protocols.items() if name in metrics},
        "spread_over": "probe seeds of one training run",
        "untrained": {names.get(name, name): value for name, value in untrained.items()},
        **({"diverged": diverged} if diverged else {}),
    }
    (staging / PROBED).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    means = {metric: value["mean"] for metric, value in metrics.items() if metric in ("acc1", "knn5")}
    return Built({**means, "spread": measured})


def _changes(config: dict[str, Any], flip: float, *, augments: bool) -> list[str]:
    """How this probe departs from the protocol that its label names; one that draws nothing has no draws to change."""
    changes = [f"{key} {config[key]}" for key in ("num_epochs", "batch_size", "lr") if config[key] is not None]
    if augments and flip == 0:
        changes.append("no flips")
    if augments and config["num_draws"] is not None:
        changes.append(f"the epochs take turns with {config['num_draws']} augmentation draws")
    return changes


def read_probe(artifact: Artifact) -> dict[str, Any]:
    """What `build` measured."""
    result: dict[str, Any] = json.loads((artifact.path / PROBED).read_text(encoding="utf-8"))
    return result


def evaluate_run(session: Session) -> None:
    """Probe the run's encoder (and f, the SimCLR baseline), write metrics.json and the report, print the table."""
    from assimilate.dashboard import keep_curves, tell_result
    from assimilate.jobs.runs import claim_run_folder, finished_run, write_metrics
    from assimilate.pages.run_page import write_run_page
    from assimilate.run_pictures import draw_pictures
    from assimilate.train import CURVE, read_rows
    from assimilate.whole_file import may_write

    chain, job = session.chain, session.job
    claim_run_folder(job)
    for probe in (chain.reference_probe, chain.probe):
        if probe is not None:
            session.ensure(probe)
    measured = read_probe(chain.probe) if chain.probe is not None else {"metrics": {}, "protocols": {}}
    if chain.probe is None:
        why = "no labels" if session.dataset.train.labels is None else "no test images"
        session.terminal.say(f"probes skipped: {why}")
        measured["skipped"] = why
    trained = chain.encoder.manifest()
    result = {
        **measured,
        "knn_curve": [[row["epoch"], row["knn5"]] for row in read_rows(chain.encoder.path / CURVE)],
        "seconds": {step.label: step.manifest()["facts"]["seconds"] for step in chain.all()},
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
        "floors": _floors(session, [*measured["metrics"], *measured.get("diverged", {})]),
        "artifacts": {step.label: step.manifest()["digest"] for step in chain.all()},
    }
    if "weights" in trained["facts"]:
        result["weights"] = trained["facts"]["weights"]
    if chain.reference_probe is not None:
        result["baseline"] = {"artifact": chain.reference_probe.label, **read_probe(chain.reference_probe)}
    write_metrics(job, result, session.terminal.say)
    if may_write(job.run_dir):
        keep_curves(session)
    tell_result(session, result)
    draw_pictures(session)
    run = finished_run(job)
    report = write_run_page(job.out, run)
    _print_table(session, run)
    session.summarize()
    total = sum(result["seconds"].values())
    session.terminal.say(f"compute: {session.seconds:.0f} s now; {total:.0f} s for the whole chain when it was built")
    session.terminal.say(f"result:  {job.run_dir / 'metrics.json'}")
    session.terminal.say(f"report:  {report}")


def _print_table(session: Session, run: Run) -> None:
    table = run_table(run)
    if table is None:
        return
    session.terminal.console.print(table)
    for note in run.notes:
        session.terminal.say(f"note: {note}")
    session.terminal.say(f"± is the standard deviation over probe seeds of one training run; budget: {run.budget}")
    if run.baseline.artifact is None and run.weights is None and session.config["assim"]["name"] != "simclr":
        session.terminal.say(f"baseline to compare with: {baseline_command(run)}")


# What a SimCLR run has no use for, and hardware; everything else said of the run is said of its baseline.
_NOT_OF_BASELINES = (
    *("view", "assim", "view_encoder", "simclr_loss", "inversion", "generator", "loss", "analysis", "seed"),
    *("trainer", "logger", "prepare", "force", "knn", "objective", "sweep", "hydra"),
)
_OF_BASELINES = ("loss.temperature", "loss.base_temperature", "trainer.precision")


def baseline_command(run: Run) -> str:
    """The command of the SimCLR run that a run without a baseline can be compared with."""
    sampled = run.group("dataset").get("kind") == SAMPLED_DATA  # its images are what the generator's settings say
    words = []
    for word in run.overrides:
        key = word.split("=")[0].lstrip("+")
        group = key.split(".")[0]
        kept = group not in _NOT_OF_BASELINES or (sampled and group == "generator")
        kept = kept or key in _OF_BASELINES or moves_numbers(key)
        if kept and not word.startswith("+table"):
            words.append(shell_word(word))
    return " ".join(["python -m assimilate.train", *words, "assim=simclr"])


def _floors(session: Session, metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of each accuracy, what one has to beat before it says anything of the encoder: {floor: {metric: percent}}."""
    from assimilate.probes.floors import COMMONEST_CLASS, commonest_class

    test = session.evaluation_dataset.test if session.chain.probe is not None else None
    return {} if test is None or test.labels is None else {COMMONEST_CLASS: commonest_class(test.labels, metrics)}


def _warnings(session: Session, measured: Mapping[str, Any]) -> list[str]:
    """What takes the meaning from the run's numbers, and so stands beside them."""
    from assimilate.probes.collapse import collapse

    chain = session.chain
    notes = list(dict.fromkeys(measured.get("diverged", {}).values()))
    labels = session.evaluation_dataset.train.labels if chain.probe is not None else None
    if labels is not None and len(set(labels.tolist())) == 1:
        notes.append("All training images are of one class: accuracies mean nothing.")
    for whose, encoder, probe in (("", chain.encoder, chain.probe), ("f: ", chain.reference, chain.reference_probe)):
        found = [] if probe is None else collapse(probe.manifest()["facts"].get("spread", {}))
        found += [] if encoder is None else uninformed_note(encoder, len(session.dataset.train))
        notes += [whose + note for note in found]
    return list(dict.fromkeys(notes))


def uninformed_note(encoder: Artifact, num_images: int) -> list[str]:
    """A sentence if the training's loss ends where embeddings that tell nothing have it; none of one that has begun."""
    from assimilate.train import HISTORY, read_rows

    step, rows = encoder.step, read_rows(encoder.path / HISTORY)
    if not isinstance(step, Trained) or not rows or rows[-1]["step"] < STEPS_OF_A_TRAINING:
        return []
    full, rest = divmod(num_images, step.batch_size)
    sizes = [step.batch_size] * full + ([rest] if rest and not step.drop_last else [])
    told = [step.loss.uninformed(batch_size=size, num_views=len(step.slots)) for size in sizes]
    known = [value for value in told if value is not None]
    if len(known) < len(told):
        return []
    reference = sum(known) / len(known)
    loss = rows[-1].get("base", rows[-1]["loss"] / step.loss.scale)
    if loss < reference - 1e-3:  # of a collapsed network they agree to 1e-6
        return []
    return [
        f"The loss ends at {loss:.3f}, and embeddings that tell nothing of the images have {reference:.3f}: nothing "
        "was learned; try another optimizer.lr, more epochs or other views."
    ]


def _notes(session: Session) -> list[str]:
    """What a reader must know of the images that were trained on and, where they are others, probed on."""
    notes = list(session.dataset.notes)
    if session.chain.views is not None:
        notes += session.chain.views.manifest()["facts"].get("notes", [])
    if session.chain.evaluation is not None:
        evaluation = session.evaluation_dataset
        notes += [f"Probed on {evaluation.name}, not on the images of the training.", *evaluation.notes]
    return notes


@stage("evaluate")
def main(job: Job) -> None:
    """Evaluate this job's trained encoder, which is trained first if it is missing and prepare=auto; or checkpoint=."""
    from assimilate.train import complete_run

    complete_run(Session(job))


if __name__ == "__main__":
    sys.exit(main())
