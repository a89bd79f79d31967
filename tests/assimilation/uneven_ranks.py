"""What each of two gloo processes does for test_uneven_ranks.py (spawned processes import it by name)."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_training import MEAN, STD, fit_tiny, tiny_images, tiny_module

from assimilate.assimilation.loss import NTXent
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot


def train(rank: int, world_size: int, port: int, folder: str) -> None:
    """Three epochs of SupContrast's kind on 27 images in batches of 8, the last one of each epoch kept."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world_size))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", TORCHELASTIC_RUN_ID="test")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    module = tiny_module(loss=NTXent(temperature=0.5), batchnorm="concatenated")
    data = ContrastiveDataModule(
        tiny_images(27),
        mean=MEAN,
        std=STD,
        slots=[ViewSlot("image", make_transform("expert", 8, flip=0.5, expert={}))] * 2,
        batch_size=8,
        seed=0,
        view_source=None,
        drop_last=False,
    )
    record = fit_tiny(module, data, Path(folder) / "run", devices=world_size, strategy="ddp")
    torch.save({"rows": record.rows, "weights": module.state_dict()}, Path(folder) / f"rank{rank}.pt")
