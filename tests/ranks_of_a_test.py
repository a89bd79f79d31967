"""Starts the ranks of a test as processes that are forked from one that has imported torch and Lightning already."""

import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path

import torch.multiprocessing


def start_two_ranks(function: Callable[[int, int, int, str], None], folder: Path) -> None:
    """Calls ``function(rank, 2, port, folder)`` in two processes and waits for them."""
    multiprocessing.set_forkserver_preload(["lightning.pytorch"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(function, (2, port, str(folder)), nprocs=2, start_method="forkserver")
