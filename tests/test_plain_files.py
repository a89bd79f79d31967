"""Files of other people: what is refused before it fills the memory."""

import io
import zipfile

import pytest
import torch

from assimilate.files.plain_files import check_weights, load_plain


def zeros_of(gigabytes: float) -> bytes:
    """What torch.save writes, with one more member: `gigabytes` of zeros, compressed."""
    buffer = io.BytesIO()
    torch.save({"g_ema": torch.zeros(3)}, buffer)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        (name,) = {member.split("/")[0] for member in archive.namelist()}
        archive.writestr(f"{name}/data/9", bytes(int(gigabytes * 2**30)))
    return buffer.getvalue()


def test_an_archive_that_would_inflate_to_many_times_its_size_is_not_inflated(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pt"
    path.write_bytes(zeros_of(0.1))
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=r"^refused, because its [\d,]+ bytes would inflate to 107,[\d,]+"):
        load_plain(path)


def test_a_compressed_archive_of_ordinary_size_is_read(tmp_path):
    (tmp_path / "whole.pt").write_bytes(zeros_of(0.01))
    assert load_plain(tmp_path / "whole.pt")["g_ema"].tolist() == [0, 0, 0]


def test_a_tensor_that_repeats_one_number_is_not_unfolded():
    with pytest.raises(ValueError, match=r"g_ema: w repeats its numbers up to \[1000000, 1000000\]"):
        check_weights({"w": torch.zeros(1).expand(10**6, 10**6)}, origin="g_ema")
    assert check_weights({"w": torch.zeros(1).expand(3, 3)}, origin="g_ema")


@pytest.mark.parametrize("value", [1e17, -1e17])
def test_large_weights_are_weights_until_their_squares_overflow(value):
    check_weights({"w": torch.tensor([value]), "n": torch.tensor(2**62)}, origin="g_ema")
    with pytest.raises(ValueError, match=r"g_ema: w holds 1e\+30"):
        check_weights({"w": torch.tensor([value * 1e13])}, origin="g_ema")
