"""A store of coarser voxels from another one: block means of images, majorities of labels.  For trials on a CPU.

python -m Testing.benchmarks.coarse_store SOURCE TARGET 2 2 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openvocabct_training.data.store import CaseRecord, CaseStore


def block_means(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """(..., S, A, R) -> (..., S//s, A//a, R//r) float32 means of whole blocks; what is left at the ends is cut off."""
    sizes = [side // factor for side, factor in zip(array.shape[-3:], factors, strict=True)]
    source: Any = array
    cut = source[(..., *(slice(0, size * factor) for size, factor in zip(sizes, factors, strict=True)))]
    parts = [number for pair in zip(sizes, factors, strict=True) for number in pair]
    means: np.ndarray = cut.reshape(*array.shape[:-3], *parts).mean((-5, -3, -1), dtype=np.float32)
    return means


def coarsen(source: CaseStore, target: CaseStore, factors: Sequence[int]) -> list[CaseRecord]:
    """Write the coarser store; structures without a voxel left are not annotated."""
    records = []
    for record in source.records():
        image = block_means(source.image(record)[:], factors).round().astype(np.int16)
        labels = block_means(source.labels(record)[:], factors) >= 0.5
        masks = {concept: mask for concept, mask in zip(record.present, labels, strict=True) if mask.any()}
        first, second, third = (size * factor for size, factor in zip(record.spacing, factors, strict=True))
        records.append(
            target.write_case(
                image,
                masks,
                case=record.case,
                dataset=record.dataset,
                split=record.split,
                licence=record.licence,
                spacing=(first, second, third),
                absent=record.absent,
                symmetric=record.symmetric,
                patient=record.patient,
            )
        )
    target.write_manifest(records)
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("factors", type=int, nargs=3)
    options = parser.parse_args(arguments)
    print(len(coarsen(CaseStore(options.source), CaseStore(options.target), options.factors)), "cases")


if __name__ == "__main__":
    main()
