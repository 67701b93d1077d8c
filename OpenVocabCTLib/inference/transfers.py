"""Copies between main memory and a GPU that are under way while it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Arriving(Protocol):
    """Tensors on their way."""

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors, which can be used from now on."""


class Transfer(Protocol):
    """Copies tensors to a device and back."""

    def send(self, *tensors: Tensor) -> Arriving:
        """Begin to copy tensors from main memory to the device."""

    def fetch(self, tensor: Tensor) -> Arriving:
        """Begin to copy a tensor, when it has been computed, from the device to main memory."""


def sent_ahead(items: Iterable[Sequence[Tensor]], transfer: Transfer) -> Iterator[tuple[Tensor, ...]]:
    """Send every item while the one before it is used.

    Args:
        items: tensors in main memory that are used together.
        transfer: takes them to the device.

    Yields:
        The tensors of each item on the device.
    """
    waiting: Arriving | None = None
    for item in items:
        under_way = transfer.send(*item)
        if waiting is not None:
            yield waiting.wait()
        waiting = under_way
    if waiting is not None:
        yield waiting.wait()


@dataclass(frozen=True)
class _Arrived:
    tensors: tuple[Tensor, ...]

    def wait(self) -> tuple[Tensor, ...]:
        return self.tensors


class DirectTransfer:
    """Copies at once; for devices that share the main memory, and for the CPU itself.

    Args:
        device: where tensors are sent.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def send(self, *tensors: Tensor) -> Arriving:
        """See ``Transfer``."""
        return _Arrived(tuple(tensor.to(self._device) for tensor in tensors))

    def fetch(self, tensor: Tensor) -> Arriving:
        """See ``Transfer``."""
        return _Arrived((tensor.cpu(),))


class PinnedTransfer:
    """Copies by streams of their own from and to page-locked memory, which a CUDA device reads while it computes.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._there, self._back = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def send(self, *tensors: Tensor) -> Arriving:
        """See ``Transfer``."""
        with torch.cuda.stream(self._there):
            copies = tuple(tensor.contiguous().pin_memory().to(self._device, non_blocking=True) for tensor in tensors)
            done = torch.cuda.Event()
            done.record(self._there)
        return _ToDevice(copies, done, self._device)

    def fetch(self, tensor: Tensor) -> Arriving:
        """See ``Transfer``."""
        self._back.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._back):
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            copy.copy_(tensor, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self._back)
        # Its memory must not be given to others before the copy is made.
        tensor.record_stream(self._back)
        return _ToHost(copy, done)


@dataclass(frozen=True)
class _ToDevice:
    tensors: tuple[Tensor, ...]
    done: torch.cuda.Event
    device: torch.device

    def wait(self) -> tuple[Tensor, ...]:
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(self.done)
        for tensor in self.tensors:
            tensor.record_stream(computing)
        return self.tensors


@dataclass(frozen=True)
class _ToHost:
    tensor: Tensor
    done: torch.cuda.Event

    def wait(self) -> tuple[Tensor, ...]:
        self.done.synchronize()
        return (self.tensor,)
