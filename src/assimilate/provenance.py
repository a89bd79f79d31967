"""Where a result comes from: versions, machine and commit."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("assimilate", "torch", "torchvision", "lightning", "numpy", "hydra-core", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Versions, machine and commit, as they are recorded in every manifest and result."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "machine": platform.machine(), "system": platform.system(), "commit": git_commit()}


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with "+changes" if it was edited; None for a wheel.

    A checkout that was copied without .git knows it from ASSIMILATE_COMMIT.
    """
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return os.environ.get("ASSIMILATE_COMMIT")
    try:
        head = subprocess.run(["git", "-C", str(top), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "-C", str(top), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
