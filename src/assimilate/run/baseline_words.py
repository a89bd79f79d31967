"""What is typed to train the SimCLR run that a run is compared with."""

import contextlib
from collections.abc import Mapping

import yaml
from hydra.core.override_parser.types import Override

from assimilate.assimilation.trainer_options import SHOWN
from assimilate.errors import UserError
from assimilate.graph.refusal import as_typed
from assimilate.graph.wiring import TARGET
from assimilate.run.baseline import is_baseline, keys_of_baseline, probe_of_baseline
from assimilate.run.composing import compose, parse, table_groups
from assimilate.run.config import brought_by, make_job
from assimilate.run.job import Job
from assimilate.run.known_keys import CONF, EXPERIMENTS, leaves
from assimilate.run.neutral import ROW_COMPANIONS, is_neutral, key_of
from assimilate.run.recipe import Recipe
from assimilate.run.words import SEARCH_PATH, override_word


def words_of_the_baseline(job: Job) -> list[str]:
    """The overrides that compose the SimCLR run that a run is compared with, which chooses its own seed.

    Of the run's own they are those that its SimCLR run reads, and options whose class or settings it takes; of its row,
    and of what its other options set, they are the options and the values. None of a run that is that one, nor where no
    overrides compose it.
    """
    recipe = Recipe(job.config)
    wanted = probe_of_baseline(recipe)
    if wanted is None or is_baseline(recipe):
        return []
    read = keys_of_baseline(recipe) - {"out", *(f"trainer.{name}" for name in SHOWN)}
    seed, kept = f"seed={recipe.encoder.seed}", _words_that_matter(job, read)
    added: list[list[str]] = [[], [f"loss={job.config['simclr_loss']}"]]
    if (root := job.config["dataset"].get("root")) is not None:  # an own row may say it
        added += [[*each, override_word("dataset.root", str(root))] for each in added]
    for more in added:
        words = [*kept, *more, "assim=simclr"]
        with contextlib.suppress(UserError):  # these compose to no run
            alone = dict(leaves(make_job("train", compose(words), words).config))
            other = {key: value for key, value in leaves(job.config) if key in read and alone.get(key, value) != value}
            words += [
                override_word(key, value) if isinstance(value, str) else f"{key}={as_typed(value)}"
                for key, value in other.items()
            ]
            words = sorted(words, key=lambda word: (word == "assim=simclr", key_of(word)))
            made = make_job("train", compose([*words, seed]), [*words, seed])
            if Recipe(made.config).probe.key == wanted.key:
                return words
    return []


def _words_that_matter(job: Job, read: set[str]) -> list[str]:
    """Of a job's words, and of the options of its row, those of which something is read."""
    typed, rows = parse(job.overrides), set(table_groups())
    groups = {override.key_or_group for override in typed}
    of_rows = [word for override in typed if override.key_or_group in rows for word in _options_of_row(override)]
    kept = []
    for override in [*parse([word for word in of_rows if word.split("=")[0] not in groups]), *typed]:
        key, node = override.key_or_group, job.config.get(override.key_or_group)
        if key in rows or key in ("seed", "loss"):
            continue
        if (CONF / key).is_dir():
            below = [TARGET] if isinstance(node, Mapping) and TARGET in node else list(node or ())
            told = [f"{key}.{name}" for name in below] if node else brought_by(key, str(override.value()))
            told_of = not is_neutral(key) and (not told or any(name in read for name in told))
            wanted = key in ROW_COMPANIONS or told_of
        else:
            leaf = [name for name, _ in leaves({key: override.value()})]
            wanted = key in (SEARCH_PATH, *ROW_COMPANIONS) or any(name in read for name in leaf)
        if wanted:
            kept.append(str(override.input_line))
    return kept


def _options_of_row(override: Override) -> list[str]:
    """The options that a row chooses, as words; none of a row that is the user's own, wherever it lies."""
    row = EXPERIMENTS / override.key_or_group / f"{override.value()}.yaml"
    chosen = yaml.safe_load(row.read_text(encoding="utf-8")).get("defaults", []) if row.is_file() else []
    return [
        f"{group.removeprefix('override').strip().lstrip('/')}={option}"
        for entry in chosen
        if isinstance(entry, Mapping)
        for group, option in entry.items()
    ]
