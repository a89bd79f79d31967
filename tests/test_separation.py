"""The steps of the recipe separate runs as the keys did that they replaced (separation.json was written by those).

Of each base run every setting is given another value; named are the steps whose keys move, and whether an override of
that setting would be ignored. Of the paper's trainings, two share a step exactly where they shared an artifact.
"""

import copy
import json
from pathlib import Path

import pytest

from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe

BEFORE = json.loads((Path(__file__).parent / "separation.json").read_text(encoding="utf-8"))
KINDS = {"generator": "generators", "latents": "latents", "calibration": "calibrations", "views": "views"}
# Decided by how a run is computed: recorded, and no component's.
NEUTRAL = ("data.placement", "data.compile_augmentation", "knn.", "trainer.", "force", "verify", "preview")
# What is different now, and why.
MENDED = {
    "dataset.image_size": "networks have the size in their own keys, and data sets of one size refuse another",
    "assim.probability": "of a view that is drawn anew by a transformation: it replaces nothing, so it is ignored",
}


def config_of(words):
    return make_job("train", compose(words), words, strict=False).config


def keys_of(config):
    recipe = Recipe(config)
    steps = dict.fromkeys(KINDS)
    by_kind = {}
    for step in recipe.probe.upstream():
        by_kind.setdefault(step.kind, []).append(step)
    for role, kind in KINDS.items():
        steps[role] = by_kind[kind][0].key if kind in by_kind else None
    others = [step for step in by_kind["encoders"] if step is not recipe.encoder]
    steps["reference"] = others[0].key if others else None
    return steps | {"data": recipe.dataset.key, "encoder": recipe.encoder.key, "probe": recipe.probe.key}, recipe


def put(config, key, value):
    result = copy.deepcopy(config)
    *path, last = key.split(".")
    node = result
    for part in path:
        node = node[part]
    node[last] = value
    return result


@pytest.mark.parametrize("base", BEFORE["bases"])
def test_every_setting_moves_what_it_moved(base):
    before = BEFORE["bases"][base]
    config = config_of(before["words"])
    keys, _ = keys_of(config)
    assert sorted(role for role in keys if keys[role]) == before["roles"]
    wrong = []
    for key, (value, moved, ignored) in before["leaves"].items():
        if key in MENDED:
            continue
        others, recipe = keys_of(put(config, key, value))
        now = sorted(role for role in keys if others[role] != keys[role])
        is_ignored = not recipe.wiring.is_read(key) and not key.startswith(NEUTRAL)
        if not ignored and not is_ignored and now != sorted(moved):
            wrong.append(f"{key}={value} moved {moved}, now {now}")
        if is_ignored != ignored:
            wrong.append(f"{key}={value} was {'ignored' if ignored else 'read'} and is not now")
    assert not wrong


def shared(cells, role):
    """Which cells have one step in a role; of another data set every step is another, once its images are known."""
    groups = {}
    for cell, keys in cells.items():
        groups.setdefault((keys.get(role), cell.rpartition("/")[2]), set()).add(cell)
    return {frozenset(group) for group in groups.values()}


@pytest.mark.xdist_group("every_cell")  # the process that has composed them
def test_two_trainings_of_the_paper_share_what_they_shared(tmp_path):
    checkpoint = tmp_path / "bigbigan.pth"
    checkpoint.write_bytes(b"as good as any")
    found = {}
    for cell in BEFORE["cells"]:
        table, row, dataset = cell.split("/")
        config = config_of([f"+{table}={row}", f"dataset={dataset}"])
        if config["dataset"].get("evaluation") is not None:
            config["generator"]["checkpoint"] = str(checkpoint)
            config["dataset"]["evaluation"] = None
        keys, _ = keys_of(config)
        found[cell] = {role: key for role, key in keys.items() if key}
    for role in ("data", "reference", "encoder", "probe", *KINDS):
        assert shared(BEFORE["cells"], role) == shared(found, role), role
