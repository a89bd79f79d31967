import os
import pickle
from pathlib import Path

import pytest
import torch

from assimilate.encoder.checkpoint import load_encoder, read_torch_file, save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec

SPEC = EncoderSpec(width=2, projector="essl", hidden_dim=8, output_dim=4)
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Encoder]:
    encoder = Encoder.from_spec(SPEC, init_seed=3)
    encoder(torch.randn(4, 3, 8, 8))  # moves the running statistics
    path = tmp_path / "encoder.pt"
    save_encoder(path, SPEC, encoder.state_dict(), mean=MEAN, std=STD, extra={"epochs": 3})
    return path, encoder


def test_round_trip(saved: tuple[Path, Encoder]) -> None:
    path, encoder = saved
    loaded = load_encoder(path)
    assert (loaded.mean, loaded.std) == (MEAN, STD)
    assert loaded.spec == SPEC
    assert not loaded.training
    assert read_torch_file(path)["extra"] == {"epochs": 3}
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(loaded(images), encoder.eval()(images), rtol=0, atol=0)
    assert [file.name for file in path.parent.iterdir()] == ["encoder.pt"]


def test_truncated_file(saved: tuple[Path, Encoder]) -> None:
    path, _ = saved
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(path)


def test_weights_of_another_architecture(saved: tuple[Path, Encoder], tmp_path: Path) -> None:
    _, encoder = saved
    path = tmp_path / "other.pt"
    save_encoder(path, EncoderSpec(width=4), encoder.state_dict(), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="weights do not fit"):
        load_encoder(path)


def test_foreign_file(tmp_path: Path) -> None:
    torch.save({"model": torch.zeros(2)}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="no encoder file"):
        load_encoder(tmp_path / "foreign.pt")
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "absent.pt")


class _RunsCode:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.marker,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"x": _RunsCode(str(marker))}, tmp_path / "evil.pt", pickle_module=pickle)
    with pytest.raises(ValueError, match="cannot be read"):
        read_torch_file(tmp_path / "evil.pt")
    assert not marker.exists()


def test_a_failure_before_the_rename_keeps_the_old_file(
    saved: tuple[Path, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, encoder = saved
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        save_encoder(path, SPEC, encoder.state_dict(), mean=MEAN, std=STD)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["encoder.pt"]
