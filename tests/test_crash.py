"""An exception in a class of the user's own: its frames, one closing line, and the exit code."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from assimilate.artifacts.store import failures_explained
from assimilate.errors import UserError
from assimilate.jobs.command import stage


class Blur:
    """Stands for a view of the user's own: this file is no part of the package."""

    def fill(self, job):
        return 1 // 0

    def draw(self):
        return np.random.default_rng(0).integers(0, 0)


def test_an_exception_is_shown_from_the_users_own_frames_on(tmp_path, capsys):
    assert stage("make_views")(Blur().fill)([f"out={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'Traceback (most recent call last):\n  File "{__file__}"')
    assert "return 1 // 0" in error
    for ours in ("Error executing job", "hydra", "command.py"):
        assert ours not in error
    why = "ZeroDivisionError: integer division or modulo by zero"
    assert error.endswith(f"{why}\nassimilate.make_views: {__name__}.Blur.fill failed: {why}\n")


def test_an_exception_without_code_of_the_users_is_shown_whole(tmp_path, capsys):
    assert stage("train")(json.loads)([f"out={tmp_path}"]) == 1  # of Python's own library
    error = capsys.readouterr().err
    assert "command.py" in error
    assert "Error executing job" not in error
    assert error.splitlines()[-1].startswith("assimilate.train: TypeError: the JSON object must be")


def test_what_a_class_of_the_users_own_cannot_use_is_told_with_the_place():
    """Of numpy's own words nobody knows what is too high."""
    place = rf"^{re.escape(__name__)}\.Blur\.draw, line \d+: \w+ (>=|<=) "
    with pytest.raises(UserError, match=place), failures_explained(SimpleNamespace(label="views", root="out")):
        Blur().draw()
