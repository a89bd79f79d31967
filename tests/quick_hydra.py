"""Hydra's compositions in a process of tests, which composes for hundreds of commands: each in half of its 0.2 s.

Hydra reads its 16 files of YAML anew each time (and so do a command's guard, Hydra's look for hydra.mode, and its job),
and lists the choices for `${…}` in a defaults list once for each file. Here a file is read again only when it has
changed, hydra.mode is looked for only where something may have set it, and choices are listed only for a list that has
`${…}`. What is composed is the same. Processes that tests start have Hydra as it is.
"""

import copy
import os
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

Plugins.instance()  # imports the modules of its classes a second time: those classes are the ones that are used
_files = SourcesRegistry.instance().resolve("file")
_load, _look, _list_choices = _files.load_config, Hydra.get_mode, defaults_list._create_interpolation_map
_read: dict[tuple[str, str, str, int, int, int], ConfigResult] = {}


def _load_once(self: ConfigSource, config_path: str) -> ConfigResult:
    try:
        state = os.stat(os.path.join(self.path, self._normalize_file_name(config_path)))
    except OSError:
        return _load(self, config_path)  # which says so
    key = (self.provider, self.path, config_path, state.st_mtime_ns, state.st_size, state.st_ino)
    if key not in _read:
        _read[key] = _load(self, config_path)
    return copy.deepcopy(_read[key])


def _look_where_set(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    sources = self.config_loader.get_search_path().get_path()
    ours = all(source.provider in ("hydra", "main", "assimilate-experiments", "schema") for source in sources)
    if ours and not any(word.lstrip("+~").startswith(("hydra", "sweep=")) for word in overrides):
        return None  # as for a composition without it
    return _look(self, config_name, overrides)


def _list_where_asked(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
    if any("${" in repr(default) for default in defaults):
        return _list_choices(overrides, defaults, self_added)
    return DictConfig({})


def install() -> None:
    _files.load_config = _load_once
    Hydra.get_mode = _look_where_set
    defaults_list._create_interpolation_map = _list_where_asked
