"""Finished runs that several files of tests look at; those of an xdist group share a process, and one run."""

import pwd
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests import quick_hydra
from tests.chain_run import run
from tests.fake_run import PROBED_ON_DIGITS, TOY
from tests.whole_run import *  # noqa: F403 - pytest looks for its hooks here

quick_hydra.install()


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """One finished A2 run on digits; tests that change it work on a copy."""
    from assimilate import train

    out = tmp_path_factory.mktemp("chain") / "out"
    assert run(train, f"out={out}") == 0
    return out


@pytest.fixture
def copy(chain, tmp_path):
    """A copy of `chain` to change."""
    shutil.copytree(chain, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="session")
def bigbigan_file(tmp_path_factory):
    """A checkpoint of a BigBiGAN generator of toy size."""
    import torch

    sys.path.insert(0, str(Path(__file__).parent / "generator"))
    from toy_bigbigan import toy_bigbigan

    path = tmp_path_factory.mktemp("checkpoint") / "bigbigan.pth"
    torch.save(toy_bigbigan().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def sampled_run(tmp_path_factory, bigbigan_file):
    """One finished A2 run with W-perturb on dataset=imagenet_fake."""
    from assimilate import train

    out = tmp_path_factory.mktemp("fake") / "out"
    settings = ["view=wperturb", f"generator.checkpoint={bigbigan_file}", f"out={out}"]
    assert train.main([*TOY, *PROBED_ON_DIGITS, *settings]) == 0
    return out


@pytest.fixture
def ctrl_c():
    """SIGINT interrupts: what is started in the background, as CI may be, inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system knows by number only, without HOME: as containers and clusters run jobs."""

    def unknown(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.fixture
def gpu():
    """A GPU that is imitated."""
    from tests.pretend_gpu import pretend_gpu

    with pretend_gpu() as seen:
        yield seen


@pytest.fixture
def probe_stage():
    """A stage that only notes the jobs it is given."""
    from assimilate.jobs.command import stage

    jobs = []

    @stage("train")
    def main(job):
        jobs.append(job)

    return main, jobs
