"""What is installed for what: by make, and into a container."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("target", "is_development"),
    [
        ("setup", False),
        ("demo", False),
        ("docs", False),
        ("test", True),
        ("lint", True),
        ("check", True),
        ("bench", True),
    ],
)
def test_development_tools_come_with_what_needs_them(tmp_path, target, is_development):
    """On a fresh checkout; size and time are said before anything is installed."""
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "pyproject.toml").touch()
    words = ["make", "--dry-run", target]
    lines = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any("--group dev" in line for line in lines) == is_development
    installs = [number for number, line in enumerate(lines) if "uv pip install" in line and "--editable ." in line]
    for number in installs:
        said = " ".join(lines[number - 2 : number])
        assert re.search(r"about \d+ (G|M)B.*minute", said), lines


def test_the_image_is_built_from_what_the_package_needs():
    """No container tool runs where this was written: what can be checked without one."""
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], "src"}
    assert copied == needed | set(wheel["force-include"])
    assert all((ROOT / word).exists() for word in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied
