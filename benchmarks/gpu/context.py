"""What every piece of the pack knows: folders, the clock, and how a command is run so that a cut costs little."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
COMMANDS = "commands.jsonl"
# A command that is asked to stop saves nothing more: its last checkpoint is on disk already.
PATIENCE_SECONDS = 15.0


class TimeIsUp(Exception):
    """The piece's time is over; the same command goes on from here."""


class CommandFailed(Exception):
    """A command ended with an error of its own."""


Launch = Callable[[Sequence[str], Mapping[str, str], float, Path], int | None]


def launch(words: Sequence[str], environment: Mapping[str, str], seconds: float, log: Path) -> int | None:
    """Run a command for at most so long; its output goes to the terminal and to `log`.

    Returns:
        Its exit code; None where it was stopped.
    """
    process = subprocess.Popen(
        words, env=dict(environment), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    # In a thread: a compiler's worker that outlives its parent holds the pipe open, and must not hold us.
    reader = threading.Thread(target=_copy, args=(process.stdout, log), daemon=True)
    reader.start()
    stop = _Stop(process, seconds)
    code = process.wait()
    reader.join(timeout=5)
    return None if stop.stopped() else code


def _copy(source: IO[str], log: Path) -> None:
    with log.open("a") as stream:
        for line in source:
            print(line, end="", flush=True)
            stream.write(line)
            stream.flush()


class _Stop:
    """Interrupts a process and its children after a while, and kills what is left a little later."""

    def __init__(self, process: "subprocess.Popen[str]", seconds: float) -> None:
        self._process, self._fired = process, False
        self._timer = threading.Timer(max(0.1, seconds), self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        self._fired = True
        self._signal(signal.SIGINT)
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            time.sleep(0.1)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # The whole group: workers of a compiler must not go on alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def stopped(self) -> bool:
        """Whether it had to."""
        self._timer.cancel()
        return self._fired


@dataclass
class Context:
    """One call of the pack.

    Attributes:
        archive: the images.
        wheels: folder of wheels that this machine lacks, or None.
        out: where the small files that a reader wants are copied to.
        work: what later calls go on from: images, artifacts, measurements.
        rehearse: toy sizes on the CPU.
        deadline: time.monotonic() at which this call must be over.
        commit: of the checkout, where git cannot say.
        overrides: further key=value words for every command of the project.
        seeds: of the rows of Table 3.
        launch: runs a command; tests put one in its place that starts no process.
    """

    archive: Path
    wheels: Path | None
    out: Path
    work: Path
    rehearse: bool
    deadline: float
    commit: str | None = None
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    launch: Launch = field(default=launch)

    @property
    def site(self) -> Path:
        """Where the wheels are unpacked."""
        return self.work / "site"

    @property
    def images(self) -> Path:
        """Where the archive is unpacked."""
        return self.work / "images"

    @property
    def outputs(self) -> Path:
        """`out=` of the project's commands."""
        return self.work / "outputs"

    @property
    def left(self) -> float:
        """Seconds until the deadline, less what stopping a command may take."""
        return self.deadline - time.monotonic() - PATIENCE_SECONDS

    def environment(self) -> dict[str, str]:
        """For the commands: the wheels, this checkout, and its commit."""
        paths = [str(self.site), str(REPOSITORY / "src")]
        paths += [path for path in [os.environ.get("PYTHONPATH")] if path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # importing Lightning would take 15 s every time
        if self.commit:
            environment["ASSIMILATE_COMMIT"] = self.commit
        return environment

    def run(self, words: Sequence[str], *, least_seconds: float = 20.0) -> None:
        """Run `python words…` within the time that is left.

        Raises:
            TimeIsUp: it was stopped, or less than `least_seconds` were left for it.
            CommandFailed: it failed.
        """
        shown = shlex.join(["python", *words])
        if self.left < (1.0 if self.rehearse else least_seconds):
            raise TimeIsUp(f"{max(0.0, self.left):.0f} s are left, not enough for: {shown}")
        print(f"\n$ {shown}", flush=True)
        started = time.monotonic()
        code = self.launch([sys.executable, *words], self.environment(), self.left, self.work / "commands.log")
        seconds = round(time.monotonic() - started, 1)
        line = {"command": shown, "seconds": seconds, "exit_code": code, "rehearsal": self.rehearse}
        line["commit"] = self.commit
        with (self.work / COMMANDS).open("a") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        if code is None:
            raise TimeIsUp(f"stopped after {seconds:.0f} s: {shown}")
        if code:
            raise CommandFailed(f"exit code {code}: {shown}")

    def stage(self, name: str, settings: Mapping[str, Any], *, multirun: bool = False) -> None:
        """Run `python -m assimilate.<name> key=value …` with the pack's overrides at the end."""
        given = dict(override.split("=", 1) for override in self.overrides)
        words = [f"{key}={value}" for key, value in {**settings, **given}.items()]
        flag = ["-m"] if multirun else []
        self.run(["-m", f"assimilate.{name}", *flag, *words, f"out={self.outputs}"])

    def script(self, name: str, *, share: float = 1.0) -> None:
        """Run one of this folder's measuring scripts, which records what it measures as it goes.

        Args:
            share: of the time that is left, how much it may plan with.
        """
        words = [f"benchmarks/gpu/{name}", f"--work={self.work}", f"--seconds={max(1.0, share * self.left):.0f}"]
        self.run([*words, *(["--rehearse"] if self.rehearse else [])])
