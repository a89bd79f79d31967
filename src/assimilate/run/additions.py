"""Keys that a command line adds with + or ++."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from assimilate.run.composing import compose, table_groups
from assimilate.run.keys import is_argument, named_keys
from assimilate.run.known_keys import check_added, leaves, nodes
from assimilate.run.words import typed_words


def canonical(parsed: Sequence[Override], plain: Mapping[str, Any]) -> list[str]:
    """The overrides as words, `++key` of a key that the run has anyway without its signs.

    Args:
        parsed: the overrides.
        plain: what they compose to.

    Raises:
        UserError: nothing in the run reads a `+key` or `++key`.
    """
    lines = [str(override.input_line) for override in parsed]
    added = [override for override in parsed if override.is_add() or override.is_force_add()]
    added = [override for override in added if not override.key_or_group.startswith("hydra")]
    rows = table_groups() if added else []
    added = [override for override in added if override.key_or_group not in rows]
    if not added:
        return lines
    typed = dict(zip(lines, typed_words(lines), strict=True))
    others = [str(override.input_line) for override in parsed if override not in added]
    composed = OmegaConf.to_container(compose(others))
    assert isinstance(composed, dict)
    there = nodes(composed)
    keys = there | named_keys(plain)
    for override in added:
        line = str(override.input_line)
        named = [leaf for leaf, _ in leaves({override.key_or_group: override.value()})]
        for key in named:
            if not is_argument(key, plain):
                check_added(typed[line], key, keys)
        if there.issuperset(named):
            lines[lines.index(line)] = line.lstrip("+")
    return lines
