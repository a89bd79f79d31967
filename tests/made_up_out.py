"""Folders as runs leave them, with made-up numbers, for tests of the report."""

import base64
import hashlib
import json
from pathlib import Path

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

HOSTILE = '<script>alert("1")</script>|`x`'
PROTOCOLS = {
    "acc1": "linear probe, lr 30, last epoch",
    "acc1_last": "linear probe, last epoch",
    "knn5": "5-NN, majority vote, cosine",
    "knn5_euclidean": "5-NN, majority vote, Euclidean",
}


def measured(mean, std=0.05, n=5):
    return {"mean": mean, "std": std, "n": n, "values": [mean] * n}


def result(
    *, row="table3/expert_expert_simclr", dataset="cifar10", seed=0, budget="paper", metrics, overrides=(), **changes
):
    """A metrics.json; `metrics` are plain numbers."""
    own = f"encoders/{dataset}/{(row or 'adhoc').split('/')[-1]}-seed{seed}"
    found = {
        "schema": 1,
        "row": row,
        "dataset": dataset,
        "seed": seed,
        "budget": budget,
        "overrides": list(overrides),
        "command": f"python -m assimilate.train {' '.join(overrides)}",
        "paper": {"acc1": 92.04} if row and dataset.startswith("cifar") else {},
        "titles": {"run": "SimCLR", "views": "expert, expert", "baseline": "SimCLR", "dataset": dataset},
        "metrics": {name: measured(value) for name, value in metrics.items()},
        "protocols": {name: PROTOCOLS[name] for name in metrics if name in PROTOCOLS},
        "untrained": {"knn5": 30.0},
        "knn_curve": [[0, 30.0], [1, 50.0], [2, 61.5]],
        "seconds": {f"datasets/{dataset}/32px": 36.0, own: 7200.0, f"probes/{dataset}/{own[9:]}": 360.0},
        "device": "one GPU",
        "versions": {"torch": "2.11"},
        "commit": "abc",
        "provenance": {},
        "data_notes": [],
        "artifacts": {own: "d" * 64},
        "config": {
            "epochs": 2,
            "checkpoint": None,
            "dataset": {"name": dataset, "kind": dataset},
            "assim": {"name": "simclr"},
            "view": {"name": "expert", "encoder": {"seed": 0}},
            "loss": {"name": "infonce"},
            "encoder": {"backbone": "resnet18", "width": 64},
        },
    }
    found |= changes
    made_of = json.dumps(found["config"].get("dataset"), sort_keys=True)
    return {"data_fingerprint": hashlib.sha256(made_of.encode()).hexdigest()[:32]} | found


def write(out: Path, found: dict, *, setting: str | None = None) -> Path:
    """Put a result where its run would; `setting` names the folder of a run of no row."""
    place = found["row"] or f"adhoc/{setting}"
    folder = out / found["budget"] / place / found["dataset"] / f"seed{found['seed']}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(found))
    return folder
