"""Every key that a component reads, derived from the fields of the classes."""

import functools

from assimilate.assimilation.arrangement import A1Views, A2Views, Arrangement, Drawing, Replacement, SimCLRViews
from assimilate.assimilation.loss import Alignment, Loss
from assimilate.assimilation.step import Trained
from assimilate.data.dataset import Dataset
from assimilate.encoder.step import ImportedEncoder
from assimilate.generator.sampled_dataset import Sampled
from assimilate.generator.step import Generator
from assimilate.graph.settings import Settings
from assimilate.graph.wiring import places_of
from assimilate.inversion.step import Latents
from assimilate.probes.step import Probe
from assimilate.run.job_settings import JobSettings
from assimilate.views.calibration_step import Calibration
from assimilate.views.step import View

# What stands where in a configuration.
PLACES: tuple[tuple[str | None, type[Settings]], ...] = (
    ("", JobSettings),
    ("dataset", Dataset),
    ("dataset", Sampled),
    ("dataset.evaluation", Dataset),
    ("generator", Generator),
    ("inversion", Latents),
    ("view", View),
    ("view", Drawing),
    ("view.encoder", ImportedEncoder),
    ("assim", Arrangement),
    ("assim", A1Views),
    ("assim", A2Views),
    ("assim", SimCLRViews),
    ("assim", Replacement),
    ("loss", Loss),
    ("loss", Alignment),
    (None, Trained),
    (None, Calibration),
    ("probe", Probe),
)
# Read by the recipe itself.
OTHERS = ("view.encoder.seed", "view.encoder.training", "simclr_loss", "assim.generated_transform")


@functools.cache
def known_keys() -> dict[str, bool]:
    """Every key that a component reads; whether it can hold nothing but a path."""
    found = dict.fromkeys(OTHERS, False)
    for path, base in PLACES:
        for key, is_path in places_of(path, base).items():
            found[key] = found.get(key, False) or is_path
    return found
