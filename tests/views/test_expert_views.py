"""Cached expert views: a draw an image, or one that a batch shares."""

import numpy as np
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.data.transform import make_transform
from assimilate.views.expert_views import draw_expert_views

SIZE, VIEWS = 16, 3
# The same picture again and again: what differs between its views is the draw.
PICTURE = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8)
IMAGES = PICTURE.repeat(10, axis=0)


def drawn(indices, **changes):
    found = {}
    expert = make_transform("expert", SIZE, flip=0.5, expert={})
    draw_expert_views(IMAGES, indices, expert, found.__setitem__, num_views=VIEWS, seed=4, **changes)
    return found


def same(first, second):
    return torch.equal(first, second)


def test_every_image_has_draws_of_its_own():
    found = drawn(range(10))
    assert not any(same(found[i], found[j]) for i in range(10) for j in range(i))
    expert = make_transform("expert", SIZE, flip=0.5, expert={})
    expected = expert(torch.from_numpy(PICTURE).expand(VIEWS, -1, -1, -1).contiguous(), seeded(4, "expert", 7))
    assert same(found[7], (expected * 255).round().to(torch.uint8))


def test_a_batch_shares_its_draws_and_the_next_one_has_others():
    found = drawn(range(10), shared_by=4)
    for index in range(10):
        assert same(found[index], found[index // 4 * 4])
    assert not same(found[0], found[4])
    assert not same(found[4], found[8])
    views = found[0]
    assert not any(same(views[i], views[j]) for i in range(VIEWS) for j in range(i))
    # Which images are drawn together by one process changes nothing.
    apart = drawn([9, 2], shared_by=4)
    assert same(apart[9], found[9])
    assert same(apart[2], found[2])
