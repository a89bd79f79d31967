"""Where images live while a model trains: on its device when they fit, else behind a memory map."""

import os
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

Placement = Literal["auto", "device", "host"]

# Of the memory that is free, how much the images may take before "auto" leaves them on the host: networks,
# activations and a view cache want the rest.
_SHARE_OF_FREE_MEMORY = 0.4


class PlacedImages:
    """uint8 images that are gathered by index onto one device."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        device: torch.device,
        *,
        placement: Placement,
        num_sharing: int = 1,
        what: str = "images",
    ) -> None:
        """``num_sharing`` processes keep a copy each in the same memory; ``what`` the images are is for messages.

        Raises ValueError if ``placement`` is unknown, or is "device" and the images cannot fit.
        """
        if placement not in get_args(Placement):
            raise ValueError(f"data.placement is {placement!r}; allowed: {', '.join(get_args(Placement))}")
        self.device = device
        free = _free_bytes(device)
        wanted = placement == "device"
        if wanted and images.nbytes * num_sharing > free:
            raise ValueError(
                f"data.placement is 'device', but the {what} take {images.nbytes * num_sharing / 2**30:.1f} GiB and "
                f"{device} has {free / 2**30:.1f} GiB free; set data.placement=host (or auto)"
            )
        fits = images.nbytes * num_sharing <= _SHARE_OF_FREE_MEMORY * free
        self.on_device = wanted or (placement == "auto" and fits)
        self._host = images
        # torch wants a writable array; np.array copies a memory map into memory, once.
        self._resident = torch.from_numpy(np.array(images)).to(device) if self.on_device else None

    def gather(self, indices: Int64[Tensor, " batch"]) -> UInt8[Tensor, "batch 3 height width"]:
        """Return the images at ``indices`` (on the CPU or the device) on the device."""
        if self._resident is not None:
            return self._resident.index_select(0, indices.to(self.device, non_blocking=True))
        # Only a copy from pinned memory runs beside the device's work; torch keeps the block until that is done.
        batch = torch.empty(
            len(indices), *self._host.shape[1:], dtype=torch.uint8, pin_memory=self.device.type == "cuda"
        )
        # With mode="raise" numpy would gather into a buffer of its own first.
        assert 0 <= int(indices.min()) <= int(indices.max()) < len(self._host)
        np.take(self._host, indices.cpu().numpy(), axis=0, out=batch.numpy(), mode="clip")
        return batch.to(self.device, non_blocking=True)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What an earlier stage of this process has let go of, torch keeps: the driver counts it as taken.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # Other processes need the host's memory, too: half of it counts as free.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
