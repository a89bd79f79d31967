"""Parts from outside the package, chosen by a dotted path: each does its work in a run."""

import csv
import json
import sys

import pytest

from assimilate import invert, make_views, train
from tests.chain_run import artifacts, run

PARTS = '''
from typing import ClassVar

from assimilate.graph.settings import Count
from assimilate.inversion.compared import OfEncoder
from assimilate.views.online import OnlineSolver
from assimilate.views.solver import Solver


class AlsoOfEncoder(OfEncoder):
    """Another name for it."""


class Reconstructions(OnlineSolver):
    """The reconstruction of each image, as it is."""

    trained_by: ClassVar[str] = "my_parts_training.Reconstructed"

    @property
    def passes_of_a_step(self):
        return 1


class FewSteps(Solver):
    """Some steps of Adam; it has no other settings."""

    solves: ClassVar[str] = "assimilate.views.search.SearchSettings"
    iterations: Count = 2

    @property
    def effort_of_a_view(self):
        return 2.0
'''
TRAINING = """
import torch

from assimilate.assimilation.online import OnlineSearchTraining
from assimilate.views.embedding import to_pixels


class Reconstructed(OnlineSearchTraining):
    def find(self, batch, rng):
        with torch.no_grad():
            images = self._source[0].synthesize(self._codes(batch.indices)).clamp(-1, 1)
        return self._placed(batch.views, to_pixels(images), rng), torch.tensor(0.5), torch.tensor(0.25)
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "my_parts.py").write_text(PARTS)
    (folder / "my_parts_training.py").write_text(TRAINING)
    sys.path.insert(0, str(folder))
    yield folder / "out"
    sys.path.remove(str(folder))
    for name in ("my_parts", "my_parts_training"):
        sys.modules.pop(name, None)


def test_a_perceptual_network_that_looks_through_f_is_given_f(out):
    for chosen in ("encoder", "my_parts.AlsoOfEncoder"):
        assert run(invert, f"inversion.perceptual={chosen}", f"out={out}") == 0
    first, second = artifacts(out, "latents")
    assert (first / "latents.npy").read_bytes() == (second / "latents.npy").read_bytes()


def test_solvers_find_the_views(out):
    words = ["inversion.perceptual=none", f"out={out}"]
    assert run(train, "view=online", "assim=a2", "view.solver=my_parts.Reconstructions", *words) == 0
    (encoder,) = [path for path in artifacts(out, "encoders") if path.name.startswith("a2-online")]
    with (encoder / "history.csv").open(newline="") as stream:
        assert {(row["distance_before"], row["distance_after"]) for row in csv.DictReader(stream)} == {("0.5", "0.25")}
    assert run(make_views, "view.solver=my_parts.FewSteps", *words) == 0
    (views,) = artifacts(out, "views")
    content = json.loads((views / "manifest.json").read_text())["content"]
    assert content["search"]["class"] == "my_parts.FewSteps"
