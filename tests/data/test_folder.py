import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from assimilate.data import decoding
from assimilate.data.decoding import decode_image
from assimilate.data.folder import prepare_folder, scan_folder
from assimilate.data.images import ImageDataset, describe_twins, load_files

SIZE = 8


def picture(path: Path, color: tuple[int, ...] | int = (200, 30, 90), size: tuple[int, int] = (SIZE, SIZE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(color, int) else {3: "RGB", 4: "RGBA"}[len(color)]
    Image.new(mode, size, color).save(path)


def prepare(tmp_path: Path, root: Path, test_fraction: float = 0.0) -> ImageDataset:
    return prepare_folder(tmp_path / "prepared", root, image_size=SIZE, test_fraction=test_fraction)


def test_class_folders_with_images_of_many_formats(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for suffix in ("png", "jpg", "JPEG", "webp", "bmp", "gif", "tif", "tiff", "ppm"):
        picture(root / "blue" / f"a.{suffix}", (0, 0, 255))
    picture(root / "red" / "deeper" / "b.png", (255, 0, 0))
    (root / "red" / "notes.txt").write_text("not an image")
    (root / ".hidden").mkdir()
    data = prepare(tmp_path, root)
    assert data.class_names == ("blue", "red")
    assert data.test is None
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0] * 9 + [1]
    assert np.abs(data.train.images[:9].astype(int) - np.array([0, 0, 255]).reshape(1, 3, 1, 1)).max() <= 3
    assert any("1 .txt" in note for note in data.notes)


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders(tmp_path: Path, test_name: str) -> None:
    root = tmp_path / "images"
    for label, name in enumerate(("a", "b", "c")):
        picture(root / "train" / name / "1.png", (label, 0, 0))
    picture(root / test_name / "c" / "1.png", (99, 0, 0))
    data = prepare(tmp_path, root, test_fraction=0.5)
    assert len(data.train) == 3
    assert data.test is not None
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [2]
    assert data.test.images[0, 0, 0, 0] == 99
    assert any("split as given" in note for note in data.notes)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "car"):
        picture(tmp_path / "vehicles" / name / "1.png")
    assert scan_folder(tmp_path / "vehicles").class_names == ("car", "train")


def test_a_flat_folder_is_unlabelled_and_trains_on_everything(tmp_path: Path) -> None:
    for index in range(5):
        picture(tmp_path / "images" / f"{index}.png")
    data = prepare(tmp_path, tmp_path / "images", test_fraction=0.4)
    assert data.train.labels is None
    assert data.test is None
    assert len(data.train) == 5
    assert any("no labels" in note for note in data.notes)


def test_the_split_is_stratified_fixed_and_by_name(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name, count in (("a", 20), ("b", 10), ("c", 2), ("d", 1)):
        for index in range(count):
            picture(root / name / f"{index}.png")
    train, test = scan_folder(root).split(0.2)
    assert test is not None
    assert [sum(file.label == label for file in test) for label in range(4)] == [4, 2, 1, 0]
    assert len(train) + len(test) == 33
    for file in root.rglob("*.png"):
        os.utime(file, (1, 1))
    assert {file.path for file in scan_folder(root).split(0.2)[1] or ()} == {file.path for file in test}
    assert scan_folder(root).split(0.0)[1] is None
    with pytest.raises(ValueError, match=r"dataset\.test_fraction is 1"):
        scan_folder(root).split(1.0)
    data = prepare(tmp_path, root, test_fraction=0.2)
    assert any("7 of 33 images were held out" in note for note in data.notes)


def test_the_key_changes_with_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a" / "1.png")
    keys = [scan_folder(tmp_path / "images").key]
    assert keys[0] == scan_folder(str(tmp_path / "images")).key
    os.utime(tmp_path / "images" / "a" / "1.png", (1, 1))
    keys.append(scan_folder(tmp_path / "images").key)
    picture(tmp_path / "images" / "a" / "2.png")
    keys.append(scan_folder(tmp_path / "images").key)
    os.rename(tmp_path / "images" / "a", tmp_path / "images" / "b")
    keys.append(scan_folder(tmp_path / "images").key)
    assert len(set(keys)) == 4


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:4] = 255  # upright, the upper half is white
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    for orientation, stored in ((6, upright.rotate(90)), (3, upright.rotate(180)), (8, upright.rotate(270))):
        exif[0x0112] = orientation
        stored.save(tmp_path / f"{orientation}.png", exif=exif)
        assert np.array_equal(decode_image(tmp_path / f"{orientation}.png", SIZE), pixels.transpose(2, 0, 1))


def test_transparency_lies_over_white_or_the_given_ground(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(path, (0, 0, 0, 0))
    assert (decode_image(path, SIZE) == 255).all()
    assert decode_image(path, SIZE, background=(10, 20, 30))[:, 0, 0].tolist() == [10, 20, 30]
    Image.new("RGBA", (SIZE, SIZE), (255, 0, 0, 128)).save(path)
    assert decode_image(path, SIZE)[:, 3, 3].tolist() == [255, 127, 127]
    Image.new("LA", (SIZE, SIZE), (0, 0)).save(path)
    assert (decode_image(path, SIZE) == 255).all()


def test_palettes(tmp_path: Path) -> None:
    palette = Image.new("P", (SIZE, SIZE), 1)
    palette.putpalette([9, 9, 9, 12, 34, 56])
    palette.save(tmp_path / "opaque.png")
    assert decode_image(tmp_path / "opaque.png", SIZE)[:, 0, 0].tolist() == [12, 34, 56]
    palette.save(tmp_path / "clear.png", transparency=1)
    assert (decode_image(tmp_path / "clear.png", SIZE) == 255).all()


def test_grey_one_bit_cmyk_and_animated(tmp_path: Path) -> None:
    picture(tmp_path / "grey.png", 77)
    assert (decode_image(tmp_path / "grey.png", SIZE) == 77).all()
    Image.new("1", (SIZE, SIZE), 1).save(tmp_path / "bit.png")
    assert (decode_image(tmp_path / "bit.png", SIZE) == 255).all()
    Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    red, green, blue = decode_image(tmp_path / "cmyk.jpg", SIZE)[:, 0, 0].tolist()
    assert red > 245
    assert max(green, blue) < 10
    frames = [Image.new("RGB", (SIZE, SIZE), color) for color in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert decode_image(tmp_path / "moving.gif", SIZE)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    decoded = decode_image(tmp_path / f"a.{suffix}", SIZE)
    assert np.array_equal(decoded[1], np.rint(ramp / 257).astype(np.uint8))


def test_sixteen_bit_color(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">HHH", 65535, 32896, 0) * SIZE  # Pillow writes no such file, but meets them
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 16, 2, 0, 0, 0))
    content = header + chunk(b"IDAT", zlib.compress(row * SIZE)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert decode_image(tmp_path / "a.png", SIZE)[:, 0, 0].tolist() == [255, 128, 0]


def test_float_images(tmp_path: Path) -> None:
    Image.fromarray(np.full((SIZE, SIZE), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")
    assert (decode_image(tmp_path / "a.tif", SIZE) == 128).all()
    Image.fromarray(np.full((SIZE, SIZE), 700.0, dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="0 to 1"):
        decode_image(tmp_path / "a.tif", SIZE)


@pytest.mark.parametrize("size", [(50, 20), (20, 51), (8, 9), (5, 3), (300, 4), (33, 33)])
def test_non_square_images_are_resized_and_cut_as_torchvision_does(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    theirs = Compose([Resize(SIZE, InterpolationMode.BICUBIC), CenterCrop(SIZE)])(Image.fromarray(pixels))
    assert np.array_equal(decode_image(tmp_path / "a.png", SIZE), np.asarray(theirs).transpose(2, 0, 1))


def test_all_unreadable_images_are_listed_at_once(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for index in range(4):
        picture(root / "a" / f"{index}.png")
    (root / "a" / "text.png").write_text("no image")
    (root / "a" / "empty.jpg").touch()
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole)
    (root / "b").mkdir()
    (root / "b" / "cut.jpg").write_bytes(whole.read_bytes()[:900])
    (root / "b" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"dataset\.root: 4 of 8 images cannot be read") as raised:
        prepare(tmp_path, root)
    assert all(name in str(raised.value) for name in ("a/text.png", "a/empty.jpg", "b/cut.jpg", "b/dangling.png"))
    assert not (tmp_path / "prepared" / "dataset.json").exists()


def test_class_folders_without_images_are_listed(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a" / "1.png")
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "c" / "d").mkdir(parents=True)
    with pytest.raises(ValueError, match="2 class folders hold no image") as raised:
        scan_folder(tmp_path / "images")
    assert str(tmp_path / "images" / "b") in str(raised.value)
    assert str(tmp_path / "images" / "c") in str(raised.value)
    assert "remove" not in str(raised.value)


def test_a_folder_above_the_images_is_told_which_one_is_meant(tmp_path: Path) -> None:
    picture(tmp_path / "shapes" / "a" / "1.png")
    picture(tmp_path / "shapes" / "b" / "1.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_views.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 class folder holds no image; is dataset\.root=") as raised:
        scan_folder(tmp_path)
    assert f"is dataset.root={tmp_path / 'shapes'} meant?" in str(raised.value)


def test_roots_that_hold_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.root is .*nowhere, which does not exist"):
        scan_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"dataset\.root: .*empty holds no images"):
        scan_folder(tmp_path / "empty")
    (tmp_path / "empty" / "a").mkdir()
    (tmp_path / "empty" / "b").mkdir()
    with pytest.raises(ValueError, match="no images in any of its 2 folders"):
        scan_folder(tmp_path / "empty")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(ValueError, match="only 1 file of other kinds"):
        scan_folder(tmp_path / "texts")
    with pytest.raises(ValueError, match="is a file"):
        scan_folder(tmp_path / "texts" / "a.txt")


def test_ambiguous_layouts_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "mixed" / "a" / "1.png")
    picture(tmp_path / "mixed" / "loose.png")
    with pytest.raises(ValueError, match=r"1 image beside 1 folder.*loose\.png"):
        scan_folder(tmp_path / "mixed")
    picture(tmp_path / "strange" / "train" / "a" / "1.png")
    picture(tmp_path / "strange" / "test" / "b" / "1.png")
    with pytest.raises(ValueError, match="classes that the training images lack"):
        scan_folder(tmp_path / "strange")
    picture(tmp_path / "half" / "train" / "a" / "1.png")
    picture(tmp_path / "half" / "test" / "1.png")
    with pytest.raises(ValueError, match="no class folders, but the training images have classes"):
        scan_folder(tmp_path / "half")


def test_a_link_that_leads_back_up_is_walked_once(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a" / "1.png")
    (tmp_path / "images" / "a" / "up").symlink_to(tmp_path / "images" / "a")
    assert len(scan_folder(tmp_path / "images").train) == 1


def test_progress_reaches_the_total_and_a_rebuild_is_identical(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    for index in range(300):
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(root / "a" / f"{index:03}.png")
    calls: list[tuple[int, int]] = []
    first = prepare_folder(
        tmp_path / "one", root, image_size=SIZE, test_fraction=0.1,
        progress=lambda done, total, values: calls.append((done, total)),
    )  # fmt: skip
    second = prepare_folder(tmp_path / "two", root, image_size=SIZE, test_fraction=0.1)
    assert calls[-1] == (300, 300)
    assert first.fingerprint == second.fingerprint
    assert first.test is not None
    assert len(first.test) == 30


def drawn(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)


def test_twins_stay_on_one_side_of_our_split_and_nothing_else_moves(tmp_path: Path) -> None:
    for label in "ab":
        for index in range(20):
            drawn(tmp_path / "images" / label / f"{index}.png", 100 * ord(label) + index)
    root = tmp_path / "images"
    data = prepare_folder(tmp_path / "single", root, image_size=SIZE, test_fraction=0.2)
    names = load_files(tmp_path / "single")
    assert names is not None
    assert names["test"] == [file.path for file in scan_folder(root).split(0.2)[1] or ()]
    for path in list(root.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    data = prepare_folder(tmp_path / "twice", root, image_size=SIZE, test_fraction=0.2)
    assert data.test is not None
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [0] * 8 + [1] * 8
    assert describe_twins(data.train, data.test) is None
    assert any("kept on one side of the split (40 copies)" in note for note in data.notes)
    names = load_files(tmp_path / "twice")
    assert names is not None
    for part, arrays in (("train", data.train), ("test", data.test)):
        for name, image in zip(names[part], arrays.images, strict=True):
            assert np.array_equal(image, decode_image(root / name, SIZE))
    assert not list((tmp_path / "twice").glob(".*"))


def test_twins_in_a_split_that_is_given_are_counted(tmp_path: Path) -> None:
    for part, seeds in (("train", range(6)), ("test", range(4, 9))):
        for seed in seeds:
            drawn(tmp_path / "images" / part / "a" / f"{seed}.png", seed)
    data = prepare(tmp_path, tmp_path / "images")
    assert "2 of 5 test images have identical twins among the training images" in (
        describe_twins(data.train, data.test) or ""
    )


def test_data_that_use_a_part_of_sixteen_bits_are_said_and_not_rescaled(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    ramp = np.linspace(0, 4095, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    Image.fromarray(ramp).save(root / "12.png")
    Image.fromarray(ramp * 16).save(root / "16.png")
    (root / "pgm.pgm").write_bytes(b"P5 8 8 4095\n" + ramp.astype(">u2").tobytes())
    data = prepare(tmp_path, root)
    assert [image.max() for image in data.train.images] == [16, 255, 255]
    (note,) = [note for note in data.notes if "16 bits" in note]
    assert "1 of the 3 images of 16 bits hold no value above 4,095 of 65,535" in note


@pytest.mark.parametrize("size", [(3, 700), (700, 3), (1, 90), (90, 1), (33, 1200), (1201, 40)])
@pytest.mark.parametrize("image_size", [2, 8, 17])
def test_long_pictures_are_what_resizing_all_of_them_gives(
    tmp_path: Path, size: tuple[int, int], image_size: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    theirs = Compose([Resize(image_size, InterpolationMode.BICUBIC), CenterCrop(image_size)])(Image.fromarray(pixels))
    assert np.array_equal(decode_image(tmp_path / "a.png", image_size), np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_very_long_pictures_need_no_memory_for_what_is_cut_off(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (9, 80, 200)).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png", 256).reshape(3, -1).T.tolist() == [[9, 80, 200]] * 256**2


def test_pictures_with_much_text_or_many_pixels_are_read_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for megabytes in (3, 40):
        text = PngImagePlugin.PngInfo()
        text.add_text("prompt", "x" * (megabytes * 2**20), zip=True)
        Image.new("RGB", (SIZE, SIZE), (1, 2, 3)).save(tmp_path / f"{megabytes}.png", pnginfo=text)
    assert decode_image(tmp_path / "3.png", SIZE)[:, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"(?i)too large"):  # the words of Pillow, which differ
        decode_image(tmp_path / "40.png", SIZE)
    Image.new("1", (20_000, 9_000), 1).save(tmp_path / "map.png")  # 180 megapixels in 22 kB
    monkeypatch.setattr(decoding, "_MOST_PIXELS", 179_000_000)
    with pytest.raises(ValueError, match=r"20000x9000 pixels; at most 179 megapixels"):
        decode_image(tmp_path / "map.png", SIZE)
    assert Image.MAX_IMAGE_PIXELS is None


def test_jfif_is_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (SIZE, SIZE), (200, 30, 40)).save(tmp_path / "images" / "a.jfif", format="JPEG")
    assert len(prepare(tmp_path, tmp_path / "images").train) == 1
