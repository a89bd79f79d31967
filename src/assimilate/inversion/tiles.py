"""Optimised tiles on disk: one file a tile, complete or absent, so that a killed inversion goes on."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from assimilate.inversion.optimization import OptimizedTile
from assimilate.whole_file import whole_file

Codes = Float[np.ndarray, "images codes dim"]
Errors = Float[np.ndarray, " images"]


class TileFolder:
    """The tiles of one inversion; ``identity`` (plain values) says which one.

    Raises ValueError if the folder holds another's.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / "identity.json"
        described = json.dumps(identity, sort_keys=True)
        if not marker.exists():
            with whole_file(marker) as file:
                file.write(described.encode())
        elif marker.read_text(encoding="utf-8") != described:
            raise ValueError(f"out: {folder} holds an inversion with other settings; remove it, or choose another out")

    def path(self, tile: int) -> Path:
        return self._folder / f"tile-{tile:06d}.npz"

    def has(self, tile: int) -> bool:
        """Whether the tile is there and whole; a damaged one counts as absent."""
        try:
            with np.load(self.path(tile)) as content:
                return content["codes"].dtype == np.float32
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False

    def save(self, tile: int, optimized: OptimizedTile, count: int) -> None:
        """Write the first ``count`` images of a tile; the rest is padding."""
        codes, errors, initial_errors = (
            values[:count].float().cpu().numpy()
            for values in (optimized.codes, optimized.errors, optimized.initial_errors)
        )
        with whole_file(self.path(tile)) as file:
            np.savez(file, codes=codes, errors=errors, initial_errors=initial_errors)

    def merge(self, num_tiles: int, shape: tuple[int, int, int], target: Path) -> tuple[Codes, Errors, Errors]:
        """Join all tiles: the codes [N, L, D] as a memory map of ``target``, final and initial errors [N] in memory."""
        errors: list[NDArray[np.float32]] = []
        initial_errors: list[NDArray[np.float32]] = []
        with whole_file(target) as file:
            # Written through, not into a sparse memory map: on a full disk the latter dies of SIGBUS.
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for tile in range(num_tiles):
                with np.load(self.path(tile)) as content:
                    file.write(content["codes"].astype("<f4").tobytes())
                    errors.append(content["errors"])
                    initial_errors.append(content["initial_errors"])
        return np.load(target, mmap_mode="r"), np.concatenate(errors), np.concatenate(initial_errors)
