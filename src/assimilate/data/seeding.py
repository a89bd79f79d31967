"""Seeds from names: every random draw has a generator of its own, so nothing depends on what was drawn before it."""

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that is a stable function of ``parts``, on every machine and in every process.

    ``1`` and ``"1"`` are different parts, and ``("ab", "c")`` differs from ``("a", "bc")``.
    """
    assert parts, "a seed needs at least one part"
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        # bool is an int in Python; as a part of a seed it is a mistake more often than not.
        assert type(part) is not bool, f"not a part of a seed: {part!r}"
        assert isinstance(part, int | str), f"not a part of a seed: {part!r}"
        # Names of files may be no UTF-8.
        token = f"{'i' if isinstance(part, int) else 's'}{part}".encode(
            "utf-8", "surrogateescape"
        )  # names of files may be no UTF-8
        digest.update(len(token).to_bytes(8, "little") + token)
    return int.from_bytes(digest.digest(), "little") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` that is seeded by ``derive_seed(*parts)``.

    Generators of two device types give different streams for one seed: draw on the CPU what must not depend on it.
    """
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
