"""The processes of `torchrun`: how they find together, and how they part."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


def join_processes() -> tuple[int, int]:
    """Return this process's number and how many there are; (0, 1) without `torchrun`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return dist.get_rank(), dist.get_world_size()


def leave_processes() -> bool:
    """End the work of `torchrun`'s processes together; returns whether this is the first, which goes on alone."""
    if not dist.is_initialized():
        return True
    first = dist.get_rank() == 0
    # What gloo's threads still hold of the last exchange must be gone before a process ends, or it aborts at its exit.
    dist.barrier()
    dist.destroy_process_group()
    return first
