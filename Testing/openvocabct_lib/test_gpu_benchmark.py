"""What of the benchmark for GPUs can be tested without one: its arithmetic, and that it refuses to run."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from OpenVocabCTLib.inference.devices import Compute
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from Testing.benchmarks import gpu

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def model() -> OpenVocabCT:
    torch.manual_seed(0)
    architecture = ArchitectureConfig(size="tiny", embedding_dim=8, query_hidden_dim=16)
    return OpenVocabCT(architecture, PreprocessingConfig()).eval()


def test_operations_of_a_tile_grow_with_its_voxels(model: OpenVocabCT) -> None:
    small, large = (gpu.tile_flops(model, tile) for tile in ((32, 32, 64), (64, 32, 64)))
    assert large == pytest.approx(2 * small, rel=1e-6)
    first = next(one for one in model.modules() if isinstance(one, torch.nn.Conv3d) and one.kernel_size == (3, 3, 3))
    assert small > 2 * 27 * first.in_channels * first.out_channels * 32 * 32 * 64, "more than its first convolution"
    assert not any(one._forward_hooks for one in model.modules())


def test_figures_fit_each_other(model: OpenVocabCT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "peak_flops", lambda compute: 1e12)
    monkeypatch.setattr(gpu, "seconds", partial(gpu.seconds, repeats=1))
    use = gpu.use_of_the_peak(model, CPU, (32, 32, 64))
    assert use["use"] == pytest.approx(use["tflops"] / use["peak_tflops"])
    assert use["tflops"] * 1e12 * use["tile_s"] == pytest.approx(gpu.tile_flops(model, (32, 32, 64)))
    head = gpu.head_bandwidth(CPU, channels=4, voxels=1 << 10, prompts=2)
    assert head["gb_s"] * 1e9 * head["ms"] / 1e3 == pytest.approx(2.0 * (1 << 10) * 6)


def test_the_peak_is_that_of_a_matrix_product() -> None:
    assert gpu.peak_flops(CPU, side=16) > 0


def without_gpu(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", *words])
    gpu.main()


def test_without_a_gpu_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without_gpu(monkeypatch, "--json", str(tmp_path / "gpu.json"))
    assert "no GPU" in capsys.readouterr().out
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "cpu", "tpu"])
def test_a_device_that_is_no_gpu_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    with pytest.raises(SystemExit, match="error: "):
        without_gpu(monkeypatch, "--device", device)


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row: dict[str, Any] = {"size": "L", "seconds": 4.2, "tiles": 9, "tflops": 100.0, "peak_tflops": 400.0, "use": 0.25}
    measured = {
        "device": "a GPU",
        "format": "torch.bfloat16",
        "agreement": {"mean_dice": 0.999},
        "head": {"gb_s": 1500.0},
        "large_ct": [row],
    }
    monkeypatch.setattr(gpu, "measure", lambda device: measured)
    without_gpu(monkeypatch, "--device", "cuda", "--json", str(tmp_path / "gpu.json"))
    printed = capsys.readouterr().out
    assert "0.9990" in printed and "1500 GB/s" in printed
    assert "4.2 s, 9 tiles, 100.0 of 400.0 TFLOP/s (25%)" in printed
    assert (tmp_path / "gpu.json").is_file()
