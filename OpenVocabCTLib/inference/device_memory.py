"""How much memory a GPU has left, and how many tiles it holds at once."""

from __future__ import annotations

from typing import Protocol

import torch

# Of what is free: the rest is for what convolutions need for a moment, and for other programs.
_USED_SHARE = 0.8
_MOST_TILES = 8


class DeviceMemory(Protocol):
    """Memory of a device."""

    def free(self) -> int:
        """Bytes that can still be had."""

    def watch(self) -> None:
        """Begin to measure."""

    def most(self) -> int:
        """Most bytes that were needed since, beyond those in use then; 0 where that cannot be known."""


class CudaMemory:
    """Memory of a CUDA device.

    Args:
        device: the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def free(self) -> int:
        """See ``DeviceMemory``; what PyTorch keeps for later counts as free."""
        free, _ = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(free + kept)

    def watch(self) -> None:
        """See ``DeviceMemory``."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def most(self) -> int:
        """See ``DeviceMemory``."""
        return int(torch.cuda.max_memory_allocated(self._device) - self._before)


class MpsMemory:
    """Memory that an Apple GPU shares with the CPU."""

    def free(self) -> int:
        """See ``DeviceMemory``."""
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())

    def watch(self) -> None:
        """See ``DeviceMemory``."""

    def most(self) -> int:
        """See ``DeviceMemory``: Metal does not tell."""
        return 0


def tiles_at_once(free: int, needed: int) -> int:
    """Number of tiles to encode together.

    Args:
        free: bytes that can still be had.
        needed: bytes that one tile needed; 0 where unknown, which is answered by one tile at a time.
    """
    if needed <= 0:
        return 1
    return max(1, min(_MOST_TILES, int(_USED_SHARE * free) // needed))


def holds(free: int, needed: int) -> bool:
    """Whether something that stays fits beside the network's own needs."""
    return needed <= _USED_SHARE / 2 * free
