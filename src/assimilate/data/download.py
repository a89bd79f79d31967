"""Download one archive, checked against its MD5 before it appears."""

import hashlib
import http.client
import urllib.request
from pathlib import Path

from assimilate.graph.place import Progress, silent

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30


def download(url: str, target: Path, *, md5: str, what: str, progress: Progress = silent) -> None:
    """Fetch ``url`` to ``target``: written beside, checked against ``md5``, then renamed.

    Raises ValueError, naming ``dataset.root`` and ``what`` the archive is, if it cannot be fetched or is another file.
    """
    beside = target.with_name(f"{target.name}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            target.parent.mkdir(parents=True, exist_ok=True)
            total, done = int(response.headers.get("Content-Length") or 0), 0
            with beside.open("wb") as stream:
                while chunk := response.read(_CHUNK_BYTES):
                    stream.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(done, max(total, done), {})
    except (OSError, http.client.HTTPException) as error:
        beside.unlink(missing_ok=True)
        raise ValueError(
            f"{what} is not below dataset.root={target.parent} and cannot be downloaded from {url} ({error}); put "
            f"{target.name} there by hand, or give the folder that holds it as dataset.root"
        ) from error
    if digest.hexdigest() != md5:
        beside.unlink()
        raise ValueError(
            f"{what}: what came from {url} has MD5 {digest.hexdigest()} instead of {md5}; try again, or put the "
            f"genuine {target.name} into dataset.root={target.parent}"
        )
    beside.replace(target)
