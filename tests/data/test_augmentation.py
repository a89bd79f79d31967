import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from assimilate.data.augmentation import (
    BasicAugmentation,
    FlipAugmentation,
    Identity,
    normalize,
)
from assimilate.data.expert import ExpertAugmentation, ExpertParameters
from assimilate.data.jitter import JitterParameters
from assimilate.data.seeding import generator
from assimilate.data.transform import Transform, make_transform
from assimilate.graph.settings import choices

ORDERS = list(itertools.permutations(range(4)))
COLORS = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


TRANSFORMS = tuple(choices(Transform))


def random_images(count: int, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator("images", size))


def expert_one_by_one(expert: ExpertAugmentation, images: torch.Tensor, parameters: ExpertParameters) -> torch.Tensor:
    mode = InterpolationMode.BILINEAR if expert.interpolation == "bilinear" else InterpolationMode.BICUBIC
    crops, jitter = parameters.crops, parameters.jitter
    views = []
    for i, image in enumerate(images):
        view = image.float() / 255
        box = [int(part[i]) for part in (crops.top, crops.left, crops.height, crops.width)]
        for step in ("crop", "color") if expert.order == "crop_first" else ("color", "crop"):
            if step == "crop":
                size = [expert.image_size] * 2
                view = reference.resized_crop(view, *box, size=size, interpolation=mode, antialias=True).clamp(0, 1)
                view = reference.horizontal_flip(view) if crops.flip[i] else view
                continue
            if jitter.jittered[i]:
                for operation in jitter.order[i].tolist():
                    view = COLORS[operation](view, float(jitter.factors[i, operation]))
            if jitter.grayscale[i]:
                view = reference.rgb_to_grayscale(view, num_output_channels=3)
        views.append(view)
    return torch.stack(views)


