"""Which folders are classes, which are parts of a split, and what is no image of the user's at all."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image
from tests.chain_run import SMOKE

from assimilate import prepare_data
from assimilate.data import directory
from assimilate.data.folder import prepare_folder
from assimilate.data.images import load_files
from assimilate.data.listing import scan_folder


def picture(path: Path, colour: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), colour).save(path)


def tree(root: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        picture(root / path, number)
    return root


def parts(names: str) -> list[str]:
    return [f"{part}/{label}/{index}.png" for part in names.split() for label in ("cat", "dog") for index in range(2)]


@pytest.mark.parametrize(
    ("folders", "test", "words"),
    [
        ("training testing", 4, "split as given"),
        ("Train Test", 4, "split as given"),
        ("TRAIN Validation", 4, "split as given"),
        ("train dev", 4, "split as given"),
        ("train test unlabeled", 4, "images of unlabeled/ are not used, neither for training nor for tests"),
        ("train test val", 4, "test is the test set; not used: val/"),
        ("archive/train archive/test", 4, "holds one folder, so what is read is archive/"),
        ("a/b/train a/b/test", 4, "what is read is a/b/"),
        ("archive", None, "what is read is archive/"),
        ("train/data test/data", 4, "train/ holds one folder, so what is read is train/data/"),
        ("train/train test", 4, "train/ holds one folder, so what is read is train/train/"),
        ("train val/images", 4, "val/ holds one folder, so what is read is val/images/"),
    ],
)
def test_common_layouts(tmp_path: Path, folders: str, test: int | None, words: str) -> None:
    listing = scan_folder(tree(tmp_path, *parts(folders)))
    assert listing.class_names == ("cat", "dog")
    assert len(listing.train) == 4
    assert (None if listing.test is None else len(listing.test)) == test
    assert any(words in note for note in listing.notes), listing.notes


@pytest.mark.parametrize(
    "paths",
    [
        parts("train test car"),
        parts("test val"),
        parts("train_set test_set"),
        parts("images-train images-val"),
        parts("train extra"),
        [*parts("test"), "cat/1.png", "dog/1.png"],
        ["train_images/1.png", "test_images/1.png"],
        parts("train Train"),
        parts("train test testing"),
        parts("download/train download/test samples"),
        ["cat/1.png", "dog/1.png", "unlabeled/1.png"],
        [*parts("labeled"), "unlabeled/1.png"],
    ],
)
def test_unclear_layouts_are_refused_with_the_folders_and_the_key(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.root") as raised:
        scan_folder(tree(tmp_path, *paths))
    named = {path.split("/")[0] for path in paths if f"{path.split('/')[0]}/" in str(raised.value)}
    assert len(named) > 1


@pytest.mark.parametrize("place", ["", "Unlabeled", "unlabelled", "archive/unlabeled", "train/unlabeled"])
def test_a_folder_called_unlabeled_is_no_class_but_a_flat_folder(tmp_path: Path, place: str) -> None:
    root = tmp_path / "images"
    tree(root / place, "1.png", "2.png")
    for out in (root / "nowhere", root / "outputs"):
        listing = scan_folder(root, out=out)
        assert (len(listing.train), listing.test, listing.class_names) == (2, None, ())
        assert {file.label for file in listing.train} == {None}
        assert any("without class folders, so there are no labels" in note for note in listing.notes)
        assert not place or any(f"what is read is {place}/" in note for note in listing.notes)
        (root / "outputs" / "artifacts" / "datasets").mkdir(parents=True, exist_ok=True)


def test_what_lies_in_unlabeled_is_read_as_if_it_were_the_root(tmp_path: Path) -> None:
    folders = tree(tmp_path / "a", "unlabeled/cat/1.png", "unlabeled/dog/1.png")
    assert scan_folder(folders).class_names == ("cat", "dog")
    assert scan_folder(tree(tmp_path / "b", "unlabeled/cat/1.png")).class_names == ("cat",)
    with pytest.raises(ValueError, match="1 image beside 1 folder,"):
        scan_folder(tree(tmp_path / "c", "unlabeled/1.png", "unlabeled/cat/1.png"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "unlabeled").symlink_to(tree(tmp_path / "elsewhere", "1.png"))
    with pytest.raises(ValueError, match=r"unlabeled/ cannot be a class; .*give dataset\.root=\S+/d/unlabeled"):
        scan_folder(tmp_path / "d")
    with pytest.raises(ValueError, match=r"/e/train holds cat/, unlabelled/, and unlabelled/ cannot be a class"):
        scan_folder(tree(tmp_path / "e", "train/cat/1.png", "train/unlabelled/1.png", "test/cat/1.png"))


@pytest.mark.parametrize("images", [["wrap/a/1.png", "wrap/b/1.png"], ["train/a/1.png", "train/b/1.png"]])
def test_results_beside_what_stands_for_the_root_are_noted(tmp_path: Path, images: list[str]) -> None:
    tree(tmp_path, *images, "outputs/1.png", "__MACOSX/1.png")
    listing = scan_folder(tmp_path, out=tmp_path / "outputs")
    assert (listing.class_names, len(listing.train)) == (("a", "b"), 2)
    assert sum("folders of results (out=) were skipped: outputs" in note for note in listing.notes) == 1
    assert sum("__MACOSX" in note for note in listing.notes) == 1


def test_classes_that_only_sound_like_a_split_stay_classes(tmp_path: Path) -> None:
    people = [f"{action}/{person}/1.png" for action in ("running", "walking") for person in ("ann", "bob")]
    assert scan_folder(tree(tmp_path / "a", *people)).class_names == ("running", "walking")
    assert scan_folder(tree(tmp_path / "b", "train/ice/1.png", "car/vw/1.png")).class_names == ("car", "train")
    people = scan_folder(tmp_path / "a").notes
    assert any(
        "running/, walking/ are the classes, though all of them hold the same folders" in note for note in people
    )
    assert not scan_folder(tmp_path / "b").notes
    assert scan_folder(tree(tmp_path / "c", "only/1.png", "only/deeper/2.png")).class_names == ("only",)


def test_what_systems_leave_is_passed_over_at_any_depth_and_counted(tmp_path: Path) -> None:
    junk = [
        "@eaDir/0.jpg",
        "ant/@eaDir/0.png/M.jpg",
        "bee/deep/.AppleDouble/0.png",
        "#recycle/1.png",
        "lost+found/1.png",
    ]
    junk += [
        "ant/._0.png",
        "$RECYCLE.BIN/0.png",
        "found.000/0.png",
        "bee/~snapshot/0.png",
        "ant/@tmp/0.png",
        "LOST.DIR/0.png",
        "System Volume Information/0.png",
        "bee/.ipynb_checkpoints/0.png",
    ]
    root = tree(tmp_path, "ant/0.png", "bee/0.png", "bee/deep/1.png", *junk)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / "ant" / name).touch()
    listing = scan_folder(root)
    assert [file.path for file in listing.train] == ["ant/0.png", "bee/0.png", "bee/deep/1.png"]
    (note,) = listing.notes
    for counted in (
        "2 @eaDir",
        "1 .AppleDouble",
        "1 #recycle",
        "1 lost+found",
        "1 ._*",
        "1 Thumbs.db",
        "1 desktop.ini",
    ):
        assert counted in note, note


def test_links_in_circles_are_skipped_with_a_note_and_others_are_followed(tmp_path: Path) -> None:
    root = tree(tmp_path / "data" / "images", "a/1.png", "b/1.png")
    tree(tmp_path / "elsewhere", "2.png", "deep/3.png")
    (root / "a" / "root").symlink_to(root)
    (root / "a" / "above").symlink_to(tmp_path / "data")
    (root / "loop").symlink_to("loop")
    (root / "nowhere").symlink_to("not there")
    (root / "alias").symlink_to(root / "b")
    (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    listing = scan_folder(root)
    assert listing.class_names == ("a", "b")
    found = [(file.path, file.label) for file in listing.train]
    assert found == [("a/1.png", 0), ("b/1.png", 1), ("b/more/2.png", 1), ("b/more/deep/3.png", 1)]
    (note,) = [note for note in listing.notes if "links" in note]
    assert "and 3 more" in note


def test_names_that_are_no_utf8_are_read_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path / "images", *(f"tea/{index}.png" for index in range(4)))
    cafe = os.path.join(os.fsencode(root), b"caf\xe9")
    os.mkdir(cafe)
    for index in range(4):
        os.rename(root / "tea" / f"{index}.png", os.path.join(cafe, b"d\xe9j\xe0%d.png" % index))
        picture(root / "tea" / f"{index}.png", 50 + index)
    words = [*SMOKE, "dataset=folder", f"dataset.root={root}", "dataset.image_size=8", f"out={tmp_path / 'out'}"]
    assert prepare_data.main(words) == 0
    assert r"2 classes: caf\xe9, tea; 6 training and 2 test images" in capsys.readouterr().out
    (prepared,) = (tmp_path / "out/artifacts/datasets").glob("*/*px-*/dataset.json")
    names = load_files(prepared.parent)
    assert names is not None
    assert sum(name.startswith(r"caf\xe9/d\xe9j\xe0") for name in (*names["train"], *names["test"])) == 4
    with open(os.path.join(cafe, b"br\xfbl\xe9e.png"), "wb") as broken:
        broken.write(b"not a picture")
    assert prepare_data.main(words) == 2
    assert r"caf\xe9/br\xfbl\xe9e.png" in capsys.readouterr().err
    assert prepare_data.main([*SMOKE, "dataset=folder", f"dataset.root={os.fsdecode(cafe)}"]) == 2
    assert r"caf\xe9: overrides are UTF-8, and this is not" in capsys.readouterr().err


@pytest.mark.timeout(60)
def test_pipes_and_sockets_called_like_images_are_skipped(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", "a/1.png", "b/1.png")
    os.mkfifo(root / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(root / "b")  # a socket's address is short
        server.bind("socket.png")
        os.chdir(place)
        data = prepare_folder(tmp_path / "prepared", root, image_size=8, test_fraction=0)
    assert len(data.train) == 2
    assert any("pipes, sockets and devices were skipped: a/pipe.png; b/socket.png" in note for note in data.notes)
    with pytest.raises(ValueError, match="a pipe"):
        decode(root / "a" / "pipe.png")


def decode(path: Path) -> None:
    from assimilate.data.decoding import decode_image

    decode_image(path, 8)


def test_what_cannot_be_listed_is_said_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png", "b/locked/1.png")
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "locked":  # as root, tests may read every folder
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(directory.os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"1 entry of .* cannot be read:\n  b/locked/: Permission denied"):
        scan_folder(root)


def test_a_file_that_vanishes_while_it_is_listed_is_no_broken_link(tmp_path: Path, monkeypatch) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png")
    taken = directory.Directory._take

    def take(self, entry, path):
        if path == "a/1.png":
            os.unlink(root / path)
        taken(self, entry, path)

    monkeypatch.setattr(directory.Directory, "_take", take)
    with pytest.raises(ValueError, match=r"a/1\.png: vanished while the folder was listed"):
        scan_folder(root)


def test_results_among_the_images_are_no_images(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", *(f"{label}/{index}.png" for label in "ab" for index in range(5)))
    words = [*SMOKE, "dataset=folder", f"dataset.root={root}", "dataset.image_size=8"]
    for out in (root / "outputs", root / "a" / "here", tmp_path / "elsewhere"):
        assert prepare_data.main([*words, f"out={out}"]) == 0
        picture(out / "pictures" / "1.png")
        listing = scan_folder(root, out=out)
        assert listing.class_names == ("a", "b")
        assert len(listing.train) == 10
        assert prepare_data.main([*words, f"out={out}", "prepare=never"]) == 0
    with pytest.raises(ValueError, match=r"is dataset\.root itself"):
        scan_folder(root, out=root)
