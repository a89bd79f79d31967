import subprocess
import sys

import torch

from assimilate.data.seed import derive_seed
from assimilate.data.seeding import generator


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from assimilate.data.seed import derive_seed; print(derive_seed(3, 'augment', 5, 7, 0))"
    # Another hash seed: Python's own hash() would differ.
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "11", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) == derive_seed(3, "augment", 5, 7, 0)


def test_seeds_have_63_bits_and_differ_by_part_type_and_boundary() -> None:
    seeds = {derive_seed(*parts) for parts in [(1,), ("1",), (1, 1), (11,), ("ab", "c"), ("a", "bc"), ("i1",), (-1,)]}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_is_seeded_by_its_name_alone() -> None:
    torch.manual_seed(0)
    first = torch.rand(4, generator=generator(1, "order", 2))
    torch.rand(10)
    assert torch.equal(first, torch.rand(4, generator=generator(1, "order", 2)))
    assert not torch.equal(first, torch.rand(4, generator=generator(1, "order", 3)))
