"""Finished runs and the artifacts that they were made of, read back as plain objects. Needs neither torch nor Hydra."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assimilate.artifacts.artifact import MANIFEST, read_manifest
from assimilate.data.images import ImageDataset, load_prepared
from assimilate.pages.result_file import METRICS, disagreement
from assimilate.pages.run import parse_place, parse_run

# Folders between `out` and a result.
DEPTH = 5


class StoredArtifact:
    """A finished artifact: a folder with a manifest, which says what it is and what it was made from.

    Args:
        path: the folder, e.g. a `StoredArtifact.parents` of another.

    Attributes:
        path: the folder, absolute.
        label: kind, data set, name and key in one word, as a run's result lists it.
        manifest: what manifest.json holds: key, content, parents, config, facts, provenance, checksums.
        facts: what was measured when it was built: seconds, device, errors, distances, …
        content: the settings that decide its bytes.

    Raises:
        ValueError: there is no finished artifact, or a byte of its manifest has changed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().resolve()
        try:
            self.manifest: Mapping[str, Any] = read_manifest(self.path)
        except OSError as error:
            raise ValueError(f"{path} is no finished artifact: it holds no readable {MANIFEST}") from error
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        self.label = "/".join(self.path.parts[-3:])
        self.facts: Mapping[str, Any] = self.manifest["facts"]
        self.content: Mapping[str, Any] = self.manifest["content"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label})"

    @property
    def parents(self) -> dict[str, Path]:
        """The folders of the artifacts that it was built from, by role ("generator", "latents", "encoder", …)."""
        root = self.path.parents[2]
        return {role: root / parent["path"] for role, parent in self.manifest["parents"].items()}

    def parent(self, role: str) -> "StoredArtifact":
        """One of the artifacts that it was built from.

        Raises:
            ValueError: there is none in this role, or it is gone.
        """
        if role not in self.parents:
            raise ValueError(f"{self.label} has no {role}; it was built from {', '.join(self.parents) or 'nothing'}")
        return StoredArtifact(self.parents[role])

    def array(self, name: str) -> NDArray[Any]:
        """The array in `<name>.npy`, behind a read-only memory map.

        Raises:
            ValueError: there is none.
        """
        path = self.path / f"{name}.npy"
        if not path.is_file():
            there = ", ".join(sorted(file.stem for file in self.path.glob("*.npy"))) or "no array"
            raise ValueError(f"{self.label} has no {path.name}; it holds {there}")
        return np.load(path, mmap_mode="r")


