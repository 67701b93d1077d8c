"""The processes of a distributed run on one machine, as the tests start them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

# Functions of this module have the process group of the moment of import as a default.  ``DistributedDataParallel``
# imports it: from then on the group's threads would live until the interpreter ends, and sometimes abort it there.
import torch.distributed.nn.functional  # noqa: F401
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def with_others(
    work: Callable[[Callable[[nn.Module], nn.Module]], None], rank: int, processes: int, meeting_point: str
) -> None:
    """Meet the other processes, do the work, and part from them without a trace.

    Args:
        work: is handed what makes a module one of all the processes.
        rank: of this process.
        processes: of the run; 1 for a run without others.
        meeting_point: a file that does not exist yet, the same for all.

    Raises:
        RuntimeError: threads of the process group are left, which can abort a process that ends.
    """
    if processes == 1:
        work(lambda module: module)
        return
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=processes)
    work(DistributedDataParallel)
    dist.barrier()
    dist.destroy_process_group()
    gc.collect()
    if threads := _group_threads():
        raise RuntimeError(f"the process group is gone, its threads are not: {', '.join(threads)}")


def _group_threads() -> list[str]:
    """Threads of this process that belong to a process group, as Linux names them."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return sorted(name for name in names if "gloo" in name)
