"""What the folder of a run of no row is called: the words that make it what it is, however they were typed."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from assimilate.graph.identity import canonical
from assimilate.graph.refusal import as_typed
from assimilate.run.composing import CONFIG_NAME, compose, hydra_ready, table_groups
from assimilate.run.known_keys import CONF, leaves
from assimilate.run.neutral import ROW_COMPANIONS, is_neutral

# Letters of the longest name, of whole words; the hash behind it tells two runs apart whose first words are the same.
LONGEST = 80
# A key, and whether the override chooses an option rather than set values.
Word = tuple[str, bool]


def name_of_setting(
    overrides: Sequence[Override], doubtful: Collection[str], same: Callable[[list[Override]], bool]
) -> str:
    """The overrides that count: options first, then values, each sorted by key. "default" where none does.

    Of a key that is given twice the last counts. Words that leave the run as it is without them do not: what an option
    or the defaults say anyway, and what nothing reads.

    Args:
        overrides: of the command line.
        doubtful: keys that may not count, whatever they are set to.
        same: whether overrides alone compose to this very run.
    """
    rows = set(table_groups())
    given: dict[Word, Override] = {}
    for override in overrides:
        key = override.key_or_group
        word = key, (key in rows or (CONF / key).is_dir()) and not isinstance(override.value(), dict)
        given.pop(word, None)  # the last counts, and where it stands
        given[word] = override
    named = sorted((word for word in given if _settings(given[word])), key=lambda word: (not word[1], word[0]))
    said = _said_anyway(given, named)
    for word in named:
        if word in said or word[0] in doubtful:
            without = {other: override for other, override in given.items() if other != word}
            given = without if same(list(without.values())) else given
    words: dict[str, Any] = {}
    for chooses in (True, False):
        counting = [override for word, override in given.items() if word in named and word[1] == chooses]
        words |= dict(sorted({key: value for each in counting for key, value in _settings(each)}.items()))
    told = [re.sub(r"[^\w=.,+-]+", "_", f"{key}={value}") for key, value in words.items()]
    names = list(itertools.accumulate(told, "{},{}".format))
    return next((name for name in reversed(names) if len(name) <= LONGEST), names[0][:LONGEST] if names else "default")


def _said_anyway(given: Mapping[Word, Override], named: Sequence[Word]) -> set[Word]:
    """The words without which their keys may have the same value; what others take from it may still differ."""
    options = {word: str(override.input_line) for word, override in given.items() if word[1]}
    found = set()
    with hydra_ready() as loader:
        for word in [word for word in named if word[1] and (CONF / word[0]).is_dir()]:
            others = [line for other, line in options.items() if other != word]
            choices = loader.compute_defaults_list(CONFIG_NAME, others, RunMode.RUN).overrides.known_choices
            found |= {word} if choices.get(word[0]) == given[word].value() else set()
        values = [word for word in named if not word[1]]
        composed = OmegaConf.to_container(compose(list(options.values()))) if values else {}
    there = dict(leaves(cast(dict[str, Any], composed)))
    for word in values:
        told = _counting(given[word])
        may_be = [_may_be(there.get(key), there.get(f"budget.caps.{key}"), value) for key, value in told.items()]
        found |= {word} if all(may_be) else set()
    return found


def _may_be(there: Any, cap: Any, value: Any) -> bool:
    """Whether what a configuration says of a key, nothing or another key's value, may be a value once it is capped."""
    if isinstance(cap, int | float) and isinstance(value, int | float) and value >= cap:
        return True
    return there is None or (isinstance(there, str) and "${" in there) or bool(canonical(there) == canonical(value))


def _counting(override: Override) -> dict[str, Any]:
    """The keys and values that an override sets and that count.

    Data set, seed and budget have folders of their own, and what is neutral decides nothing.
    """
    told = leaves({override.key_or_group: override.value()})
    return {key: value for key, value in told if not is_neutral(key) and key not in ROW_COMPANIONS}


def _settings(override: Override) -> list[tuple[str, Any]]:
    """What of an override counts, however it is spelt; of weights the name of their file."""
    counting = [(key, as_typed(canonical(value))) for key, value in _counting(override).items()]
    sign = "~" if override.is_delete() else ""
    return [(f"{sign}{key}", Path(str(value)).name if key == "checkpoint" else value) for key, value in counting]