class ViewCache(StoredArtifact):
    """A finished cache of N images' views, n of each; arrays are read-only memory maps.

    Args:
        path: its folder, `<out>/artifacts/views/<data set>/<name>-<key>`.

    Raises:
        ValueError: there is no finished cache, or a byte of its manifest has changed.
    """

    @property
    def images(self) -> NDArray[np.uint8]:
        """The views, uint8 [N, n, 3, height, width]; row i shows training image i."""
        return self.array("images")

    @property
    def distances(self) -> NDArray[np.float32]:
        """Of each stored view to its anchor as f sees them, float32 [N, n], 0 to 2; NaN for views made without f."""
        return self.array("distances")

    @property
    def distances_original(self) -> NDArray[np.float32]:
        """Of each stored view to the image itself, float32 [N, n], 0 to 2; NaN for views made without f."""
        return self.array("distances_original")

    @property
    def steps(self) -> NDArray[np.int32]:
        """Solver steps of each image, int32 [N]; 0 for views that are not searched for."""
        return self.array("steps")

    @property
    def latents(self) -> NDArray[np.float32]:
        """The inverted codes that the views were made from, float32 [N, codes, dim], before truncation.

        Raises:
            ValueError: they were made without, or the codes are gone.
        """
        return self.parent("latents").array("latents")

    @cached_property
    def dataset(self) -> ImageDataset:
        """The images that the views are of; `dataset.train.images` is uint8 [N, 3, height, width].

        Raises:
            ValueError: they are gone.
        """
        return _find_dataset(self.path.parents[2], str(self.content["images"]))

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The labels of the images, int64 [N]; None where there are none."""
        return self.dataset.train.labels


class Run:
    """A finished run: its result as plain values, and the artifacts that it was made of.

    Args:
        folder: as the run left it, `<out>/<budget>/<table or adhoc>/<name>/<data set>/seed<n>`.

    Attributes:
        folder: absolute.
        out: the folder `out` that it lies below.
        title: what is assimilated and how, "A2 with W-search (rays)".
        name: the paper's row ("table3/expert_expert_simclr"), or "adhoc/<overrides>-<hash>".
        dataset_name: the data set's name.
        budget: the budget's name; numbers of any but "paper" are not the paper's.
        seed: the seed of its own training.
        metrics: by name ("acc1", "acc5", "knn5", …): mean, std, n and values, in percent; over probe seeds.
        protocols: how each metric was measured, by name.
        paper: what the paper prints for this row and data set, by metric: a number, or {"mean", "std"}; often nothing.
        knn_curve: (epochs completed, 5-NN accuracy in percent) while it trained, from 0 epochs on; empty without
            labels.
        untrained: accuracies in percent of a random network, the encoder as it was before its training, by metric.
        floors: accuracies in percent that say nothing of an encoder, by floor ("commonest class") and metric.
        seconds: of each artifact that it is made of, by label, in the order of building.
        artifacts: the folders of all artifacts that it was made of, by label.
        config: the resolved configuration, as nested mappings.
        command, overrides: what was typed.
        notes: what takes the meaning from its numbers.
        raw: the whole metrics.json.
        result: the same, checked.

    Raises:
        ValueError: there is no finished run, or its result says something else than its folder or its probe.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser().resolve()
        try:
            self.raw: Mapping[str, Any] = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
            self.result = result = parse_run(self.raw, parse_place(self.folder.parts[-DEPTH:]))
        except OSError as error:
            raise ValueError(f"{folder} is no finished run: it holds no readable {METRICS}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.folder / METRICS} {error}") from error
        self.out, place = self.folder.parents[DEPTH - 1], result.place
        if (wrong := disagreement(self.raw, self.out)) is not None:
            raise ValueError(f"{self.folder / METRICS} {wrong}")
        self.name, self.dataset_name = f"{place.group}/{place.setting}", place.dataset
        self.title, self.budget, self.seed = result.titles.run, place.budget, place.seed
        self.metrics, self.protocols, self.seconds = result.metrics, result.protocols, result.seconds
        self.paper, self.untrained, self.floors = result.paper, result.untrained, result.floors
        self.knn_curve = [(int(epoch), accuracy) for epoch, accuracy in result.knn_curve or ()]
        self.artifacts = {label: self.out / "artifacts" / label for label in result.artifacts}
        self.config, self.command, self.overrides = result.config, result.command, result.overrides
        self.notes = list(result.notes)

    def __repr__(self) -> str:
        return f"Run({self.folder.relative_to(self.out).as_posix()})"

    @property
    def encoder(self) -> StoredArtifact:
        """Its trained encoder; `load_encoder(run)` reads it.

        Raises:
            ValueError: it is gone.
        """
        return StoredArtifact(self._path_of("encoders"))

    @property
    def generator(self) -> StoredArtifact:
        """The generator of its views; `load_generator(run)` reads it.

        Raises:
            ValueError: it used none, or it is gone.
        """
        return StoredArtifact(self._path_of("generators"))

    @property
    def views(self) -> ViewCache:
        """Its cached views.

        Raises:
            ValueError: it used none, or they are gone.
        """
        return ViewCache(self._path_of("views"))

    @cached_property
    def dataset(self) -> ImageDataset:
        """The images that it was trained on, and those that it was tested on.

        Raises:
            ValueError: they are gone.
        """
        return _find_dataset(self.out / "artifacts", str(self.raw["data_fingerprint"]))

    def _path_of(self, kind: str) -> Path:
        # The run's own comes after that of f.
        paths = [path for label, path in self.artifacts.items() if label.startswith(f"{kind}/")]
        if not paths:
            raise ValueError(f"{self.folder} was made without {kind}; it has {', '.join(self.artifacts)}")
        if not paths[-1].is_dir():
            raise ValueError(f"{paths[-1]} is gone; this makes it again: {self.command}")
        return paths[-1]


def _find_dataset(artifacts: Path, fingerprint: str) -> ImageDataset:
    """The prepared data set of a fingerprint; a ValueError where there is none."""
    for path in sorted(artifacts.glob("datasets/*/*/dataset.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("fingerprint") == fingerprint:
            return load_prepared(path.parent)
    raise ValueError(f"the prepared images (fingerprint {fingerprint[:12]}) are not below {artifacts / 'datasets'}")
