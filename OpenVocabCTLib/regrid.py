"""Bringing DICOM slices onto a regular orthogonal grid: uneven distances and gantry tilt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.headers import check_spacing

EVEN_TOLERANCE_MM = 0.1  # scanners round positions to 0.1 mm or finer
IN_PLANE_TOLERANCE_MM = 0.1
MAXIMUM_GAP = 3.05  # times the usual distance; two missing slices in a row are filled, three are not
OUTSIDE_HU = -1024


def even_out(
    array: NDArray[Any], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    """Interpolate slices linearly to even distances where some are missing or shifted.

    Args:
        array: voxels (K, J, I).
        positions: (K, 3) first pixel of every slice, LPS mm, ascending along the normal.
        normal: (3,) unit normal of the slices.

    Returns:
        Array and positions, new ones when a slice is more than 0.1 mm off, and notes (empty when nothing changed).

    Raises:
        InputError: a gap of more than three times the usual distance.
    """
    distance = (positions - positions[0]) @ normal
    gaps = np.diff(distance)
    usual = float(np.median(gaps))
    if np.abs(distance - np.linspace(0, distance[-1], len(distance))).max() <= EVEN_TOLERANCE_MM:
        return array, positions, ()
    if gaps.max() > MAXIMUM_GAP * usual:
        raise InputError(
            f"{SUBJECT} lacks slices (a gap of {gaps.max():.1f} mm where slices are {usual:.1f} mm apart)",
            "export the whole series again",
        )
    count = round(distance[-1] / usual) + 1
    target = np.linspace(0, distance[-1], count)
    even = np.empty((count, *array.shape[1:]), dtype=array.dtype)
    new_positions = np.empty((count, 3))
    for k, (lower, weight) in enumerate(_neighbours(distance, target)):
        even[k] = _as_type(_blend(array[lower], array[lower + 1], weight), array.dtype)
        new_positions[k] = (1 - weight) * positions[lower] + weight * positions[lower + 1]
    missing = int(np.sum(np.maximum(np.rint(gaps / usual) - 1, 0)))
    cause = f"{missing} missing slice{'s' * (missing > 1)}" if missing else "uneven slice distances"
    note = f"{cause} ({gaps.min():.2f} to {gaps.max():.2f} mm): resampled to {target[1]:.2f} mm"
    return even, new_positions, (note,)


def _neighbours(distance: NDArray[np.float64], target: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Return for every target the slice below it and the weight of the slice above."""
    lower = np.clip(np.searchsorted(distance, target, side="right") - 1, 0, len(distance) - 2)
    weight = (target - distance[lower]) / (distance[lower + 1] - distance[lower])
    return list(zip(lower.tolist(), np.clip(weight, 0, 1).tolist(), strict=True))


def _blend(below: NDArray[Any], above: NDArray[Any], weight: float) -> NDArray[Any]:
    return np.asarray((1 - weight) * below.astype(np.float32) + weight * above.astype(np.float32))


def _as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return (np.rint(values) if dtype.kind == "i" else values).astype(dtype)


def lay_upright(
    array: NDArray[Any],
    positions: NDArray[np.float64],
    axes: NDArray[np.float64],
    spacing: tuple[float, float],
) -> tuple[NDArray[Any], Geometry, tuple[str, ...]]:
    """Make the grid orthogonal: with a tilted gantry, slices are shifted within their own planes (a shear).

    The slice planes stay as they are, so voxels are interpolated only within a slice; the grid grows so that nothing is
    lost, and what the scanner did not see becomes -1024 HU.

    Args:
        array: voxels (K, J, I).
        positions: (K, 3) first pixel of every slice, LPS mm, evenly spaced along the normal.
        axes: (2, 3) unit vectors along a row (I) and along a column (J).
        spacing: mm between rows (J) and between columns (I).

    Returns:
        Array, its geometry, and notes (the tilt; empty when no slice is more than 0.1 mm off).

    Raises:
        InputError: the slices do not lie on a line, or the grid is not valid.
    """
    check_spacing(spacing)
    row, column, normal = axes[0], axes[1], np.cross(*axes)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    stray = float(np.abs(positions - expected).max())
    if stray > max(*spacing, 0.5 * float(np.linalg.norm(step))):
        raise InputError(
            f"{SUBJECT} has slices that do not lie on a line", "give one series that was acquired in one go"
        )
    pixel = np.array([spacing[1], spacing[0]])
    upright = np.column_stack([row, column, normal])
    sizes = (float(pixel[0]), float(pixel[1]), float(step @ normal))
    drift = (positions - positions[0]) @ axes.T  # (K, 2) mm along row and column
    if np.abs(drift).max() <= IN_PLANE_TOLERANCE_MM:
        return array, _geometry(array.shape, sizes, positions[0], upright), ()
    offsets = drift / pixel
    before = np.floor(offsets.min(axis=0))
    grown = np.array(array.shape[2:0:-1]) + (np.ceil(offsets.max(axis=0)) - before).astype(int)
    width, height = (int(n) for n in grown)
    geometry = _geometry((array.shape[0], height, width), sizes, positions[0] + axes.T @ (before * pixel), upright)
    voxels = np.empty(geometry.shape, dtype=array.dtype)
    for k, (x, y) in enumerate(before - offsets):
        voxels[k] = _as_type(_shifted(_shifted(array[k], y, height, axis=0), x, width, axis=1), array.dtype)
    angle = math.degrees(math.atan2(float(np.linalg.norm(step @ axes.T)), float(step @ normal)))
    if stray > EVEN_TOLERANCE_MM:
        return voxels, geometry, (f"slices shifted by up to {np.abs(drift).max():.1f} mm in their planes corrected",)
    return voxels, geometry, (f"gantry tilt {angle:.1f} degrees corrected",)


def _geometry(
    shape: tuple[int, ...], spacing: tuple[float, float, float], origin: NDArray[np.float64], direction: NDArray[Any]
) -> Geometry:
    k, j, i = shape
    return Geometry((k, j, i), spacing, (origin[0], origin[1], origin[2]), tuple(direction.ravel()))


def _shifted(image: NDArray[Any], start: float, length: int, axis: int) -> NDArray[Any]:
    """Sample an image at start, start + 1, ... along an axis: linear, -1024 HU beyond the outer pixels' edges."""
    count = image.shape[axis]
    at = start + np.arange(length)
    inside = (at >= -0.5) & (at <= count - 0.5)
    at = np.clip(at, 0, count - 1)
    lower = np.minimum(np.floor(at).astype(int), max(count - 2, 0))
    shape = [1, 1]
    shape[axis] = length
    weight = (at - lower).astype(np.float32).reshape(shape)
    below, above = image.take(lower, axis), image.take(np.minimum(lower + 1, count - 1), axis)
    values = (1 - weight) * below + weight * above
    return np.asarray(np.where(inside.reshape(shape), values, np.float32(OUTSIDE_HU)))
