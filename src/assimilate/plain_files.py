"""Checkpoints of other people, read without running any code that they may hold (DESIGN §8)."""

import argparse
import pathlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch


def _allowed_globals() -> list[Any]:
    """What foreign checkpoints hold beside tensors and plain containers; old and new names of the same things."""
    allowed: list[Any] = [argparse.Namespace]
    allowed += [(pathlib.PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")]
    scalar = np.float64(0).__reduce__()[0]
    allowed += [(scalar, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")]
    allowed.append(np.dtype)
    kinds = (np.bool_, np.int32, np.int64, np.uint8, np.float32, np.float64)
    return allowed + [type(np.dtype(kind)) for kind in kinds]


def load_plain(path: Path, *, map_location: Any = "cpu") -> Any:
    """What `torch.save` wrote: tensors, plain containers, and the few harmless types of the allow-list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is a pickle that needs more; the reason in one line, without the path.
    """
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        lines = str(error).splitlines() or [type(error).__name__]
        # "Unsupported operand" is a byte that no pickle of torch.save has, the < of an error page for one.
        refusals = (line for line in lines if "Unsupported operand" not in line)
        reason = next((line for line in refusals if "Unsupported" in line or "GLOBAL" in line), None)
        if reason is None:
            raise ValueError("not a readable checkpoint: it is damaged, or torch.save did not write it") from None
        raise ValueError(
            "refused, because it holds more than tensors and plain containers, and loading it could run "
            f"code ({reason.strip()}); save its state dicts alone and give that file"
        ) from None
    except Exception as error:  # an unpickler that is fed a damaged file raises anything, KeyError and struct.error too
        reason = " ".join(str(error).split()) or "no reason given"
        raise ValueError(f"not a readable checkpoint ({type(error).__name__}: {reason})") from None
