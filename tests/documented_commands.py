"""Every command in README and docs, run as a reader would type it: `python -m tests.documented_commands` prints them.

A stage is run as it stands, with `prepare=plan` behind it: everything is composed, checked, found and estimated, and
nothing is trained. (`pytest -m slow tests/test_tutorial.py` trains the tutorial's.) A command of make is run dry. What
needs another program, another machine or hours is named with its reason.
"""

import contextlib
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from assimilate import cli
from assimilate.run.composing import rows_of

ROOT = Path(__file__).parents[1]
# What a person reads; report.md in results/ is a page that the program wrote, with the commands of what was not run.
DOCUMENTS = ("README.md", "docs/*.md", "results/**/README.md", "benchmarks/gpu/README.md")
# The main job of README, for which its "..." stands.
MAIN_JOB = "dataset=cifar100 view=wsearch assim=a2"
# Hydra's plugins that are extras, and the module each comes in.
PLUGINS = {
    "launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "launcher=submitit": "hydra_plugins.hydra_submitit_launcher",
}
GENERATOR = """
import torch


class MyGenerator(torch.nn.Module):
    image_size, num_codes, latent_dim = 32, 2, 3

    def __init__(self, width):
        super().__init__()
        self.basis = torch.nn.Parameter(torch.randn(6, 3 * 32 * 32) / width)
        self.latent_mean = torch.zeros(3)

    def sample_latents(self, count, rng):
        return torch.randn(count, 3, generator=rng)

    def map(self, latents):
        return latents

    def synthesize(self, codes):
        return torch.tanh(codes.flatten(1) @ self.basis).view(-1, 3, 32, 32)
"""


@dataclass(frozen=True)
class Documented:
    """A command, and where it is written."""

    place: str
    text: str

    @property
    def program(self) -> str:
        return self.text.split()[0]


def documents() -> list[Path]:
    """The pages that a reader types from."""
    return sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))


def documented() -> list[Documented]:
    """The lines of fenced blocks that name no language, and spans in a sentence that run ours or make."""
    result = []
    for path in documents():
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        for block in re.finditer(r"^ *```([^\n]*)\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL):
            first = text[: block.start(2)].count("\n") + 1
            lines = [] if block.group(1) else block.group(2).splitlines()
            start = 0
            while start < len(lines):
                end = start
                while lines[end].endswith("\\"):
                    end += 1
                joined = " ".join(line.strip().removesuffix("\\").strip() for line in lines[start : end + 1])
                command = re.split(r"\s+#\s", f"{joined} ")[0].strip()
                if command and not command.startswith("#"):
                    result.append(Documented(f"{name}:{first + start}", command))
                start = end + 1
        prose = re.sub(r"^( *)```.*?^ *```$", lambda block: "\n" * block.group().count("\n"), text, flags=re.M | re.S)
        for span in re.finditer(r"`((?:python -m assimilate\.|make |assimilate [a-z])[^`]*)`", prose):
            line = prose[: span.start()].count("\n") + 1
            result.append(Documented(f"{name}:{line}", " ".join(span.group(1).split())))
    return result


def why_not_here(command: Documented) -> str | None:
    """Why a command cannot be run by a test; None if it can."""
    if command.program == "export":
        return None
    if command.program not in ("python", "make", "assimilate") or command.text.startswith("python -m pip"):
        return f"needs {command.program}, and files or machines of the reader's"
    if command.text.startswith("python benchmarks/"):
        return "measures for hours on a quiet machine or a GPU; its parts are tested in test_gpu_pack.py"
    if "submitit_slurm" in command.text and shutil.which("srun") is None:
        return "needs a SLURM cluster"
    if "optuna" in command.text:
        return "needs an extra, and results to search by; tried by hand with two trials of budget=smoke"
    for words, module in PLUGINS.items():
        with contextlib.suppress(ModuleNotFoundError):
            if words not in command.text or find_spec(module) is not None:
                continue
        return f"needs an extra that is not installed ({module})"
    return None


@dataclass(frozen=True)
class Desk:
    """A reader's own files, made up: pictures, views, weights, and a module."""

    folder: Path

    @classmethod
    def lay(cls, folder: Path) -> "Desk":
        """Make them below an empty folder."""
        from torchvision.models import resnet18

        from assimilate.encoder.checkpoint import save_encoder
        from assimilate.encoder.encoder import Encoder, EncoderSpec
        from tests.generator.toy_bigbigan import toy_bigbigan

        rng = np.random.default_rng(0)
        (folder / "outputs").mkdir()  # where a report finds what was run
        for label in ("red", "blue"):
            (folder / "my/images" / label).mkdir(parents=True)
            for index in range(100):
                picture = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / "my/images" / label / f"{index}.png")
        for index in range(8):
            (folder / f"my/diffusion/{index}").mkdir(parents=True)
            Image.fromarray(np.full((32, 32, 3), index, np.uint8)).save(folder / f"my/diffusion/{index}/0.png")
        for subset in ("cifar400", "cifar3k"):
            (folder / subset).symlink_to(folder / "my/images")
        torch.save(toy_bigbigan().state_dict(), folder / "my/bigbigan.pth")
        torch.save(resnet18().state_dict(), folder / "my/resnet18.pth")
        spec = EncoderSpec(backbone="resnet18", width=4, stem="cifar", hidden_dim=8, output_dim=8)
        weights = Encoder.from_spec(spec).state_dict()
        save_encoder(folder / "my/encoder.pt", spec, weights, mean=(0.5,) * 3, std=(0.25,) * 3)
        (folder / "my/module.py").write_text(GENERATOR, encoding="utf-8")
        return cls(folder)

    def words(self, text: str) -> list[str]:
        """The words of a command, the reader's folders and "..." filled in."""
        text = re.sub(r"(?<=\s)(\.\.\.|…)(?=\s|$)", MAIN_JOB, text)
        text = re.sub(r"\+(\w+)=<a row>", lambda group: f"+{group[1]}={rows_of(group[1])[0]}", text)
        text = re.sub("/(my|shared)/", rf"{self.folder}/\1/", text)
        text = text.replace("/tmp/tutorial-diffusion", f"{self.folder}/my/diffusion")
        return shlex.split(text)


