"""Seeds from names, so that no draw depends on what was drawn before it."""

import hashlib


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
        token = f"{'i' if isinstance(part, int) else 's'}{part}".encode("utf-8", "surrogateescape")
        digest.update(len(token).to_bytes(8, "little") + token)
    return int.from_bytes(digest.digest(), "little") >> 1
