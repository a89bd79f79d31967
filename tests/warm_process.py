"""Processes of a test's own that need not import torch and Lightning, which takes 4 s of a core each.

They are forked from one that has imported them, and are processes all the same: with a pid, signals, limits, an exit
code and an environment of their own. What a fresh interpreter itself does (imports, `python -m`) is not tested so.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext

PRELOADED = [
    *("sklearn.datasets", "hydra", "assimilate.train", "assimilate.assimilation.training", "assimilate.jobs.result"),
    *("assimilate.generator.making", "assimilate.inversion.making", "assimilate.views.rays"),
]


def forked() -> ForkServerContext:
    """Where processes are forked from one that has imported what takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class WarmProcess:
    """As `subprocess.Popen` of ``module.main(words)``: with what it says, stderr too, in one text.

    Args:
        module: of ours, whose main is called.
        words: its arguments.
        environment: None: this process's.
        before: code that runs first.
        new_session: whether it leads a session of its own.
    """

    def __init__(
        self, module: str, words: Sequence[str], *, environment: Mapping[str, str] | None = None, before: str = "",
        new_session: bool = False,
    ) -> None:  # fmt: skip
        with tempfile.NamedTemporaryFile(delete=False) as said:
            self._said = said.name
        given = (self._said, os.getcwd(), dict(os.environ if environment is None else environment))
        self._process = forked().Process(target=_become, args=(module, list(words), before, new_session, *given))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        while new_session and self._process.exitcode is None and os.getsid(self.pid) != self.pid:
            time.sleep(0.001)  # there is no group to be killed before it leads one

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        with open(self._said, encoding="utf-8", errors="replace") as stream:
            said = stream.read()
        os.unlink(self._said)
        return said, None


def _become(
    module: str, words: list[str], before: str, new_session: bool, said: str, folder: str, environment: dict[str, str]
) -> None:
    if new_session:
        os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, encoding="utf-8")
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another one
    os.chdir(folder)
    sys.argv = [module, *words]
    exec(before, {})
    sys.exit(importlib.import_module(module).main(words))
