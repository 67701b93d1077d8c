"""What the image pass costs with each backend, and how far the results agree.

Usage: python Testing/benchmarks/image_pass.py [CT ...]

Without a CT, the sample CT of the demo is used.  The reference is torch in float32; agreement is the Dice of the masks
of everything that both find.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean

from OpenVocabCTLib import CTVolume, Segmenter
from OpenVocabCTLib.commands.sample import Sample, dice
from OpenVocabCTLib.inference.devices import Precision
from OpenVocabCTLib.inference.towers import Backend
from OpenVocabCTLib.memory import keep_freed_memory
from OpenVocabCTLib.output import Segmentation

PROMPTS = ("left lung", "right lung", "spinal cord", "bones", "body")
BACKENDS: tuple[tuple[Backend, Precision], ...] = (("torch", "fp32"), ("openvino", "fp32"), ("auto", "auto"))


def measure(volume: CTVolume, backend: Backend, precision: Precision) -> tuple[str, float, float, Segmentation]:
    """Name of the backend, seconds to load, seconds of a warm image pass, and what it found."""
    began = time.perf_counter()
    segmenter = Segmenter.from_pretrained(device="cpu", precision=precision, backend=backend)
    loaded = time.perf_counter() - began
    segmenter.encode(volume)
    segmenter.cache.clear()
    study = segmenter.encode(volume)
    return segmenter.tower.name, loaded, study.seconds, study.segment(PROMPTS)


def agreement(one: Segmentation, other: Segmentation) -> float:
    """Mean Dice of the segments that both found."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a.found and b.found]
    return fmean(dice(a.mask, b.mask) for a, b in pairs)


def main() -> None:
    """Print one line for each CT and backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct", nargs="*", type=Path)
    keep_freed_memory()
    for path in parser.parse_args().ct or [Sample.find().ct]:
        volume = CTVolume.read(path)
        results = [measure(volume, *backend) for backend in BACKENDS]
        _, _, slowest, reference = results[0]
        for name, loaded, seconds, segmentation in results:
            print(
                f"{path.name}: {name}: loaded in {loaded:.1f} s, image pass {seconds:.2f} s ({slowest / seconds:.1f}x),"
                f" Dice with torch fp32 {agreement(reference, segmentation):.4f}"
            )


if __name__ == "__main__":
    main()
