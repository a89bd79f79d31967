"""A lost worker ends a run over several processes; see whole_run.py."""

import os
import subprocess
import sys
from pathlib import Path

DYING = """
import os, signal, pytest

@pytest.mark.parametrize("n", range(6))
def test_fine(n): pass

def test_that_dies(): os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("n", range(6))
def test_after(n): pass
"""


def test_a_lost_worker_ends_the_run_and_the_test_is_named(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.whole_run import *\n")
    (tmp_path / "test_dying.py").write_text(DYING)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "--rootdir", "."],
        cwd=tmp_path,
        env={**outside, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "a test process was lost" in done.stdout
    assert "test_dying.py::test_that_dies" in done.stdout
    assert "replacing crashed worker" not in done.stdout
