"""One finished run that several files of tests look at; those of an xdist group share a process, and one run."""

import shutil

import pytest

from tests.chain_run import run


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
