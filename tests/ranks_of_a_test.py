"""Starts the ranks of a test as processes that are forked from one that has imported torch and Lightning already."""

import socket
from collections.abc import Callable
from pathlib import Path

import torch.multiprocessing

from tests.warm_process import forked


def start_two_ranks(function: Callable[[int, int, int, str], None], folder: Path) -> None:
    """Calls ``function(rank, 2, port, folder)`` in two processes and waits for them."""
    forked()  # what the processes are forked from imports first
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(function, (2, port, str(folder)), nprocs=2, start_method="forkserver")
