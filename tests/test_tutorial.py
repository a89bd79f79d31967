"""Every command and every piece of Python in docs/tutorial.md, in its order."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assimilate import cli

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
# Work for hours, or for two machines.
FOR_REAL = ("dataset=cifar10", "dataset=imagenet_fake", "rsync")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split("   #")[0] for line in lines if line.strip() and not line.startswith("export ")]


def fill_in(text: str, folder: Path) -> str:
    """The text with folders of this test's in the place of the reader's own."""
    encoders = sorted((folder / "tutorial").glob("artifacts/encoders/digits/simclr-*/encoder.pt"))
    encoder = encoders[0] if encoders else folder / "no encoder yet"
    replaced = {"/tmp/tutorial": folder / "tutorial", "/my/images": folder / "images", "/my/encoder.pt": encoder}
    for written, meant in replaced.items():
        text = text.replace(written, str(meant))
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSIMILATE_OUT", str(tmp_path / "tutorial"))
    rng = np.random.default_rng(0)
    for label in ("red", "blue"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(100):
            picture = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / label / f"{index}.jpg")
    return tmp_path


@pytest.mark.slow
def test_all_of_it_runs(folder: Path) -> None:
    ran = 0
    for language, text in blocks():
        if language == "python":
            exec(compile(fill_in(text, folder), str(TUTORIAL), "exec"), {})
            ran += 1
            continue
        for command in commands(text):
            if any(word in command for word in FOR_REAL):
                continue
            program, *words = shlex.split(fill_in(command, folder))
            assert program == "assimilate", command
            assert cli.main([*words, "trainer.num_threads=1"]) == 0, command
            ran += 1
    assert ran > 25
