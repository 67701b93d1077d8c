"""A generated CT of any size with the body, lungs, bones and spine of a rough adult, for benchmarks without data."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import numpy as np

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.volume import CTVolume

WIDTH_MM = 384.0
AIR, LUNG, FAT, TISSUE, BONE, MARROW = -1000, -850, -100, 40, 700, 200


def phantom_ct(shape: tuple[int, int, int], slice_mm: float = 1.0, seed: int = 0) -> CTVolume:
    """Make a CT of (K, J, I) voxels that is 384 mm wide, int16, axes as most scanners have them (LPS).

    It is made slice by slice: the memory it takes is that of the result.
    """
    slices, rows, columns = shape
    pixel = WIDTH_MM / columns
    y, x = np.meshgrid((np.arange(rows) - rows / 2) * pixel, (np.arange(columns) - columns / 2) * pixel, indexing="ij")
    random = np.random.default_rng(seed)
    noise = random.normal(0, 15, (rows, columns)).astype(np.float32)
    array = np.empty(shape, np.int16)
    length = slices * slice_mm
    for k in range(slices):
        z = k * slice_mm - length / 2
        plane = np.full((rows, columns), AIR, np.float32)
        body = (x / 165) ** 2 + (y / 110) ** 2
        plane[body < 1] = FAT
        plane[body < 0.8] = TISSUE
        ribs = (body > 0.68) & (body < 0.76) & (np.sin((z + np.abs(x) * 0.3) / 4) > 0.2) & (abs(z) < 0.35 * length)
        plane[ribs] = BONE
        for side in (-1, 1):
            lung = ((x - side * 70) / 55) ** 2 + ((y + 5) / 75) ** 2 + (z / (0.3 * length)) ** 2
            plane[lung < 1] = LUNG + 60 * np.sin(x[lung < 1] / 3) * np.cos(y[lung < 1] / 3)
        spine = (x / 20) ** 2 + ((y - 70) / 18) ** 2
        plane[spine < 1] = BONE if np.sin(z / 4) > -0.6 else TISSUE
        plane[(spine < 0.7) & (plane == BONE)] = MARROW
        plane[(x / 9) ** 2 + ((y - 95) / 9) ** 2 < 1] = 30
        # The same noise, shifted: new random numbers for every slice take longer than everything else.
        plane += np.roll(noise, (7 * k, 13 * k), (0, 1))
        array[k] = plane.clip(-1024, 3071)
    geometry = Geometry(
        shape, (pixel, pixel, slice_mm), (-WIDTH_MM / 2, -WIDTH_MM / 2, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    return CTVolume.from_array(array, geometry)


def ct_file(source: str, folder: Path) -> Path:
    """Return a CT file.

    Args:
        source: its path; or a size such as 600x512x512 (K, J, I), for a generated CT, which another process makes, so
            that its memory is not counted.
        folder: for a generated CT.
    """
    if not re.fullmatch(r"\d+x\d+x\d+", source):
        return Path(source)
    path = folder / f"generated-{source}.nrrd"
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(source, path))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("error: the generated CT could not be written: free some disk space")
    return path


def _write(source: str, path: Path) -> None:
    import SimpleITK as sitk

    slices, rows, columns = (int(side) for side in source.split("x"))
    volume = phantom_ct((slices, rows, columns), slice_mm=max(1.0, 300.0 / slices))
    sitk.WriteImage(volume.to_sitk(), str(path), useCompression=False)
