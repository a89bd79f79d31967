"""The interface of generators for inversion and views; any object with these members can replace StyleGAN2."""

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


class LatentGenerator(Protocol):
    """A frozen generator of square RGB images that is differentiable in its codes.

    Latents z are [batch, dim], codes w [batch, codes, dim], images [batch, 3, size, size] in about [-1, 1].
    Its tensors move with ``to(device)``, which returns it; one without that method works on the CPU alone.
    Codes are *pre-truncation*: ``synthesize`` itself applies truncation. The same codes always give the same image, and
    an image depends on its own codes alone.
    """

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        ...

    @property
    def num_codes(self) -> int:
        """L, the number of codes of an image."""
        ...

    @property
    def latent_dim(self) -> int:
        """D, the width of a latent and of a code."""
        ...

    @property
    def latent_mean(self) -> Float[Tensor, " dim"]:
        """The mean code [dim], on the generator's device."""
        ...

    def sample_latents(self, count: int, rng: torch.Generator) -> Float[Tensor, "batch dim"]:
        """Draw latents z on the device of ``rng``."""
        ...

    def map(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Map latents z to codes w, before truncation."""
        ...

    def synthesize(self, codes: Float[Tensor, "batch codes dim"]) -> Float[Tensor, "batch 3 size size"]:
        """Make images, about [-1, 1] and not clamped."""
        ...


_SIZES = ("image_size", "num_codes", "latent_dim")
_METHODS = ("sample_latents", "map", "synthesize")


def check_generator(generator: object, *, image_size: int) -> None:
    """Make two images and their gradients with ``generator``, to see that it is what ``LatentGenerator`` says.

    Raises ValueError, one line that says what is missing or wrong.
    """
    kind = type(generator).__name__
    missing = [name for name in (*_SIZES, "latent_mean", *_METHODS) if not hasattr(generator, name)]
    if missing:
        raise ValueError(f"{kind} is no generator: it has no {', '.join(missing)}")
    wrong = [
        name for name in _SIZES if not (isinstance(getattr(generator, name), int) and getattr(generator, name) > 0)
    ]
    wrong += [name for name in _METHODS if not callable(getattr(generator, name))]
    if wrong:
        raise ValueError(f"{kind} is no generator: {wrong[0]} is {getattr(generator, wrong[0])!r}")
    checked: LatentGenerator = generator  # type: ignore[assignment]
    if checked.image_size != image_size:
        raise ValueError(f"{kind} makes images of {checked.image_size}², but dataset.image_size={image_size}")
    mean, shape = checked.latent_mean, (2, checked.latent_dim)
    _expect(kind, "latent_mean", mean, shape[1:])
    latents = checked.sample_latents(2, torch.Generator().manual_seed(0))
    _expect(kind, "sample_latents(2, rng)", latents, shape)
    with torch.no_grad():
        mapped = checked.map(latents.to(mean.device))
    _expect(kind, "map(latents)", mapped, shape)
    codes = mapped[:, None].repeat(1, checked.num_codes, 1).requires_grad_()
    with torch.enable_grad():
        images = checked.synthesize(codes)
        _expect(kind, "synthesize(codes)", images, (2, 3, image_size, image_size))
        if not images.requires_grad:
            raise ValueError(f"{kind}: synthesize(codes) has no gradient with respect to the codes")


def _expect(kind: str, what: str, value: object, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or value.dtype != torch.float32:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{kind}: {what} is {found}; needed is float32 {list(shape)}")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{kind}: {what} is not finite")


def to_pixels(images: Float[Tensor, "... 3 height width"]) -> UInt8[Tensor, "... 3 height width"]:
    """Images [..., 3, height, width] in [−1, 1] (clamped) to the nearest of 256 levels, uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round_().to(torch.uint8)
