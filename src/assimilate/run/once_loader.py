"""Hydra's config loader, without doing the same work twice within a command.

A composition takes a third of a second: Hydra reads 16 files of YAML and merges 25 configurations. A command asks for
several: its check and its run for the same one, an option that is named for those without it, and a multirun for three
of every job. Here a file is read once, and the options that words choose are composed once; values are set in a copy.
"""

import copy
from functools import cached_property, lru_cache

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

# How many choices of options are remembered: a long multirun has thousands, of a megabyte each.
REMEMBERED = 64
# What of Hydra's own a command changes between its check and its run: a plan's folder is a temporary one.
RUN_DIR = "hydra.run.dir"


class ReadOnce(ConfigRepository):
    """Hydra's repository of configurations, which reads each file once; merging changes what it returns: a copy."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        self.files: dict[str, ConfigResult | None] = {}
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.files:
            self.files[config_path] = super().load_config(config_path)
        return copy.deepcopy(self.files[config_path])

    def __deepcopy__(self, memo: object) -> "ReadOnce":
        return copy.copy(self)  # Hydra copies it for each composition; what was read stays


class OnceLoader(ConfigLoaderImpl):
    """As Hydra's own, to the letter of what it returns and raises.

    A launcher's process unpickles it before it has Hydra's plugins, without which no folder of options can be opened.

    Args:
        config_search_path: where options are.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.config_search_path = config_search_path
        self._options = lru_cache(REMEMBERED)(self._compose_options)
        self._defaults = lru_cache(REMEMBERED)(self._list_defaults)

    @cached_property
    def repository(self) -> ReadOnce:  # type: ignore[override]
        """What the options are read from, opened when it is first asked for."""
        return ReadOnce(self.config_search_path)

    def __reduce__(self) -> tuple[type, tuple[ConfigSearchPath]]:
        return type(self), (self.config_search_path,)  # launchers send it to other processes

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:  # fmt: skip
        """The primary configuration with these overrides, Hydra's own node with it.

        Raises:
            HydraException: an override that cannot be read, an unknown group, option or key, a wrong type.
        """
        parsed, choosing = self._parse(config_name, overrides)
        if validate_sweep_overrides:
            self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        config = copy.deepcopy(self._options(config_name, choosing, run_mode))
        setting = [override for override in parsed if override.input_line not in choosing]
        self._apply_overrides_to_config(setting, config)
        ours = [override for override in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in ours]
        config.hydra.overrides.hydra = [override.input_line for override in parsed if override.is_hydra_override()]
        spelling = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            ours, list(spelling.exclude_keys), item_sep=spelling.item_sep, kv_sep=spelling.kv_sep
        )
        return config

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> DefaultsList:
        """Which files are merged; its `config_overrides` lack those that set a value of ours."""
        return self._defaults(config_name, self._parse(config_name, overrides)[1], run_mode)

    def _parse(self, config_name: str | None, words: list[str]) -> tuple[list[Override], tuple[str, ...]]:
        """The overrides, and the words of all but those that set a value of ours, or where a run lies."""
        parsed, repository = self._parse_overrides_and_create_caching_repo(config_name, words)
        choosing = [
            word
            for word, override in zip(words, parsed, strict=True)
            if override.is_sweep_override()
            or (override.is_hydra_override() and override.key_or_group != RUN_DIR)
            or (repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict))
        ]
        return parsed, tuple(choosing)

    def _compose_options(self, name: str | None, words: tuple[str, ...], mode: RunMode) -> DictConfig:
        return super().load_configuration(name, list(words), mode, validate_sweep_overrides=False)

    def _list_defaults(self, name: str | None, words: tuple[str, ...], mode: RunMode) -> DefaultsList:
        return super().compute_defaults_list(name, list(words), mode)
