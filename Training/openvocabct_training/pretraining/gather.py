"""Negatives from all processes of a distributed run, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """All processes' rows; backwards, every process gets the sum of what all of them say about its rows."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        context.rows = rows.shape[0]
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * context.rows
        return total[first : first + context.rows]


def gathered(rows: Tensor) -> Tensor:
    """(N, ...) of every process -> (W*N, ...) in the order of the processes; the same where there is only one.

    Every process then computes the loss of all pairs.  Its gradient reaches the features of all processes and is summed
    over them, so with W equal losses the features get W times their gradient, which the mean over processes that
    distributed data parallelism takes of the parameters' gradients turns into the gradient of one process with all
    pairs (as the option "gather with gradients" of open_clip does).

    Args:
        rows: of equal shape in every process.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    if not rows.is_floating_point():
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)
    result: Tensor = _Gather.apply(rows)
    return result
