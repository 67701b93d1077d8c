"""Scans made harder, together with their geometry and references."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from OpenVocabCTLib.geometry import MINIMUM_SIZE, Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.volume import CTVolume

Scan = tuple[CTVolume, dict[str, CroppedMask]]
Perturbation = Callable[[CTVolume, Mapping[str, CroppedMask]], Scan | None]
NOISE_HU = 30.0


def reoriented(volume: CTVolume, references: Mapping[str, CroppedMask]) -> Scan:
    """Store the same voxels in another order: axes permuted, two of them flipped. Nothing is interpolated."""
    order, flipped = (2, 0, 1), (0, 2)
    grid = volume.geometry
    affine = grid.affine_lps()
    # Array axis n holds geometry axis 2 - n, because arrays are (K, J, I) and columns are I, J, K.
    affine[:3, :3] = affine[:3, [2 - order[2 - column] for column in range(3)]]
    shape = tuple(grid.shape[axis] for axis in order)
    for axis in flipped:
        column = 2 - axis
        affine[:3, 3] += (shape[axis] - 1) * affine[:3, column]
        affine[:3, column] *= -1
    geometry = Geometry.from_affine_lps(affine, (shape[0], shape[1], shape[2]))

    def move(array: np.ndarray) -> np.ndarray:
        return np.flip(array.transpose(order), flipped)

    return _made(volume, move(volume.array), geometry, _changed(references, move))


def thick_slices(volume: CTVolume, references: Mapping[str, CroppedMask]) -> Scan | None:
    """Average pairs of slices along the axis nearest to the patient's length; None with fewer than four slices.

    A voxel belongs to a reference if half of it or more did.
    """
    axis = _long_axis(volume.geometry)
    pairs = volume.geometry.shape[axis] // 2
    if pairs < MINIMUM_SIZE:
        return None

    def average(array: np.ndarray) -> np.ndarray:
        array = np.moveaxis(array, axis, 0)[: 2 * pairs].astype(np.float32)
        return np.moveaxis((array[0::2] + array[1::2]) / 2, 0, axis)

    affine = volume.geometry.affine_lps()
    column = 2 - axis
    affine[:3, 3] += 0.5 * affine[:3, column]
    affine[:3, column] *= 2
    shape = list(volume.geometry.shape)
    shape[axis] = pairs
    geometry = Geometry.from_affine_lps(affine, (shape[0], shape[1], shape[2]))
    array = _as_type(average(volume.array), volume.array.dtype)
    return _made(volume, array, geometry, _changed(references, lambda mask: average(mask) >= 0.5))


def noisy(volume: CTVolume, references: Mapping[str, CroppedMask]) -> Scan:
    """Add Gaussian noise of 30 HU within the scan's range, the same for the same scan."""
    seed = int.from_bytes(hashlib.sha256(volume.content_hash().encode()).digest()[:8], "big")
    noise = np.random.default_rng(seed).normal(0.0, NOISE_HU, volume.array.shape).astype(np.float32)
    array = np.clip(volume.array + noise, volume.array.min(), volume.array.max())
    return _made(volume, _as_type(array, volume.array.dtype), volume.geometry, dict(references))


def middle_half(volume: CTVolume, references: Mapping[str, CroppedMask]) -> Scan | None:
    """Keep the middle half of the slices along the patient's length; None if that leaves fewer than two.

    Structures are cut or lost with the slices, and so are their references.
    """
    axis = _long_axis(volume.geometry)
    count = volume.geometry.shape[axis]
    first, last = count // 4, count - count // 4
    if last - first < MINIMUM_SIZE:
        return None
    part = tuple(slice(first, last) if n == axis else slice(None) for n in range(3))
    affine = volume.geometry.affine_lps()
    affine[:3, 3] += first * affine[:3, 2 - axis]
    array = volume.array[part]
    geometry = Geometry.from_affine_lps(affine, (array.shape[0], array.shape[1], array.shape[2]))
    return _made(volume, array, geometry, _changed(references, lambda mask: mask[part]))


PERTURBATIONS: Mapping[str, Perturbation] = {
    "orientation": reoriented,
    "spacing": thick_slices,
    "noise": noisy,
    "crop": middle_half,
}


def _changed(
    references: Mapping[str, CroppedMask], change: Callable[[np.ndarray], np.ndarray]
) -> dict[str, CroppedMask]:
    """Change whole masks, bool (K, J, I), one at a time: those of many structures may not fit into memory at once."""
    return {concept: CroppedMask.from_full(change(mask.full())) for concept, mask in references.items()}


def _made(volume: CTVolume, array: np.ndarray, geometry: Geometry, masks: dict[str, CroppedMask]) -> Scan:
    return CTVolume.from_array(array, geometry, source=volume.source), masks


def _long_axis(geometry: Geometry) -> int:
    """Array axis that runs along the patient's length."""
    return 2 - next(column for column, letter in enumerate(geometry.axis_codes()) if letter in "SI")


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(values) if dtype.kind == "i" else values).astype(dtype)
