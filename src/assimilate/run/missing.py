"""Settings that a run needs and nothing sets: which those are, and where to give them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from assimilate.errors import NoValueError, UserError
from assimilate.graph.wiring import TARGET, find_class
from assimilate.run.composing import own_files
from assimilate.run.keys import PLACES
from assimilate.run.known_keys import HEADER, leaves

# What to say when a mandatory value was not given.
MISSING_HINTS = {
    "dataset.root": "dataset=folder needs the folder of your images: dataset.root=/path/to/images",
    "view.path": "view=external needs a folder <index>/<k>.png or an array of views: view.path=/path/to/views",
    "trainer.devices": "trainer=ddp needs the number of processes: trainer.devices=2",
}
# What every run reads, whatever its components are.
_ALWAYS_READ = (
    *("seed", "epochs", "budget.name", "generator._target_"),
    *(f"{group}.name" for group in ("dataset", "view", "assim", "loss")),
)


def check_marked(config: DictConfig) -> None:
    """Refuse `???`.

    Raises:
        UserError: a setting holds it.
    """
    missing = [key for key in MISSING_HINTS if OmegaConf.is_missing(*_node_of(config, key))]
    for key in missing or sorted(OmegaConf.missing_keys(config)):
        raise UserError(MISSING_HINTS[key]) if key in MISSING_HINTS else NoValueError(key)


def _node_of(config: DictConfig, key: str) -> tuple[Any, str]:
    group, name = key.split(".")
    return config[group], name


def check_always_read(config: Mapping[Any, Any]) -> None:
    """Refuse a configuration without what every run reads.

    Raises:
        NoValueError: a key is absent, or a name is null.
    """
    given = dict(leaves(config))
    for key in _ALWAYS_READ:
        if key not in given or (given[key] is None and key.endswith(".name")):
            raise NoValueError(key)


def where_to_give(error: NoValueError, config: DictConfig, parsed: Sequence[Override]) -> UserError:
    """The error, with the file of the user's own option that lacks the value, if there is one.

    Args:
        error: names the key.
        config: the composed configuration.
        parsed: the overrides that compose to it.

    Raises:
        UserError: the option names a class that cannot be used, so what its settings are is not known.
    """
    group, _, name = error.key.partition(".")
    base = next((base for path, base in PLACES if path == group), None)
    target = OmegaConf.select(config, f"{group}.{TARGET}") if name else None
    if base is not None and target is not None:
        find_class(f"{group}.{TARGET}", target, base)
    files = [file for file in own_files(parsed) if file.parent.name == group]
    if not files:
        return error
    whole = files[-1].read_text(encoding="utf-8").startswith(f"{HEADER}_global_")
    return UserError(f"{error}, or {error.key if whole else name} in {files[-1]}")
