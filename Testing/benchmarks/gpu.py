"""Numbers and speed on a GPU (CUDA or MPS): agreement with the CPU, use of the peak, the head, a large CT.

Usage: python -m Testing.benchmarks.gpu [--device cuda|mps] [--json FILE]

Without a GPU it says so and ends with 0. The peak is measured with a large matrix product in the same format.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import Sample
from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.inference.devices import Compute, choose_compute
from OpenVocabCTLib.inference.image_pass import encode_volume
from OpenVocabCTLib.inference.towers import TorchTower
from OpenVocabCTLib.models.config import ArchitectureConfig, PreprocessingConfig
from OpenVocabCTLib.models.openvocab import OpenVocabCT
from Testing.benchmarks.image_stages import PROMPTS
from Testing.benchmarks.phantom_ct import phantom_ct
from Testing.benchmarks.sliding_window import dices

LARGE_CT = (600, 512, 512)


def device_name() -> str | None:
    """The GPU that PyTorch sees, None where there is none."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def seconds(compute: Compute, work: Callable[[], Any], repeats: int = 10) -> float:
    """Seconds of one call on the device, after two that warm up."""
    waits = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    synchronize = waits.get(compute.device.type, lambda: None)
    for _ in range(2):
        work()
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize()
    return (time.perf_counter() - began) / repeats


def peak_flops(compute: Compute, side: int = 8192) -> float:
    """Floating point operations a second of a large matrix product in the format of the convolutions."""
    matrix = torch.randn(side, side, device=compute.device).to(compute.dtype)
    return 2 * side**3 / seconds(compute, lambda: matrix @ matrix)


def tile_flops(model: OpenVocabCT, tile: tuple[int, int, int]) -> float:
    """Floating point operations of the convolutions of one tile."""
    counted: list[float] = []

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        assert isinstance(module, torch.nn.Conv3d)
        counted.append(2.0 * output.numel() * module.weight[0].numel())

    hooks = [one.register_forward_hook(count) for one in model.modules() if isinstance(one, torch.nn.Conv3d)]
    device = next(model.parameters()).device
    with torch.inference_mode():
        model.encode_image(torch.zeros(1, *tile, device=device), torch.zeros(1, *tile, device=device))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def use_of_the_peak(model: OpenVocabCT, compute: Compute, tile: tuple[int, int, int]) -> dict[str, float]:
    """Speed of one tile that is on the device already."""
    hu, left = torch.zeros(1, *tile, device=compute.device), torch.zeros(1, *tile, device=compute.device)

    def run() -> None:
        with torch.inference_mode(), compute.autocast():
            model.encode_image(hu, left)

    each, peak, work = seconds(compute, run), peak_flops(compute), tile_flops(model, tile)
    return {"tile_s": each, "tflops": work / each / 1e12, "peak_tflops": peak / 1e12, "use": work / each / peak}


def head_bandwidth(compute: Compute, channels: int = 33, voxels: int = 1 << 24, prompts: int = 8) -> dict[str, float]:
    """GB/s of the head: the voxel embedding read once, the logits written once."""
    embedding = torch.randn(channels, voxels, device=compute.device, dtype=torch.float16)
    queries = torch.randn(prompts, channels, device=compute.device, dtype=torch.float16)
    each = seconds(compute, lambda: queries @ embedding)
    return {"gb_s": 2.0 * voxels * (channels + prompts) / each / 1e9, "ms": each * 1e3}


def agreement(device: str) -> dict[str, Any]:
    """Mean Dice of the embedded model on the sample CT, GPU in its own format against CPU in fp32."""
    volume = CTVolume.read(Sample.find().ct)
    here = Segmenter.from_pretrained(device=device)
    reference = Segmenter.from_pretrained(device="cpu", precision="fp32", backend="torch")
    study = here.encode(volume)
    found = dices(reference.encode(volume).segment(PROMPTS), study.segment(PROMPTS))
    return {"tower": here.tower.name, "dice": found, "mean_dice": fmean(found.values()), "image_pass_s": study.seconds}


def large_ct(size: str, compute: Compute) -> dict[str, Any]:
    """Seconds and memory of the image pass of 512x512x600 with STU-Net of a size; the weights are random."""
    preprocessing = PreprocessingConfig(spacing_mm=1.5, tile=(128, 128, 128))
    model = OpenVocabCT(ArchitectureConfig(size=size), preprocessing).eval().requires_grad_(False)
    model.to(compute.device, memory_format=compute.memory_format)
    volume, tower = phantom_ct(LARGE_CT), TorchTower(model, compute)
    embedding = encode_volume(volume, tower, preprocessing)
    memory = torch.cuda.max_memory_allocated() / 1e9 if compute.device.type == "cuda" else None
    return {
        "size": size,
        "seconds": embedding.seconds,
        "tiles": len(embedding.tile_starts),
        "gpu_gb": memory,
        **use_of_the_peak(model, compute, embedding.tile),
    }


def measure(device: str) -> dict[str, Any]:
    """Everything, for the report."""
    compute = choose_compute(device)
    if compute.device.type == "cpu":
        raise InputError("the CPU is no GPU", "use --device cuda or mps")
    name = torch.cuda.get_device_name() if compute.device.type == "cuda" else "Apple GPU"
    return {
        "device": name,
        "format": str(compute.dtype),
        "agreement": agreement(device),
        "head": head_bandwidth(compute),
        "large_ct": [large_ct(size, compute) for size in ("small16", "L")],
    }


def main() -> None:
    """Print the table; write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=device_name())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device is None:
        print("there is no GPU here: nothing was measured")
        return
    try:
        result = measure(options.device)
    except OpenVocabCTError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{result['device']}, {result['format']}: Dice with CPU fp32 {result['agreement']['mean_dice']:.4f}")
    print(f"head: {result['head']['gb_s']:.0f} GB/s")
    for row in result["large_ct"]:
        print(
            f"512x512x600 at 1.5 mm, STU-Net {row['size']}: {row['seconds']:.1f} s, {row['tiles']} tiles, "
            f"{row['tflops']:.1f} of {row['peak_tflops']:.1f} TFLOP/s ({row['use']:.0%})"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
