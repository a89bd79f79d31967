"""What a machine with PyTorch and Lightning may lack of our dependencies, from wheels that were carried there.

All of them are pure Python: a wheel is an archive of what belongs on the path, so no installer and no network is asked.
"""

import importlib.util
import sys
import zipfile
from pathlib import Path

# Module -> what provides it. hydra-core needs the other two in these very versions.
CARRIED = {
    "hydra": "hydra-core>=1.3.2,<1.4",
    "omegaconf": "omegaconf>=2.3,<2.4",
    "antlr4": "antlr4-python3-runtime==4.9.3",
}
EXPECTED = {
    "torch": "torch>=2.11",
    "torchvision": "torchvision>=0.26",
    "lightning": "lightning>=2.6",
    "torchmetrics": "torchmetrics>=1.7",
    "numpy": "numpy>=2.0",
    "sklearn": "scikit-learn>=1.5",
    "matplotlib": "matplotlib>=3.9",
    "PIL": "pillow>=10.1",
    "rich": "rich>=13",
    "filelock": "filelock>=3.15",
    "jaxtyping": "jaxtyping>=0.2.36",
    "yaml": "pyyaml",
}
COMMAND = "python -m pip wheel --no-deps --wheel-dir WHEELS hydra-core==1.3.8 omegaconf==2.3.1 " + (
    "antlr4-python3-runtime==4.9.3"
)


def unpack_wheels(wheels: Path | None, site: Path) -> None:
    """Put the wheels' content into `site`, which comes first on the path of every command.

    Raises:
        ValueError: a module is missing after that, or a wheel holds compiled code.
    """
    site.mkdir(parents=True, exist_ok=True)
    for wheel in sorted(wheels.glob("*.whl")) if wheels is not None else []:
        if not wheel.name.endswith("-none-any.whl"):
            raise ValueError(f"--wheels: {wheel.name} is not pure Python; carry the wheels of this list: {COMMAND}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    if str(site) not in sys.path:
        sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    missing = [need for module, need in {**CARRIED, **EXPECTED}.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(
            f"this machine lacks {', '.join(missing)}: make the wheels where there is a network and carry them here "
            f"as --wheels: {COMMAND}"
        )
