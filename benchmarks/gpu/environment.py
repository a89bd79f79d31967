"""What this machine is: device, memory, versions; the first line of every result.

python benchmarks/gpu/environment.py --work /tmp/pack                   (the pack runs it: pack.py --piece 0)
"""

import os
import platform
from typing import Any

import torch
from measuring import Measuring

from assimilate.artifacts.provenance import versions_of

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "hydra-core", "omegaconf", "triton")


def describe() -> dict[str, Any]:
    """Versions and, of a GPU, what its arithmetic may do."""
    values: dict[str, Any] = {"versions": versions_of(PACKAGES), "cpus": os.cpu_count(), "machine": platform.machine()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        values |= {
            "gpu": properties.name,
            "gpu_gigabytes": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        }
    return values


def main() -> None:
    measuring = Measuring(__doc__)
    measuring.measure("environment", describe, seconds=0)


if __name__ == "__main__":
    main()
