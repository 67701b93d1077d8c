"""Tiles on a GPU: sent ahead, encoded several at once, and gathered there where its memory suffices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from OpenVocabCTLib.inference.device_memory import CudaMemory, DeviceMemory, MpsMemory, holds, tiles_at_once
from OpenVocabCTLib.inference.devices import give_back_gpu_memory
from OpenVocabCTLib.inference.gathering import Blend, FetchedBlend, Gathering, gathered_bytes
from OpenVocabCTLib.inference.tiling import Index3, Region
from OpenVocabCTLib.inference.transfers import DirectTransfer, PinnedTransfer, Transfer, sent_ahead
from OpenVocabCTLib.memory import is_out_of_memory

_log = logging.getLogger(__name__)


@runtime_checkable
class DeviceTower(Protocol):
    """An image tower whose tiles may stay on the device that encodes them.

    Attributes:
        device: where it runs.
        channels: E of the voxel embedding.
    """

    device: torch.device
    channels: int

    def encode(self, hu: Tensor, leftness: Tensor) -> tuple[Tensor, Tensor]:
        """Encode B tiles, (B, D, H, W) twice on the device -> (B, E, D, H, W) and (B, T), on the device."""


@dataclass(frozen=True)
class Gpu:
    """A device other than the CPU.

    Attributes:
        device: the device.
        transfer: copies to it and back.
        memory: its memory.
    """

    device: torch.device
    transfer: Transfer
    memory: DeviceMemory

    @classmethod
    def of(cls, device: torch.device) -> Gpu:
        """A CUDA device or an Apple GPU."""
        if device.type == "cuda":
            return cls(device, PinnedTransfer(device), CudaMemory(device))
        return cls(device, DirectTransfer(device), MpsMemory())


@dataclass(frozen=True)
class Tiles:
    """A volume in main memory, cut into tiles.

    Attributes:
        hu: (s, a, r) in HU, no side shorter than a tile's.
        leftness: (s, a, r) place left or right of the patient's middle.
        regions: of the tiles.
        size: of each of them.
    """

    hu: Tensor
    leftness: Tensor
    regions: Sequence[Region]
    size: Index3

    def stacked(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Tiles ``first`` to ``last`` - 1, (B, D, H, W) twice."""
        some = self.regions[first:last]
        return torch.stack([self.hu[one] for one in some]), torch.stack([self.leftness[one] for one in some])


def encode_on(gpu: Gpu, tower: DeviceTower, tiles: Tiles, done: Callable[[int], None]) -> tuple[Tensor, list[Tensor]]:
    """Run the image tower over all tiles.

    Args:
        gpu: where.
        tower: what encodes tiles there.
        tiles: the volume.
        done: called with the number of tiles done before each step; what it raises ends the work.

    Returns:
        Blended (E, s, a, r) float32 voxel embedding on the CPU, (T,) float32 presence token of every tile.

    Raises:
        RuntimeError: the GPU's memory does not suffice for one tile.
    """
    needed = gathered_bytes(tower.channels, tiles.hu.shape)
    if holds(gpu.memory.free(), needed):
        try:
            return _encoded(gpu, tower, tiles, done, Blend(tower.channels, tiles.hu.shape, tiles.size, gpu.device))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        give_back_gpu_memory()
    _log.warning("the GPU has no room for the %.1f GB of the result: it is gathered in main memory", needed / 1e9)
    blend = Blend(tower.channels, tiles.hu.shape, tiles.size, torch.device("cpu"))
    return _encoded(gpu, tower, tiles, done, FetchedBlend(blend, gpu.transfer))


def _encoded(
    gpu: Gpu, tower: DeviceTower, tiles: Tiles, done: Callable[[int], None], gathering: Gathering
) -> tuple[Tensor, list[Tensor]]:
    tokens: list[Tensor] = []

    def step(regions: Sequence[Region], sent: tuple[Tensor, ...]) -> None:
        embedding, presence = tower.encode(*sent)
        for region, values in zip(regions, embedding, strict=True):
            gathering.add(region, values)
        tokens.extend(presence)

    count = len(tiles.regions)
    # The first tile shows what one needs.
    done(0)
    gpu.memory.watch()
    step(tiles.regions[:1], gpu.transfer.send(*tiles.stacked(0, 1)).wait())
    size = tiles_at_once(gpu.memory.free(), gpu.memory.most())
    groups = [(first, min(first + size, count)) for first in range(1, count, size)]
    for (first, last), sent in zip(groups, _sent(gpu, tiles, groups), strict=True):
        done(first)
        step(tiles.regions[first:last], sent)
    done(count)
    return gathering.result(), [token.float().cpu() for token in tokens]


def _sent(gpu: Gpu, tiles: Tiles, groups: Sequence[tuple[int, int]]) -> Iterator[tuple[Tensor, ...]]:
    return sent_ahead((tiles.stacked(first, last) for first, last in groups), gpu.transfer)
