"""The value that a search maximises (`objective`)."""

import torch

from assimilate.data.images import ImageArrays
from assimilate.data.order import fixed_subset
from assimilate.errors import UserError
from assimilate.jobs.session import Session
from assimilate.pages.result_file import read_metrics
from assimilate.probes.features import extract_features, finite_features, freeze
from assimilate.probes.knn import leave_one_out_accuracy
from assimilate.run.objective import KNN_TRAIN

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
