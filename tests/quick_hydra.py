"""Hydra's compositions in a process of tests, which composes for hundreds of commands.

What `once_loader` remembers within a command is remembered here from one command to the next, as long as no file of the
folders of options changes; and choices are listed only for a defaults list that has `${…}`. What is composed is the
same. Processes that tests start have the loader as it is.
"""

import copy
import os
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

from assimilate.run.once_loader import OnceLoader, ReadOnce

_list_choices = defaults_list._create_interpolation_map
_compose_options, _initialize = OnceLoader._compose_options, ReadOnce.initialize_sources
_files: dict[object, dict[str, ConfigResult | None]] = {}
_options: dict[object, DictConfig] = {}


def _state(search_path: ConfigSearchPath) -> tuple[object, ...]:
    """Where options are looked for, and of each file there when it was written."""
    folders = [str(part.path) for part in search_path.get_path()]
    found = []
    for folder in folders:
        for place, _, names in os.walk(folder.removeprefix("file://")):
            for name in names:
                state = os.stat(path := os.path.join(place, name))
                found.append((path, state.st_mtime_ns, state.st_size, state.st_ino))
    return (*folders, *found)


def _initialize_sources(self: ReadOnce, config_search_path: ConfigSearchPath) -> None:
    self.state = _state(config_search_path)
    self.files = _files.setdefault(self.state, {})
    ConfigRepository.initialize_sources(self, config_search_path)


def _compose_once(self: OnceLoader, name: str | None, words: tuple[str, ...], mode: RunMode) -> DictConfig:
    key = (self.repository.state, name, words, mode, JobRuntime.instance().get("name"))
    if any("hydra" in word for word in words):  # they may ask for the environment of now
        return _compose_options(self, name, words, mode)
    if key not in _options:
        _options[key] = _compose_options(self, name, words, mode)
    config = _options[key]
    if config.hydra.runtime.cwd != os.getcwd():
        config = copy.deepcopy(config)
        config.hydra.runtime.cwd = os.getcwd()
    return config


def _list_where_asked(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
    if any("${" in repr(default) for default in defaults):
        return _list_choices(overrides, defaults, self_added)
    return DictConfig({})


def install() -> None:
    ReadOnce.initialize_sources = _initialize_sources
    OnceLoader._compose_options = _compose_once
    defaults_list._create_interpolation_map = _list_where_asked