@pytest.mark.parametrize("order", ["crop_first", "jitter_first"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("stored_size", [32, 40])
def test_expert_equals_torchvision_in_every_jitter_order(order: str, interpolation: str, stored_size: int) -> None:
    expert = ExpertAugmentation(32, interpolation=interpolation, order=order)
    images = random_images(120, stored_size)
    drawn = expert.draw(120, stored_size, stored_size, generator("expert", order))
    jitter = JitterParameters(
        torch.tensor(ORDERS * 5), drawn.jitter.factors, drawn.jitter.jittered, drawn.jitter.grayscale
    )
    parameters = ExpertParameters(drawn.crops, jitter)
    expected = expert_one_by_one(expert, images, parameters)
    torch.testing.assert_close(expert.apply_by_operation(images, parameters), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(expert.apply_by_position(images, parameters), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(expert.apply_by_image(images, parameters), expected, atol=1e-5, rtol=0)
    uncompiled = replace(expert, compiled=True).apply_by_position(images, parameters)
    torch.testing.assert_close(uncompiled, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_expert_equals_torchvision_where_pixels_do_not_fall_on_binary_fractions(interpolation: str) -> None:
    # GenRep's 112 of 128 (PROTOCOLS 12): an output pixel's width is no float32. Black and white, where it shows most.
    expert = ExpertAugmentation(112, interpolation=interpolation)
    images = random_images(100, 128).div(128, rounding_mode="floor").mul(255)
    parameters = expert.draw(100, 128, 128, generator("binary fractions"))
    expected = expert_one_by_one(expert, images, parameters)
    torch.testing.assert_close(expert.apply(images, parameters), expected, atol=1e-5, rtol=0)


def test_images_of_which_few_fill_a_cache_are_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expert = ExpertAugmentation(112)
    images = random_images(3, 128)
    parameters = expert.draw(3, 128, 128, generator("large"))
    in_groups = expert.apply_by_operation(images, parameters)
    monkeypatch.setattr(ExpertAugmentation, "apply_by_operation", None)
    torch.testing.assert_close(expert.apply(images, parameters), in_groups, atol=1e-6, rtol=0)


def test_images_that_are_jittered_whole_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    expert = ExpertAugmentation(16, order="jitter_first")
    images = random_images(200, 80)
    parameters = expert.draw(200, 80, 80, generator("parts"))
    expected = expert_one_by_one(expert, images, parameters)
    sizes = []
    whole = ExpertAugmentation.apply_by_operation

    def counted(self: ExpertAugmentation, some: torch.Tensor, own: ExpertParameters) -> torch.Tensor:
        sizes.append(some.numel())
        return whole(self, some, own)

    monkeypatch.setattr(ExpertAugmentation, "apply_by_operation", counted)
    monkeypatch.setattr("assimilate.data.expert._GROUPS_AT_ONCE", 2)
    torch.testing.assert_close(expert.apply(images, parameters), expected, atol=1e-5, rtol=0)
    assert len(sizes) > 2
    assert max(sizes) < images.numel() / 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_views_are_the_eager_ones_to_rounding() -> None:
    eager = make_transform("expert", 16, flip=0.5, expert={})
    compiled = make_transform("expert", 16, flip=0.5, expert={}, compiled=True)
    for count in (24, 24, 10):
        images = random_images(count, 16)
        expected = eager(images, generator("compiled", count))
        torch.testing.assert_close(compiled(images, generator("compiled", count)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["crop_first", "jitter_first"])
def test_what_is_compiled_is_the_whole_batch_form(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = []

    def compiler(function: Callable, **settings: object) -> Callable:
        handed.append((function, settings))
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    # A size of its own: what was compiled for equal settings is kept.
    expert = ExpertAugmentation(19, order=order, compiled=True)
    images = random_images(40, 23)
    parameters = expert.draw(40, 23, 23, generator("handed", order))
    expected = expert_one_by_one(expert, images, parameters)
    for _ in range(2):
        torch.testing.assert_close(expert.apply(images, parameters), expected, atol=1e-5, rtol=0)
    assert handed == [(expert.apply_in_context, {"dynamic": False})]


@pytest.mark.parametrize("name", ["none", "flip", "jitter_first"])
def test_floats_are_refused_rather_than_divided_where_they_lie(name: str) -> None:
    settings = {"order": "jitter_first"} if name == "jitter_first" else {}
    transform = make_transform("expert" if settings else name, 16, flip=0.5, expert=settings)
    with pytest.raises(TypeError, match="bytes, not"):
        transform(random_images(4, 16) / 255, generator("floats"))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_gives_views_of_the_asked_size_in_range_and_repeats_itself(name: str) -> None:
    transform = make_transform(name, 16, flip=0.5, expert={"crop_scale": [0.2, 1.0]})
    images = random_images(70, 16)
    before = images.clone()
    views = transform(images, generator("repeat"))
    assert views.shape == (70, 3, 16, 16)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(views, transform(images, generator("repeat")))
    assert torch.equal(views, transform(images, generator("other"))) == (name == "none")


def test_draws_differ_within_a_batch() -> None:
    same = random_images(1).expand(200, -1, -1, -1)
    views = ExpertAugmentation(32)(same, generator("differ"))
    assert len(torch.unique(views.flatten(1), dim=0)) == 200


def test_draws_of_one_image_do_not_depend_on_each_other() -> None:
    count = 20_000
    drawn = ExpertAugmentation(32).draw(count, 32, 32, generator("independent"))
    crops, jitter = drawn.crops, drawn.jitter
    columns = [
        *jitter.order.argsort(dim=1).unbind(1),
        *jitter.factors.unbind(1),
        crops.height * crops.width,
        crops.height / crops.width,
        crops.flip,
        jitter.jittered,
        jitter.grayscale,
    ]
    correlation = spearmanr(torch.stack([column.double() for column in columns], dim=1).numpy()).statistic
    places = np.s_[:4, :4]
    # The places of the four operations are a permutation, and so are the only ones that say something of each other.
    assert np.abs(correlation[places] - (np.eye(4) * 4 - 1) / 3).max() < 4 / count**0.5
    correlation[places] = np.eye(4)
    assert np.abs(correlation - np.eye(len(columns))).max() < 4 / count**0.5


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for name in TRANSFORMS:
        make_transform(name, 32, flip=0.5, expert={})(random_images(8), generator("global"))
    assert torch.equal(state, torch.get_rng_state())


def test_without_jitter_and_gray_the_expert_is_basic() -> None:
    images = random_images(40)
    expert = ExpertAugmentation(32, jitter_probability=0, grayscale_probability=0)
    basic = BasicAugmentation(32)
    drawn = expert.draw(40, 32, 32, generator("basic"))
    torch.testing.assert_close(expert.apply(images, drawn), basic.apply(images, drawn.crops))


def test_flip_and_identity() -> None:
    images = random_images(4)
    flip = torch.tensor([True, False, True, False])
    views = FlipAugmentation(0.5).apply(images, flip)
    assert torch.equal(views[0], images[0].flip(-1) / 255)
    assert torch.equal(views[1], images[1] / 255)
    assert torch.equal(Identity()(images, generator("none")), images / 255)
    assert torch.equal(FlipAugmentation(1.0)(images, generator("none")), images.flip(-1) / 255)
    assert torch.equal(FlipAugmentation(0.0)(images, generator("none")), images / 255)
    size = images.shape[-1]
    centre = FlipAugmentation(0.0, size - 4)(images, generator("none"))
    assert torch.equal(centre, images[..., 2:-2, 2:-2] / 255)
    assert torch.equal(FlipAugmentation(0.0, size)(images, generator("none")), images / 255)


def test_named_crops_have_the_papers_boxes() -> None:
    for name, smallest in (("crop50", 0.5), ("crop70", 0.7), ("crop90", 0.9), ("weak_crop", 0.9)):
        crop = make_transform(name, 32)
        assert (crop.scale, crop.ratio, crop.flip) == ((smallest, 1.0), (0.9, 1.1), 0.5)


def test_no_flip_reaches_every_transform() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(50, 3, 32, 32)
    for name in set(TRANSFORMS) - {"none"}:
        views = make_transform(name, 32, flip=0.0, expert={"jitter_probability": 0.0})(ramp, generator("no flip"))
        assert (views[..., -1] > views[..., 0]).all(), name


def test_basic_is_the_same_whatever_the_expert_is() -> None:
    settings = {"crop_scale": [0.08, 1.0], "crop_ratio": [0.5, 2.0], "interpolation": "bicubic", "jitter": [1, 1, 1, 0]}
    basic = make_transform("basic", 32, flip=0.25, expert=settings)
    # PROTOCOLS 8: RandomResizedCrop of .2 to 1, and a flip.
    assert basic == BasicAugmentation(32, (0.2, 1.0), (3 / 4, 4 / 3), 0.25, "bilinear")


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_gives_views_of_the_asked_size_of_larger_images(name: str, size: int) -> None:
    images = random_images(6, 20)
    views = make_transform(name, size, flip=0.0, expert={})(images, generator("centre"))
    assert views.shape == (6, 3, size, size)
    if name in ("flip", "none"):
        # torchvision rounds an odd margin to even, so an odd one may differ by a pixel.
        corner = (20 - size) // 2
        assert torch.equal(views, reference.crop(images, corner, corner, size, size) / 255)
        if size == 16:
            assert torch.equal(views, reference.center_crop(images, [16, 16]) / 255)


def test_equal_settings_make_equal_transforms() -> None:
    assert make_transform("expert", 32, flip=0.5, expert={"crop_scale": [0.2, 1.0]}) == ExpertAugmentation(32)


def test_normalize_is_the_textbook_formula() -> None:
    images = torch.rand(3, 3, 4, 4, generator=generator("normalize"))
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    expected = reference.normalize(images, list(mean), list(std))
    torch.testing.assert_close(normalize(images, mean, std), expected)
    assert normalize(images, mean, std, out=images) is images
    torch.testing.assert_close(images, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_scale": (0.0, 1.0)}, "crop scale"),
        ({"crop_scale": (0.5, 1.5)}, "crop scale"),
        ({"crop_ratio": (2.0, 1.0)}, "crop ratio"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue"),
        ({"jitter_probability": 1.2}, "jitter_probability is 1.2"),
        ({"grayscale_probability": -0.1}, "grayscale_probability is -0.1"),
        ({"interpolation": "nearest"}, "bilinear, bicubic"),
        ({"order": "gray_first"}, "crop_first, jitter_first"),
        ({"blur": 0.5}, "blur"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_transform("expert", 32, flip=0.5, expert=settings)


def test_an_unknown_transform_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'crop60'.*crop50, crop70"):
        make_transform("crop60", 32, flip=0.5, expert={})
