"""Memory of the answers of a network with 117 classes on a CT of 512 x 512 x 600 voxels.

    python Testing/benchmarks/table_memory.py

The voxel embedding is made up: blocks of one class each, on working voxels of 1.5 mm.  What is measured is the peak of
this process before, after comparing all classes, and after making masks.  Scores of all classes on the native grid in
32 bits would be 74 GB.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.tables import classes
from OpenVocabCTLib.inference.tables.classes import Contest
from OpenVocabCTLib.inference.tables.preprocessing import NetworkGrid
from OpenVocabCTLib.models.class_table import ClassTable

NATIVE, SPACING, WORKING_MM = (600, 512, 512), (0.8, 0.8, 1.0), 1.5
FEATURES, BLOCKS, MASKS = 32, (6, 5, 4), 3


def peak_gb() -> float:
    """Most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def made_up() -> tuple[VoxelEmbedding, ClassTable]:
    """An embedding in which every block looks like one class."""
    sizes = [round(count * mm / WORKING_MM) for count, mm in zip(NATIVE, SPACING[::-1], strict=True)]
    shape = (sizes[0], sizes[1], sizes[2])
    torch.manual_seed(0)
    count = int(np.prod(BLOCKS)) - 2
    vectors = torch.nn.functional.normalize(torch.randn(count, FEATURES + 1), dim=1) * 4.0
    which = [torch.arange(side) * blocks // side for side, blocks in zip(shape, BLOCKS, strict=True)]
    block = (which[0][:, None, None] * BLOCKS[1] + which[1][None, :, None]) * BLOCKS[2] + which[2][None, None, :]
    values = torch.empty(FEATURES + 1, *shape, dtype=torch.float16)
    for channel in range(FEATURES + 1):
        values[channel] = vectors[block.clamp(max=count - 1), channel].half()
    to_working = np.diag([*(w / n for w, n in zip(shape, NATIVE, strict=True)), 1.0])
    to_working[:3, 3] = 0.5 * np.diag(to_working)[:3] - 0.5
    geometry = Geometry(NATIVE, SPACING, (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    whole = (slice(0, NATIVE[0]), slice(0, NATIVE[1]), slice(0, NATIVE[2]))
    grid = NetworkGrid(geometry, shape, (WORKING_MM,) * 3, to_working, None, whole)
    embedding = VoxelEmbedding(values, (0, 0, 0), grid, torch.zeros(0, 1), torch.zeros(0, 3), (128, 128, 128), 0.0)
    return embedding, ClassTable(vectors, torch.zeros(count))


def main() -> None:
    """Print peaks and seconds."""
    embedding, table = made_up()
    print(f"{len(table)} classes, voxel embedding {embedding.bytes / 1e9:.2f} GB; peak before: {peak_gb():.2f} GB")
    began = time.perf_counter()
    best = classes.winners(embedding, table)
    print(f"all classes compared: {time.perf_counter() - began:.1f} s, peak {peak_gb():.2f} GB")
    for index in (len(table) // 2 + step for step in range(MASKS)):
        began = time.perf_counter()
        box = best.boxes[index]
        if box is None:
            continue
        rows = classes.rivals(best, box, index)
        mask = classes.native_mask(embedding, Contest(0, classes.of_classes(table, rows)), box)
        seconds = time.perf_counter() - began
        print(f"mask of {mask.count} voxels against {len(rows) - 1} rivals: {seconds:.1f} s, peak {peak_gb():.2f} GB")


if __name__ == "__main__":
    main()
