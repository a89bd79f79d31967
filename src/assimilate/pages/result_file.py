"""The result of a finished run as it lies on disk, compared with the probes that it names."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from assimilate.artifacts.artifact import MANIFEST, artifact_root, read_manifest
from assimilate.files.checked_files import digest_file
from assimilate.pages.run import Baseline, Run, parse_place
from assimilate.probes.step import PROBED

IDENTITY = "identity.json"
METRICS = "metrics.json"

Read = TypeVar("Read")


def read_metrics(run_dir: Path) -> dict[str, Any] | None:
    """The result of a finished run, or None where there is none that can be read."""
    path = run_dir / METRICS
    if not os.path.isfile(path):  # unlike Path.is_file, also below a folder that this user may not enter
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, PermissionError):
        return None
    parts = (result.get("metrics"), result.get("artifacts", {})) if isinstance(result, dict) else (None,)
    return result if all(isinstance(part, dict) for part in parts) else None


def read_newest(
    paths: Iterable[Path], out: Path, read: Callable[[Path], Read]
) -> tuple[dict[Path, Read], dict[Path, ValueError | OSError]]:
    """Results as `read` gives them, without those that a later one of the same run and seed in another folder replaces.

    Folders had other names once: of the same overrides in another order. One that `read` refuses replaces no other.

    Args:
        paths: of files of results; those that lie where no run writes are kept.
        out: what they lie below.
        read: raises ValueError or OSError where a file holds no result that counts.

    Returns:
        What was read, and why the others were refused.
    """
    found, refused = dict[Path, Read](), dict[Path, ValueError | OSError]()
    for path in paths:
        try:
            found[path] = read(path)
        except (ValueError, OSError) as error:
            refused[path] = error
    places = dict[tuple[object, ...], list[Path]]()
    for path in found:
        with contextlib.suppress(ValueError):
            place = parse_place(path.relative_to(out).parts[:-1])
            places.setdefault((place.budget, place.group, place.same, place.dataset, place.seed), []).append(path)
    for alike in places.values():
        for earlier in sorted(alike, key=lambda path: path.stat().st_mtime_ns)[:-1] if len(alike) > 1 else ():
            del found[earlier]
    return found, refused


def disagreement(result: Mapping[str, Any], out: Path) -> str | None:
    """Where a result says something else than the probes that it names; None where nowhere, or where they are gone."""
    probes = [label for label in result.get("artifacts") or {} if label.startswith("probes/")]
    parts: dict[str, Any] = {probes[-1]: result} if probes else {}
    baseline = result.get("baseline")
    if isinstance(baseline, dict) and isinstance(baseline.get("artifact"), str):
        parts[baseline["artifact"]] = baseline
    for label, part in parts.items():
        probe = artifact_root(out) / label
        measured = _measured_by(probe, _stamps(probe))
        if different := [key for key, value in measured.items() if not same_json(part.get(key), value)]:
            return f"says other {', '.join(different)} than {label} measured: was it edited? The run's command mends it"
    return None


def with_baseline(run: Run, out: Path) -> Run:
    """The run beside the SimCLR run of the same images, recipe and seed, if that is there and its f is another."""
    label = run.paired_with
    if run.is_beside_its_baseline or label is None or label == run.probe:
        return run
    probe = artifact_root(out) / label
    measured = _measured_by(probe, _stamps(probe))
    try:
        found = Baseline.model_validate({**measured, "artifact": label, "is_f": False})
    except ValidationError:
        return run
    return run.model_copy(update={"baseline": found}) if measured else run


def _stamps(probe: Path) -> tuple[int, ...]:
    try:
        return tuple(os.stat(probe / name).st_mtime_ns for name in (MANIFEST, PROBED))
    except OSError:
        return ()


@functools.lru_cache(maxsize=256)  # that of f is every run's
def _measured_by(probe: Path, stamps: tuple[int, ...]) -> dict[str, Any]:
    """What a probe measured; empty where its artifact is gone or damaged."""
    try:
        recorded = read_manifest(probe)["files"][PROBED]["sha256"]
        if digest_file(probe / PROBED) != recorded:
            return {}
        measured: dict[str, Any] = json.loads((probe / PROBED).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return measured


def same_json(first: Any, second: Any) -> bool:
    """Whether two values are the same JSON; NaN is NaN there."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
