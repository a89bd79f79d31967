"""Which overrides make a setting what it is, and which say where, on what or how it is computed."""

from assimilate.assimilation.trainer_options import moves_numbers

# What may accompany a row without making it another run.
ROW_COMPANIONS = ("dataset", "seed", "budget", "dataset.root", "dataset.name", "dataset.download")
NEUTRAL_OVERRIDES = (
    *("trainer", "logger", "prepare", "yes", "out", "force", "verify", "shard", "preview", "knn", "objective"),
    *("hydra", "loggers", "data.placement", "data.compile_augmentation", "dataset.download", "probe.floors"),
)


def is_neutral(key: str) -> bool:
    """Whether a key of an override says where and how a run is computed, not what."""
    if moves_numbers(key):
        return False
    if key.rpartition(".")[2].startswith("checkpoint_every"):
        return True
    return any(key == name or key.startswith(f"{name}.") for name in NEUTRAL_OVERRIDES)


def key_of(word: str) -> str:
    """The key of an override, without what adds or removes it."""
    return word.lstrip("+~").split("=")[0]


def is_setting(word: str) -> bool:
    """Whether an override is of a run's setting: no seed, budget or data set, nor what decides no number."""
    return not is_neutral(key_of(word)) and word.split("=")[0] not in ROW_COMPANIONS
