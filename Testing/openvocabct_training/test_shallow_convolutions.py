from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from openvocabct_training.shallow_convolutions import protect_shallow_convolutions


def weight_gradient(conv: nn.Conv3d, x: Tensor, weights: Tensor, bf16: bool) -> Tensor:
    conv.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        output = conv(x)
    (output.float() * weights).sum().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad.clone()


def leave_garbage_in_memory() -> None:
    for _ in range(8):
        torch.full((1 << 20,), torch.nan)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1, 1), (2, 8, 8), (1, 2, 2), (4, 2, 2)])
def test_gradients_in_bf16_are_those_of_fp32(shape: tuple[int, int, int]) -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        conv = nn.Conv3d(32, 32, 3, padding=1).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        protect_shallow_convolutions(conv)
        x, weights = torch.randn(1, 32, *shape), torch.randn(1, 32, *shape)
        leave_garbage_in_memory()
        half, full = (weight_gradient(conv, x, weights, bf16).flatten() for bf16 in (True, False))
        assert torch.isfinite(half).all()
        assert torch.cosine_similarity(half, full, dim=0) > 0.999


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_results_keep_the_format_of_autocast(depth: int) -> None:
    network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 4, 1))
    x = torch.randn(1, 2, depth, 4, 4)
    plain = network(x)
    protect_shallow_convolutions(network)
    assert torch.equal(network(x), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(x)
        assert torch.is_autocast_enabled("cpu")
    assert output.dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(output.float(), plain, atol=0.05, rtol=0.05)


def test_autocast_comes_back_after_an_error() -> None:
    conv = nn.Conv3d(2, 4, 3, padding=1)
    protect_shallow_convolutions(conv)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(RuntimeError, match="channels"):
            conv(torch.randn(1, 3, 2, 4, 4))
        assert torch.is_autocast_enabled("cpu")
        assert conv(torch.randn(1, 2, 2, 4, 4)).dtype == torch.bfloat16


def test_twice_is_once_and_copies_are_apart() -> None:
    conv = nn.Conv3d(2, 4, 3, padding=1)
    protect_shallow_convolutions(conv)
    protect_shallow_convolutions(conv)
    assert len(conv._forward_pre_hooks) == 1
    twin = copy.deepcopy(conv)
    assert twin._shallow_in_fp32 is not conv._shallow_in_fp32
    assert set(twin.state_dict()) == {"weight", "bias"}
    x = torch.randn(1, 2, 2, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert twin(x).dtype == torch.bfloat16
