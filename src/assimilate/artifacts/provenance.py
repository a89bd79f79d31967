"""Where a result comes from: versions, machine and commit."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from assimilate import __version__

PACKAGES = ("assimilate-ssl", "torch", "torchvision", "lightning", "numpy", "hydra-core", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Versions, machine and commit, as they are recorded in every manifest and result."""
    return {
        "versions": versions_of(PACKAGES),
        "machine": platform.machine(),
        "system": platform.system(),
        "commit": git_commit(),
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Version of Python and of those packages that are installed, by their names on the package index."""
    versions = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def version_line() -> str:
    """What `--version` prints: of the package, of Python and of what it stands on."""
    versions = versions_of(("torch", "lightning", "hydra-core"))
    named = {"assimilate": __version__, "Python": versions.pop("python"), **versions}
    return ", ".join(f"{name} {version}" for name, version in named.items())


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with "+changes" if it was edited; None for a wheel.

    A checkout that was copied without .git, or whose .git cannot be read here, knows it from ASSIMILATE_COMMIT.
    """
    top = Path(__file__).resolve().parents[3]
    if not (top / ".git").exists():
        return os.environ.get("ASSIMILATE_COMMIT")

    def git(*words: str) -> str:
        command = ["git", "-C", str(top), *words]
        return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout.strip()

    try:
        head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("ASSIMILATE_COMMIT")
    return head + ("+changes" if changes else "")
