"""Files that are the old one or the whole new one: after kill -9, beside another writer, and when interrupted."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from assimilate.files.plain_files import save_plain
from assimilate.files.whole_file import whole_file

HALF = """
import sys, time
from pathlib import Path
from assimilate.files.whole_file import whole_file

with whole_file(Path(sys.argv[1])) as stream:
    stream.write(b"half of it")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.read()
    stream.write(b" and the rest")
"""


def writer_at_work(path):
    command = [sys.executable, "-c", HALF, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_clears_up(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")
    with writer_at_work(path) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    with whole_file(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_at_work_is_waited_for(tmp_path):
    path = tmp_path / "metrics.json"

    def write_too():
        with whole_file(path) as stream:
            stream.write(b"second")

    with writer_at_work(path) as process:
        second = threading.Thread(target=write_too)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert not path.exists()
        process.communicate()
        second.join(10)
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [1, 2, 5, 9])
def test_an_interrupt_while_torch_writes_is_an_interrupt(tmp_path, monkeypatch, write):
    """torch.save answers whatever its stream raises with RuntimeError "unexpected pos"."""
    save, count = torch.save, 0

    class Stream:
        def __init__(self, stream):
            self.write_on, self.flush = stream.write, stream.flush

        def write(self, piece):
            nonlocal count
            count += 1
            if count == write:
                raise KeyboardInterrupt
            return self.write_on(piece)

    monkeypatch.setattr(torch, "save", lambda content, stream: save(content, Stream(stream)))
    with pytest.raises(KeyboardInterrupt):
        save_plain(tmp_path / "last.ckpt", {"weight": torch.zeros(3), "bias": torch.zeros(2)})
    assert count >= write
    assert not list(tmp_path.iterdir())