@contextlib.contextmanager
def at(desk: Desk) -> Iterator[None]:
    """Sit down there: its folder is the working directory, and output goes below it."""
    before, path, out = Path.cwd(), list(sys.path), os.environ.get("ASSIMILATE_OUT")
    os.chdir(desk.folder)
    sys.path.insert(0, str(desk.folder))
    os.environ["ASSIMILATE_OUT"] = str(desk.folder / "outputs")
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        os.environ.pop("ASSIMILATE_OUT")
        if out is not None:
            os.environ["ASSIMILATE_OUT"] = out


def run(command: Documented, desk: Desk) -> tuple[int, str]:
    """(exit code, what it said) of a command that can be run here."""
    if command.program == "export":
        return 0, ""
    if command.program == "make":
        done = subprocess.run(["make", "-n", *command.text.split()[1:]], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr
    words = desk.words(command.text)
    first = 2 if words[0] == "python" else 1
    stage, words = words[first].removeprefix("assimilate."), words[first + 1 :] if len(words) > first else []
    if stage in cli.stages():
        main = importlib.import_module(f"assimilate.{stage}").main
        if stage != "report" and "--help" not in words:
            words = [word for word in words if not word.startswith("prepare=")] + ["prepare=plan"]
    else:
        main, words = cli.main, [stage, *words]
    said = io.StringIO()
    with at(desk), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except Exception:  # the reader sees a traceback and exit code 1
            code = 1
            traceback.print_exc()
    return code, said.getvalue()


def main() -> int:
    """Print place, exit code and text of every command; exit code 1 if one failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk.lay(Path(folder))
        for command in documented():
            reason = why_not_here(command)
            code, said = (None, reason or "") if reason else run(command, desk)
            failed += code not in (None, 0)
            print(f"{'-' if code is None else code:>2}  {command.place:<34} {command.text}")
            if code != 0:
                print(f"      {' '.join(said.split())[-300:]}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
