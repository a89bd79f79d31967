"""Settings that nothing in the chosen run reads: each is refused with its reason (DESIGN §4)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assimilate.errors import UserError
from assimilate.settings.identity import needs_generator, transforms_generated, uses_view, view_slots
from assimilate.settings.options import SCHEDULES, UNAUGMENTED_PROBES
from assimilate.settings.reference import reference_config, reference_overrides, trains_reference, uses_reference

Config = Mapping[str, Any]


@dataclass(frozen=True)
class _Training:
    """One of the trainings that a run's settings reach: its own, and that of f if one is trained."""

    config: Config
    loss: str
    own: Config  # settings that it does not take from the run

    def takes(self, key: str) -> bool:
        group, _, name = key.partition(".")
        return name not in self.own.get(group, {})


def _trainings(config: Config) -> Iterator[_Training]:
    yield _Training(config, config["loss"]["name"], {})
    if trains_reference(config):
        yield _Training(reference_config(config), config["simclr_loss"], reference_overrides(config))


@dataclass(frozen=True)
class Use:
    """When any of `keys` is read (one that ends in a dot names a whole group), and what to say when it is not."""

    keys: tuple[str, ...]
    used: Callable[[Config], bool]
    why: Callable[[Config], str]


def _by_a_training(key: str, reads: Callable[[_Training], bool]) -> Callable[[Config], bool]:
    return lambda config: any(training.takes(key) and reads(training) for training in _trainings(config))


def _schedule_reads(setting: str) -> Callable[[Config], bool]:
    return _by_a_training(
        f"optimizer.{setting}", lambda training: setting in SCHEDULES[training.config["optimizer"]["schedule"]]
    )


def _augments(config: Config) -> bool:
    return config["probe"]["name"] not in UNAUGMENTED_PROBES


def _draws_expert_views(config: Config) -> bool:
    measured = config["view"]["name"] == "wsearch" and config["view"]["epsilon1"] == "auto"
    leaking = config["generator"].get("augment") == "leak"  # Appendix I: real images, expert transformations
    return (
        "expert" in view_slots(config)
        or config["assim"].get("generated_transform") == "expert"
        or (uses_view(config) and "expert" in (config["view"]["name"], config["view"].get("transform")))
        or trains_reference(config)
        or (needs_generator(config) and (measured or leaking))
    )


def _searches_by_eq3(config: Config) -> bool:
    return bool(config["view"].get("objective", "eq3") == "eq3")


USES = (
    Use(
        ("view.epsilon1", "view.epsilon2", "view.lambda", "view.hinge"),
        _searches_by_eq3,
        lambda config: f"view.objective={config['view']['objective']} has a threshold alone; these are eq3's",
    ),
    Use(
        ("view.threshold",),
        lambda config: not _searches_by_eq3(config),
        lambda config: "view.objective=eq3 has no threshold",
    ),
    Use(
        ("view.encoder.checkpoint",),
        uses_reference,
        lambda config: "this run looks at nothing through f (view=online does with view.frozen=true)",
    ),
    *(
        Use(
            (f"optimizer.{setting}",),
            _schedule_reads(setting),
            lambda config: f"optimizer.schedule={config['optimizer']['schedule']} does not read it",
        )
        for setting in sorted({setting for settings in SCHEDULES.values() for setting in settings})
    ),
    Use(
        ("optimizer.momentum",),
        _by_a_training("optimizer.momentum", lambda training: training.config["optimizer"]["name"] == "sgd"),
        lambda config: f"optimizer.name={config['optimizer']['name']} has no momentum",
    ),
    Use(
        ("loss.temperature", "loss.base_temperature"),
        lambda config: any(training.loss != "simsiam" for training in _trainings(config)),
        lambda config: "SimSiam has no temperature, and no encoder f is trained with a loss that has one",
    ),
    Use(
        ("encoder.predictor_dim",),
        _by_a_training("encoder.predictor_dim", lambda training: training.loss == "simsiam"),
        lambda config: f"only SimSiam trains a predictor, and this run has loss={config['loss']['name']}",
    ),
    Use(
        ("encoder.hidden_dim",),
        _by_a_training(
            "encoder.hidden_dim", lambda training: training.config["encoder"]["projector"] not in ("linear", "none")
        ),
        lambda config: f"encoder.projector={config['encoder']['projector']} has no hidden layer",
    ),
    Use(
        ("encoder.output_dim",),
        _by_a_training("encoder.output_dim", lambda training: training.config["encoder"]["projector"] != "none"),
        lambda config: "encoder.projector=none leaves the features as they are",
    ),
    Use(
        ("simclr_loss", "view_encoder", "view.encoder.seed", "view.encoder.training."),
        trains_reference,
        lambda config: "it is about the training of f, and this run trains no f",
    ),
    Use(
        ("assim.generated_transform",),
        transforms_generated,
        lambda config: (
            f"view={config['view']['name']} is drawn anew by that transformation alone"
            + (" unless view.cached=true" if config["view"]["name"] == "expert" else "")
            if uses_view(config)
            else "no view of this run is a generated one"
        ),
    ),
    Use(
        ("data.expert.",),
        _draws_expert_views,
        lambda config: "nothing in this run draws an expert view (basic has settings of its own)",
    ),
    Use(
        ("data.std",),
        lambda config: bool(config["data"]["normalize"]),
        lambda config: "data.normalize=false leaves pixels in [0, 1]",
    ),
    Use(
        ("inversion.perceptual_norm",),
        lambda config: bool(config["inversion"]["perceptual"] != "none"),
        lambda config: "inversion.perceptual=none compares no feature maps",
    ),
    Use(
        ("probe.num_draws", "probe.augmentation_seed", "probe.draws"),
        _augments,
        lambda config: f"probe.name={config['probe']['name']} trains on the features of whole images and draws nothing",
    ),
)


def check_used(config: Config, keys: Sequence[str]) -> None:
    """Refuse overrides that nothing in the run reads.

    Args:
        config: the resolved configuration.
        keys: the keys of the command line's overrides.

    Raises:
        UserError: such keys, and why they are not read.
    """
    for use in USES:
        concerned = [key for key in keys if any(_names(known, key) for known in use.keys)]
        if concerned and not use.used(config):
            raise UserError(f"{', '.join(concerned)} would be ignored: {use.why(config)}")


def _names(known: str, key: str) -> bool:
    return key == known or (known.endswith(".") and key.startswith(known))
