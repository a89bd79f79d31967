"""The command `assimilate`, also `python -m assimilate`: its stages by name, its version, completion for shells."""

import difflib
import importlib
import sys
import textwrap
from collections.abc import Sequence

from assimilate.artifacts.provenance import version_line
from assimilate.jobs.streams import keep_printing
from assimilate.run.stages import stages

SHELLS = ("bash", "zsh")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage, or show what there is. Returns the exit code, which is the stage's."""
    keep_printing()
    words = list(sys.argv[1:] if argv is None else argv)
    first, rest = (words[0], words[1:]) if words else ("--help", [])
    if "" not in sys.path:  # as `python -m` has it: classes of the user's own may lie in the working directory
        sys.path.insert(0, "")
    if first in stages():
        return int(importlib.import_module(f"assimilate.{first}").main(rest))
    if first == "--version":
        print(version_line())
    elif first == "--completion" and rest and rest[0] in SHELLS:
        from assimilate.run.help_pages import completion_script

        print(completion_script(rest[0], list(stages())))
    elif first in ("--help", "-h"):
        if rest:  # of any group, table or key
            return int(importlib.import_module("assimilate.train").main(["--help", *rest]))
        print(_overview())
    else:
        from assimilate.jobs.terminal import to_stderr

        to_stderr(f"assimilate: {_wrong(first)}")
        return 2
    return 0


def _overview() -> str:
    width = max(map(len, stages()))
    lines = [
        "assimilate: contrastive learning with learned views.",
        "",
        "  assimilate train                      the whole chain on real digit scans",
        "  assimilate train dataset=cifar100 view=wsearch assim=a2",
        "  assimilate train ... prepare=plan     show what would be built, and stop",
        "",
        "Stages, all over one configuration:",
        *(
            textwrap.fill(does, 80, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
            for name, does in stages().items()
        ),
        "",
        "  assimilate <stage> --help             its groups, keys and flags",
        "  assimilate --help view                the options and keys of a group",
        "  assimilate --version",
        '  eval "$(assimilate --completion bash)"  completion for this shell; also zsh',
    ]
    return "\n".join(lines)


def _wrong(word: str) -> str:
    if word == "--completion":
        return f"--completion needs the shell: {' or '.join(SHELLS)}"
    near = difflib.get_close_matches(word, [*stages(), "--help", "--version"], n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(stages())}"
    return f"there is no stage {word}. {hint}"
