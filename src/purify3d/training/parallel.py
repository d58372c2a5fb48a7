"""Several processes as one, by torch.distributed; alone, all of it does nothing.

Started by `torchrun --nproc-per-node N -m purify3d.cli train ...`, on one machine or several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def together(device: str) -> Iterator[str]:
    """With the other processes, if torchrun started several; the block gets the device of this one.

    All end together, since a connection must not end while it is in use; after an error nobody is waited for.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
        wait()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Until all have come here."""
    if dist.is_initialized():
        dist.barrier()


def agreed(number: int) -> int:
    """The number of process 0, for all."""
    if not dist.is_initialized():
        return number
    shared = torch.tensor([number])
    dist.broadcast(shared, 0)
    return int(shared)


def add(tensor: Tensor) -> None:
    """Sum over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
