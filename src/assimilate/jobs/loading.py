"""Networks by whatever names them: a file, an artifact's folder, or a finished run."""

import json
from pathlib import Path

import torch

from assimilate.encoder import checkpoint as encoder_files
from assimilate.encoder.encoder import Encoder
from assimilate.encoder.foreign import find_resnet
from assimilate.errors import UserError
from assimilate.generator.bigbigan import is_bigbigan, load_bigbigan
from assimilate.generator.checkpoint import parse_stylegan2, read_checkpoint
from assimilate.generator.own import make_own_generator
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.step import DESCRIPTION
from assimilate.generator.truncated import TruncatedBigBiGAN, TruncatedStyleGAN2
from assimilate.jobs.finished import METRICS, Run, StoredArtifact

Source = Path | str | Run | StoredArtifact


def load_encoder(
    source: Source, *, stem: str | None = None, prefix: str | None = None, device: torch.device | str = "cpu"
) -> Encoder:
    """A trained encoder in eval mode, with its normalisation (`mean`, `std`).

    `features(x)` takes normalised images [batch, 3, height, width] to [batch, feature_dim]; `extract_features` takes
    stored images, and `FrozenEmbedding.of` makes f of it.

    Args:
        source: a finished run or its folder, the folder of an encoder's artifact, a file of ours (encoder.pt), or a
            ResNet-18, -34 or -50 of torchvision's layout that another program saved. The last has no projector, and
            its `mean` and `std` are 0 and 1 until you set them.
        stem, prefix: of another program's file: see `find_resnet`. None where the file itself says it.
        device: where to put it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no such network, or the run's encoder is gone.
    """
    file = _file(source, "encoder")
    content = encoder_files.read_torch_file(file)
    if encoder_files.is_encoder_file(content):
        return encoder_files.load_encoder(file).to(device)
    try:
        found = find_resnet(content, stem=stem, prefix=prefix)
    except ValueError as error:
        raise ValueError(f"{file} {error}") from None
    encoder = Encoder.from_spec(found.spec)
    encoder.load_state_dict(found.state_dict)
    return encoder.eval().to(device)


def load_generator(
    source: Source, *, truncation: float | None = None, device: torch.device | str = "cpu"
) -> LatentGenerator:
    """A frozen generator: a StyleGAN2 or a BigBiGAN, ours or one that another program trained, or one of your own code.

    `synthesize(codes)` takes [batch, codes, dim] to images [batch, 3, size, size] in about [−1, 1].

    Args:
        source: a finished run or its folder, the folder of a generator's artifact, or a checkpoint: a StyleGAN2 in the
            rosinality layout, or a BigBiGAN's state dict. Of a run with `generator._target_=`, the target is imported
            and called as the run did.
        truncation: ψ in (0, 1]; None takes the run's, else 0.7 for a StyleGAN2 (the paper's) and 1 for a BigBiGAN. Your
            own code truncates by itself.
        device: where to put it.

    Raises:
        ValueError: there is no such file, it is damaged or neither of the two, ψ is out of range, the run used no
            generator, or your code makes none.
    """
    run = _run(source)
    if truncation is None and run is not None:
        truncation = run.config.get("generator", {}).get("truncation")
    if (note := _place(source, "generator") / DESCRIPTION).is_file():
        if truncation is not None:
            raise ValueError(f"truncation={truncation}: {note.parent} is a generator of your own code; set it there")
        called = json.loads(note.read_text(encoding="utf-8"))
        try:
            return make_own_generator(
                called["target"], called["arguments"], image_size=called["image_size"], device=str(device)
            )
        except UserError as error:
            raise ValueError(str(error)) from error
    file = _file(source, "generator")
    settings = {} if truncation is None else {"truncation": truncation}
    content = read_checkpoint(file, key="generator.checkpoint")
    if is_bigbigan(content):
        return TruncatedBigBiGAN(load_bigbigan(file), **settings).to(device)
    state = parse_stylegan2(content, origin=f"generator.checkpoint={file}")
    return TruncatedStyleGAN2.from_state(state, **settings).to(device)


def _run(source: Source) -> Run | None:
    if isinstance(source, Run):
        return source
    is_run = not isinstance(source, StoredArtifact) and (Path(source).expanduser() / METRICS).is_file()
    return Run(source) if is_run else None  # type: ignore[arg-type]


def _place(source: Source, role: str) -> Path:
    """The folder or file that is meant."""
    run = _run(source)
    if run is not None:
        source = run.encoder if role == "encoder" else run.generator
    return source.path if isinstance(source, StoredArtifact) else Path(source).expanduser()  # type: ignore[arg-type]


def _file(source: Source, role: str) -> Path:
    """The file of networks that is meant: in an artifact's folder, `<role>.pt`."""
    path = _place(source, role)
    if not path.is_dir():
        return path
    if not (path / f"{role}.pt").is_file():
        there = ", ".join(sorted(file.name for file in path.iterdir())[:6])
        raise ValueError(f"{path} holds no {role}.pt; it has {there}")
    return path / f"{role}.pt"
