"""The report of 1,000 finished runs, 10 seeds of 100 settings, when nothing has changed since the last one.

python benchmarks/report.py

Milliseconds of CPU time of the whole command, start of the interpreter included. The runs have the whole configuration,
curves of 40 epochs, and encoders and probes of their own with sealed manifests; their numbers are made up.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from assimilate.files.checked_files import write_sealed
from assimilate.run.composing import compose
from pairs import report


def write_artifact(root: Path, label: str, files: dict[str, str]) -> None:
    """A finished artifact of text files."""
    folder = root / label
    folder.mkdir(parents=True)
    sums = {}
    for name, text in files.items():
        (folder / name).write_text(text)
        sums[name] = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    write_sealed(folder / "manifest.json", {"schema": 2, "parents": {}, "facts": {}, "seed": 0, "files": sums})


def write_run(out: Path, setting: int, seed: int, config: dict[str, Any], rng: random.Random) -> None:
    """A run as it is left by `assimilate train`, paired with the first setting's."""
    names = [f"{kind}/digits/{setting}-{seed}" for kind in ("encoders", "probes")]
    values = {name: 80 + setting / 10 + rng.gauss(0, 1) for name in ("acc1", "acc5", "knn5", "knn5_euclidean")}
    metrics = {name: {"mean": value, "std": 0.1, "n": 5, "values": [value] * 5} for name, value in values.items()}
    measured = {"metrics": metrics, "protocols": dict.fromkeys(metrics, "a protocol"), "untrained": {"knn5": 60.0}}
    history = "".join(f"{epoch},{6 * epoch},{4 - epoch / 20 + rng.random() / 10},0.1\n" for epoch in range(1, 41))
    write_artifact(out / "artifacts", names[0], {"history.csv": f"epoch,step,loss,lr\n{history}"})
    write_artifact(out / "artifacts", names[1], {"probe.json": json.dumps(measured)})
    result = {
        "schema": 1,
        "row": None,
        "dataset": "digits",
        "seed": seed,
        "budget": "paper",
        "overrides": [f"loss.alpha={setting}", f"seed={seed}"],
        "command": f"python -m assimilate.train loss.alpha={setting} seed={seed}",
        "titles": {"run": "A2 with W-search", "views": "expert, expert, W-search", "baseline": "SimCLR"},
        **measured,
        "floors": {"raw pixels": dict.fromkeys(metrics, 85.0)},
        "probe": names[1],
        "paired_with": f"probes/digits/0-{seed}",
        "knn_curve": [[epoch, 60 + epoch / 2 + rng.random()] for epoch in range(41)],
        "seconds": dict.fromkeys(names, 60.0),
        "artifacts": dict.fromkeys(names, "d" * 64),
        "config": config | {"seed": seed, "loss": config["loss"] | {"alpha": setting}},
    }
    folder = out / "paper" / "adhoc" / f"loss.alpha={setting}-{setting:08d}" / "digits" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(result, indent=1))
    (folder / "identity.json").write_text("{}")


def cpu_milliseconds(out: Path) -> float:
    """Of one report, in a process of its own."""
    before = os.times()
    command = [sys.executable, "-m", "assimilate.report", f"out={out}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return 1000 * (after.children_user + after.children_system - before.children_user - before.children_system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--times", type=int, default=15)
    arguments = parser.parse_args()
    config: Any = OmegaConf.to_container(compose([]), resolve=True)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for setting in range(arguments.settings):
            for seed in range(arguments.seeds):
                write_run(out, setting, seed, config, rng)
        first = cpu_milliseconds(out)
        values = [cpu_milliseconds(out) for _ in range(arguments.times)]
        count = arguments.settings * arguments.seeds
        size = (out / "report.html").stat().st_size / 2**20
        report(
            f"report/{count}_runs",
            values,
            unit="milliseconds",
            at_most=3000.0,
            first_milliseconds=round(first),
            page_megabytes=round(size, 1),
        )


if __name__ == "__main__":
    main()
