import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chi2_contingency, ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from assimilate.data import crop
from assimilate.data.crop import CropParameters, draw_crops, full_precision
from assimilate.data.seeding import generator

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def resample(images: torch.Tensor, crops: CropParameters, size: int, *, interpolation: str) -> torch.Tensor:
    with full_precision(images.device):
        return crop.resample(images, crops, size, interpolation=interpolation)


def whole_image(height: int, width: int, flip: torch.Tensor) -> CropParameters:
    zeros = torch.zeros(len(flip), dtype=torch.long)
    return CropParameters(zeros, zeros, zeros + height, zeros + width, flip)


def boxes(rows: list[tuple[int, int, int, int, bool]]) -> CropParameters:
    top, left, height, width, flip = zip(*rows, strict=True)
    return CropParameters(*(torch.tensor(part) for part in (top, left, height, width)), torch.tensor(flip))


def one_by_one(images: torch.Tensor, crops: CropParameters, size: int, interpolation: str) -> torch.Tensor:
    views = []
    for i, image in enumerate(images):
        box = [int(part[i]) for part in (crops.top, crops.left, crops.height, crops.width)]
        view = reference.resized_crop(
            image.float() / 255, *box, size=[size, size], interpolation=MODES[interpolation], antialias=True
        )
        views.append(reference.horizontal_flip(view) if crops.flip[i] else view)
    return torch.stack(views).clamp(0, 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (48, 48, 32), (16, 16, 32), (40, 24, 17)])
def test_equals_torchvision_at_equal_boxes(height: int, width: int, size: int, interpolation: str) -> None:
    rng = generator("crop test", height, size)
    images = torch.randint(0, 256, (300, 3, height, width), dtype=torch.uint8, generator=rng)
    crops = draw_crops(300, height, width, scale=(0.08, 1), ratio=(0.5, 2), flip=0.5, rng=rng)
    ours = resample(images, crops, size, interpolation=interpolation)
    torch.testing.assert_close(ours, one_by_one(images, crops, size, interpolation), atol=1e-5, rtol=0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_corner_and_single_pixel_boxes_never_look_outside(interpolation: str) -> None:
    rows = [(0, 0, 5, 9, False), (27, 23, 5, 9, True), (0, 31, 32, 1, False), (31, 0, 1, 1, True), (13, 7, 2, 3, False)]
    crops = boxes([*rows, (0, 0, 32, 32, True)])
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=generator("corners"))
    ours = resample(images, crops, 32, interpolation=interpolation)
    torch.testing.assert_close(ours, one_by_one(images, crops, 32, interpolation), atol=1e-5, rtol=0)
    # What lies outside the box must not matter, however close to it.
    for i in range(6):
        top, left, height, width = (int(part[i]) for part in (crops.top, crops.left, crops.height, crops.width))
        other = torch.full_like(images[i], 255)
        other[:, top : top + height, left : left + width] = images[i, :, top : top + height, left : left + width]
        images[i] = other
    assert torch.equal(ours, resample(images, crops, 32, interpolation=interpolation))


def test_bilinear_and_bicubic_follow_pillow() -> None:
    # Mid greys: Pillow clamps between its two passes, which only differs where the cubic overshoots black or white.
    image = torch.randint(80, 176, (1, 3, 32, 32), dtype=torch.uint8, generator=generator("pillow"))
    crops = boxes([(3, 5, 20, 14, False)])
    pil = Image.fromarray(image[0].permute(1, 2, 0).numpy()).crop((5, 3, 19, 23))
    for name, mode in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(pil.resize((32, 32), mode)).transpose(2, 0, 1) / 255
        ours = resample(image, crops, 32, interpolation=name)[0].numpy()
        assert np.abs(ours - expected).max() <= 1.01 / 255  # Pillow rounds after each axis


def test_the_whole_image_at_its_own_size_is_unchanged() -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator("whole"))
    flip = torch.tensor([False, True, False, True])
    for interpolation in ("bilinear", "bicubic"):
        views = resample(images, whole_image(32, 32, flip), 32, interpolation=interpolation)
        expected = images.float() / 255
        expected[flip] = expected[flip].flip(-1)
        torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [(32, 32, (0.2, 1), (3 / 4, 4 / 3)), (32, 32, (0.9, 1), (0.9, 1.1)), (64, 40, (0.6, 1), (3 / 4, 4 / 3))],
)
def test_boxes_are_distributed_as_torchvision_draws_them(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    count = 10_000
    crops = draw_crops(count, height, width, scale=scale, ratio=ratio, flip=0.3, rng=generator("boxes", height))
    torch.manual_seed(0)
    blank = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(blank, list(scale), list(ratio)) for _ in range(count)])
    ours = torch.stack((crops.top, crops.left, crops.height, crops.width), dim=1).numpy()
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3, column
    joint_ours, joint_theirs = ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]
    assert ks_2samp(joint_ours, joint_theirs).pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2]).max() <= height
    assert (ours[:, 1] + ours[:, 3]).max() <= width
    assert abs(crops.flip.float().mean().item() - 0.3) < 0.03


def test_positions_are_uniform_given_the_box() -> None:
    crops = draw_crops(40_000, 8, 8, scale=(0.5, 0.5), ratio=(1, 1), flip=0, rng=generator("positions"))
    assert set(crops.height.tolist()) == {6}
    table = np.zeros((3, 3))
    np.add.at(table, (crops.top.numpy(), crops.left.numpy()), 1)
    assert chi2_contingency(table).pvalue > 1e-3
    assert np.abs(table / 40_000 - 1 / 9).max() < 0.01


def test_a_box_that_never_fits_becomes_torchvisions_central_one() -> None:
    for height, width in ((4, 64), (64, 4)):
        crops = draw_crops(3, height, width, scale=(1, 1), ratio=(3 / 4, 4 / 3), flip=0, rng=generator("none"))
        expected = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.0, 1.0], [3 / 4, 4 / 3])
        assert all(
            tuple(int(part[i]) for part in (crops.top, crops.left, crops.height, crops.width)) == expected
            for i in range(3)
        )


def test_a_runs_matmul_precision_is_restored_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator("precision"))
    crops = boxes([(3, 5, 20, 14, False), (0, 0, 7, 30, True)])
    expected = resample(images, crops, 32, interpolation="bilinear")
    # Not every processor has products of lower precision, so what they are asked for is looked at too.
    product, precisions = torch.bmm, []

    def watched(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        precisions.append(torch.get_float32_matmul_precision())
        return product(first, second)

    monkeypatch.setattr(torch, "bmm", watched)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            views = resample(images, crops, 32, interpolation="bilinear")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert precisions == ["highest", "highest"]
    assert views.dtype == torch.float32
    torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)
