"""Small data sets in the formats of the large ones, made of noise."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01443537", "n01440764", "n02206856")


def jpeg(rng: np.random.Generator, width: int, height: int, mode: str = "RGB") -> bytes:
    shape = (height, width) if mode == "L" else (height, width, 3)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(stream, "JPEG")
    return stream.getvalue()


def cifar_files(variant: str, num_train: int, num_test: int) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """The files of CIFAR's format by name, training pixels [N, 3, 32, 32] and training labels."""
    rng = np.random.default_rng(0)
    key = "labels" if variant == "cifar10" else "fine_labels"
    pixels = rng.integers(0, 256, (num_train + num_test, 3 * 32 * 32), dtype=np.uint8)
    labels = rng.integers(0, 10, num_train + num_test)
    names = [f"class {i}" for i in range(10)]

    def batch(rows: slice) -> bytes:
        return pickle.dumps({"data": pixels[rows], key: labels[rows].tolist()})

    if variant == "cifar10":
        share = num_train // 5
        files = {f"data_batch_{i + 1}": batch(slice(i * share, (i + 1) * share)) for i in range(5)}
        files |= {"test_batch": batch(slice(num_train, None)), "batches.meta": pickle.dumps({"label_names": names})}
    else:
        files = {"train": batch(slice(0, num_train)), "test": batch(slice(num_train, None))}
        files["meta"] = pickle.dumps({"fine_label_names": names})
    return files, pixels[:num_train].reshape(-1, 3, 32, 32), labels[:num_train]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def pack_tar(path: Path, folder: str, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def tinyimagenet_files(of_class: int = 4, num_val: int = 6) -> dict[str, bytes]:
    """The files below tiny-imagenet-200/ of a set with three classes; the first training image is grey."""
    rng = np.random.default_rng(0)
    files = {"wnids.txt": "\n".join(WNIDS).encode(), "words.txt": b"n01443537\tgoldfish"}
    for wnid in WNIDS:
        for k in range(of_class):
            files[f"train/{wnid}/images/{wnid}_{k}.JPEG"] = jpeg(rng, 64, 64, "L" if k == 0 else "RGB")
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"x"
    lines = []
    for k in range(num_val):
        files[f"val/images/val_{k}.JPEG"] = jpeg(rng, 64, 64)
        lines.append(f"val_{k}.JPEG\t{WNIDS[k % 3]}\t0\t0\t62\t62")
    files["val/val_annotations.txt"] = ("\n".join(lines) + "\n").encode()
    files["test/images/test_0.JPEG"] = jpeg(rng, 64, 64)
    return files


def write_tree(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def pack_zip(path: Path, folder: str, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)


def imagenet_files(of_class: int = 5, val_of_class: int = 2) -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    files = {}
    for part, count in (("train", of_class), ("val", val_of_class)):
        for wnid in sorted(WNIDS):
            for k in range(count):
                files[f"{part}/{wnid}/{wnid}_{k}.JPEG"] = jpeg(
                    rng, 40 + 7 * (k % 8), 60 - 5 * (k % 8), "L" if k == 1 else "RGB"
                )
    return files
