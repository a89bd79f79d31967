"""A composed run, as a stage is handed it, and as a child process of the run reads it from a file."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

# The stage that looks at views through f, whatever made them.
MEASURING_STAGE = "analyze"
# Stages that go as far as a probe, or look at one.
PROBING_STAGES = ("train", "evaluate", "report")


@dataclass(frozen=True)
class Job:
    """One fully composed run: plain values with the budget's caps applied, and where its results go."""

    stage: str
    config: dict[str, Any]
    overrides: tuple[str, ...]
    identity: dict[str, Any]
    out: Path
    run_dir: Path
    row: str | None  # the paper's row, if nothing but data set, seed and budget was changed
    notices: tuple[str, ...]
    typed: tuple[str, ...]  # the overrides for people
    python_path: str = ""  # PYTHONPATH, where the run's classes were found through it
    log: Path | None = None  # a job of a multirun: where its lines are kept
    turn: str = ""  # which job of a multirun it is, "3/27"
    planned: list[dict[str, Any]] = field(default_factory=list, compare=False, repr=False)  # what prepare=plan found
    ending: ExitStack = field(default_factory=ExitStack, compare=False, repr=False)  # what is closed when it ends

    @property
    def command(self) -> str:
        """The command that composes this job."""
        return self.command_of(self.stage, self.typed)

    def command_of(self, stage: str, words: Sequence[str]) -> str:
        """A command of any stage that finds the classes which this job found."""
        return shell_command(stage, words, self.python_path)

    def written(self, path: Path, **more: Any) -> Path:
        """Write the job for a child process, without the notices, which this process has printed."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("ending", "log")}
        text = json.dumps({**kept, "notices": (), **more}, default=str)
        path.write_text(text, encoding="utf-8")
        return path

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """What `written` wrote."""
        values = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        paths = {name: Path(values[name]) for name in ("out", "run_dir")}
        lists = {name: tuple(values[name]) for name in ("overrides", "notices", "typed")}
        return cls(**{**values, **paths, **lists})


# Which artifact the ranks of a launch train. A cluster may set RANK and WORLD_SIZE for any process; this is ours alone.
RANK_TARGET = "ASSIMILATE_RANK_TARGET"


def rank() -> int | None:
    """This process's number among the ranks of a launch of ours; None where it is none of them."""
    return int(os.environ["RANK"]) if RANK_TARGET in os.environ else None


def shell_command(stage: str, words: Sequence[str], python_path: str = "") -> str:
    """A command that can be pasted into a shell.

    Args:
        stage: "train", …
        words: what follows, each as Python would get it.
        python_path: PYTHONPATH; "" leaves the shell's.
    """
    before = [f"PYTHONPATH={shell_word(python_path)}"] if python_path else []
    return " ".join([*before, "python -m", f"assimilate.{stage}", *map(shell_word, words)])


def shell_word(word: str) -> str:
    """An override as a shell needs it: quoted only where it must be; the one folder of options as its flag."""
    if folder := re.fullmatch(r"""hydra\.searchpath=\[(["'])file://([^"'\\]+)\1\]""", word):
        word = f"--config-dir={folder[2]}"
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "'\\''") + "'"
