"""Checkpoint files: ours and other people's, read without running any code that they may hold; and resumed from."""

import argparse
import os
import pathlib
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assimilate.files.checked_files import check_zip, seal_zip
from assimilate.files.whole_file import whole_file

# torch.save does not compress. An archive that would grow by more than this was not written by it; what it may hold
# uncompressed beyond its size is harmless.
LARGEST_GROWTH, HARMLESS_BYTES = 10, 64 * 2**20
# A square of more overflows float32. Weights of trained networks and BatchNorm's variances are far below.
LARGEST_WEIGHT = 1e18


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
    """What `save_plain` or `torch.save` wrote: tensors, plain containers, and the few harmless types of the allow-list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, would inflate to many times its size, or is a pickle that needs more; the
            reason in one line, without the path.
    """
    _check_growth(Path(path))
    try:
        if zipfile.is_zipfile(path):  # torch.load compares no checksums
            check_zip(path)
        with torch.serialization.safe_globals(_allowed_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"not a readable checkpoint: {error}") from None
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


def _check_growth(path: Path) -> None:
    """Read an archive's directory alone, and refuse what would fill the memory when its members are inflated."""
    try:
        with zipfile.ZipFile(path) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # no archive, or a damaged one: `torch.load` says which
    size = path.stat().st_size
    if inflated > LARGEST_GROWTH * size + HARMLESS_BYTES:
        raise ValueError(
            f"refused, because its {size:,} bytes would inflate to {inflated:,}: torch.save compresses nothing, so it "
            "did not write this file"
        )


def check_weights(value: object, *, origin: str) -> dict[str, Tensor]:
    """Return ``value``, a state dict.

    Raises ValueError, led by ``origin``, unless it maps names to tensors that are finite, of a scale that networks
    have, and whole in their file: a view that repeats a few stored numbers could be of any size.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{origin}: is a {type(value).__name__}; needed is a state dict, names to tensors")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            held = f"{name!r}: {type(tensor).__name__}"
            raise ValueError(f"{origin}: is no state dict, names to tensors; it holds {held}")
        unfolded = tensor.numel() * tensor.element_size()
        if unfolded > max(HARMLESS_BYTES, tensor.untyped_storage().nbytes()):
            raise ValueError(f"{origin}: {name} repeats its numbers up to {list(tensor.shape)}: save a copy of it")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{origin}: {name} is not finite (NaN or ∞)")
        if tensor.is_floating_point() and tensor.numel() and (largest := float(tensor.abs().max())) > LARGEST_WEIGHT:
            raise ValueError(
                f"{origin}: {name} holds {largest:.3g}, which is no weight of a trained network: its "
                "training diverged, as it does where all views are alike, or the learning rate is too large"
            )
    return value


def save_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain containers of tensors whole or not at all, with a checksum; equal content gives equal bytes.

    `torch.load` reads the file.

    Raises:
        OSError: the folder cannot be written, the disk is full, or does not hold what was written.
    """
    with whole_file(path) as stream:
        torch.save(_canonical(content, {}), stream)
        seal_zip(stream)


def _canonical(value: Any, words: dict[str, str]) -> Any:
    """A copy of plain containers in which equal strings are one object, and no other container is shared.

    A pickle refers back to what it has met, by identity. A restored history, say, holds other strings than the
    program's literals, and so had other bytes.
    """
    kind = type(value)
    if kind is str:
        return words.setdefault(value, value)
    if kind is list or kind is tuple:
        return kind(_canonical(item, words) for item in value)
    if kind is dict or kind is OrderedDict:
        result = kind((_canonical(key, words), _canonical(item, words)) for key, item in value.items())
        if kind is OrderedDict:  # a state dict has the versions of its modules as an attribute
            vars(result).update(_canonical(vars(value), words))
        return result
    if kind is argparse.Namespace:
        return argparse.Namespace(**_canonical(vars(value), words))
    return value


# ----------------------------------------------------------------------------------------------- resume points
# What an interrupted training goes on from: the last checkpoint, and the one before it in case that is damaged.


def previous_of(path: Path) -> Path:
    """Where the checkpoint that `path` replaced is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_resume_point(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint of plain containers; a kill at any moment leaves one that can be read.

    Raises:
        OSError: the disk is full, or does not hold what was written.
    """
    if path.exists():
        link = path.with_name(f".{path.name}.link")  # one name: a killed process's is replaced
        link.unlink(missing_ok=True)
        os.link(path, link)
        link.replace(previous_of(path))
    save_plain(path, content)


def load_resume_point(path: Path, *, map_location: Any = "cpu") -> dict[str, Any] | None:
    """The last checkpoint; the one before it, with a warning, if a byte of the last has changed.

    What is damaged is deleted, so that the next checkpoint leaves the one before it in its place.

    Returns:
        None where there is none, or, with a warning, where all are damaged: the training starts again.

    Raises:
        ValueError: it is as it was written, and cannot be loaded.
    """
    damaged = []
    for candidate in (path, previous_of(path)):
        try:
            check_zip(candidate)
        except FileNotFoundError:
            continue
        except ValueError as error:
            candidate.unlink(missing_ok=True)
            damaged.append(f"{candidate} is damaged: {error}")
            continue
        content: dict[str, Any] = load_plain(candidate, map_location=map_location)
        if damaged:
            warnings.warn(f"{damaged[0]}; going on from the checkpoint before it, {candidate}", stacklevel=2)
        return content
    if damaged:
        warnings.warn(f"{'; '.join(damaged)}; the training starts again", stacklevel=2)
    return None
