"""Optimised tiles on disk: one file a tile, complete or absent, so that a killed inversion goes on."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from assimilate.checked_files import check_zip, read_sealed, seal_zip, write_sealed
from assimilate.inversion.optimization import OptimizedTile
from assimilate.whole_file import whole_file

Codes = Float[np.ndarray, "images codes dim"]
Errors = Float[np.ndarray, " images"]


class TileFolder:
    """The tiles of one inversion; ``identity`` (plain values) says which one.

    A folder whose note of its identity is damaged is emptied, with a warning. Raises ValueError if the folder holds
    another's.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        marker = folder / "identity.json"
        described = json.dumps(identity, sort_keys=True)
        if marker.exists() and (found := _read_identity(marker)) is None:
            warnings.warn(f"{marker} is damaged: the latents are optimised from the start", stacklevel=2)
            shutil.rmtree(folder)
        elif marker.exists() and found != described:
            raise ValueError(f"out: {folder} holds an inversion with other settings; remove it, or choose another out")
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            write_sealed(marker, {"identity": identity})

    def path(self, tile: int) -> Path:
        return self._folder / f"tile-{tile:06d}.npz"

    def has(self, tile: int) -> bool:
        """Whether the tile is there and whole; a damaged one counts as absent, with a warning."""
        try:
            self._read(tile)
        except FileNotFoundError:
            return False
        except ValueError as error:
            warnings.warn(f"{self.path(tile)} is damaged: {error}; its images are optimised again", stacklevel=2)
            return False
        return True

    def _read(self, tile: int) -> Mapping[str, NDArray[np.float32]]:
        check_zip(self.path(tile))
        try:
            with np.load(self.path(tile)) as content:
                arrays = {name: content[name] for name in ("codes", "errors", "initial_errors")}
        except (ValueError, KeyError, EOFError) as error:  # of a version that wrote no checksum
            raise ValueError(f"it cannot be read ({error})") from None
        if any(array.dtype != np.float32 for array in arrays.values()):
            raise ValueError("its numbers are no float32")
        return arrays

    def save(self, tile: int, optimized: OptimizedTile, count: int) -> None:
        """Write the first ``count`` images of a tile; the rest is padding."""
        codes, errors, initial_errors = (
            values[:count].float().cpu().numpy()
            for values in (optimized.codes, optimized.errors, optimized.initial_errors)
        )
        with whole_file(self.path(tile)) as file:
            np.savez(file, codes=codes, errors=errors, initial_errors=initial_errors)
            seal_zip(file)

    def merge(self, num_tiles: int, shape: tuple[int, int, int], target: Path) -> tuple[Codes, Errors, Errors]:
        """Join all tiles: the codes [N, L, D] as a memory map of ``target``, final and initial errors [N] in memory.

        Raises ValueError if a tile was damaged since it was looked at; the next run makes it again.
        """
        errors: list[NDArray[np.float32]] = []
        initial_errors: list[NDArray[np.float32]] = []
        # Written through, not into a sparse memory map: on a full disk the latter dies of SIGBUS.
        with whole_file(target) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for tile in range(num_tiles):
                try:
                    content = self._read(tile)
                except ValueError as error:
                    raise ValueError(f"{self.path(tile)} is damaged: {error}; run the same command again") from None
                file.write(content["codes"].astype("<f4").tobytes())
                errors.append(content["errors"])
                initial_errors.append(content["initial_errors"])
        return np.load(target, mmap_mode="r"), np.concatenate(errors), np.concatenate(initial_errors)


def _read_identity(marker: Path) -> str | None:
    """The identity as it was described; None where a byte of it has changed."""
    try:
        return json.dumps(read_sealed(marker)["identity"], sort_keys=True)
    except (ValueError, KeyError):
        return None
