"""Choosing a device and the number format it is fast at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.memory import is_out_of_memory

Precision = Literal["auto", "fp32", "low"]


@dataclass(frozen=True)
class Compute:
    """Where the image tower runs, and in which format its convolutions are.

    Attributes:
        device: torch device.
        dtype: float32, or the 16-bit format that autocast uses.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def memory_format(self) -> torch.memory_format:
        """How weights are laid out: as convolutions are quickest; PyTorch before 2.6 gets it wrong on Apple GPUs."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last_3d

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Run convolutions in ``dtype``."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            yield


def cpu_is_fast_at_bf16() -> bool:
    """Has this CPU instructions for bfloat16; without them its convolutions are many times slower than in float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_compute(device: str = "auto", precision: Precision = "auto") -> Compute:
    """Turn a user's choice into a device that exists.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32"; "low" for 16 bits; "auto" for 16 bits where the device is fast at them.

    Raises:
        InputError: the device does not exist here or is not known.
    """
    name = device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    todo = "use --device auto or cpu"
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"unknown device {device!r}", "use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not (torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()):
        raise InputError(f"this machine has no device {device!r}", todo)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("this machine has no Apple GPU", todo)
    chosen = torch.device(name)
    if precision == "fp32":
        return Compute(chosen, torch.float32)
    if kind == "cuda":
        return Compute(chosen, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    if kind == "mps":
        return Compute(chosen, torch.float16)
    fast = precision == "low" or cpu_is_fast_at_bf16()
    return Compute(chosen, torch.bfloat16 if fast else torch.float32)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the many ways of running out of memory into one ``ResourceError``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError("out of memory", "close other programs, choose --device cpu, or crop the scan") from error


def give_back_gpu_memory() -> None:
    """Hand memory that PyTorch keeps for later back to the GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
