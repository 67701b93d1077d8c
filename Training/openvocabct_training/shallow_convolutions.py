"""A way around wrong gradients of PyTorch on some CPUs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

_WRONG_DEPTH = 2


def protect_shallow_convolutions(network: nn.Module) -> None:
    """Compute in fp32 what a 3x3x3 convolution of two slices would get wrong in bfloat16; again changes nothing.

    On CPUs with AVX-512 but without AMX the gradient of its weights is made of memory that nothing was written to
    (PyTorch 2.13, oneDNN): zero, random, or not a number.  Other depths are right, and so are other kernels.  Two
    slices are the coarsest stage of most networks here, so this costs next to nothing.

    Args:
        network: trained under ``torch.autocast``; nothing changes on other devices, or without it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1 and not hasattr(module, "_shallow_in_fp32"):
            guard = module._shallow_in_fp32 = _ShallowInFp32()
            module.register_forward_pre_hook(guard.before)
            module.register_forward_hook(guard.after, always_call=True)


class _ShallowInFp32:
    """Hooks of one convolution."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._dtype: torch.dtype | None = None

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Leave autocast where it would go wrong."""
        (x,) = inputs
        if x.device.type != "cpu" or x.shape[2] != _WRONG_DEPTH or not torch.is_autocast_enabled("cpu"):
            return None
        self._dtype = torch.get_autocast_dtype("cpu")
        self._open.enter_context(torch.autocast("cpu", enabled=False))
        return (x.float(),)

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Return to it, with a result in its format."""
        self._open.close()
        dtype, self._dtype = self._dtype, None
        return output if dtype is None or output is None else output.to(dtype)
