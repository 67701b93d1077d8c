"""The working grid: voxels of one size along the patient's axes, and the way there and back.

Working arrays are ordered (S, A, R): index 0 grows towards the patient's head, index 1 towards the front, index 2
towards the patient's right.  Left is therefore always on the low side of the last axis, whatever the scanner wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.models.config import voxel_size

AIR_HU = -1024.0
MAX_HU = 3071.0
_BLOCK_SLICES = 16
T = TypeVar("T")
Region = tuple[slice, slice, slice]


def whole(shape: Sequence[int]) -> Region:
    """The region that is everything."""
    return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])


@dataclass(frozen=True)
class WorkingGrid:
    """A grid aligned with the patient, tied to the native grid it came from.

    Attributes:
        native: geometry of the CT as it was read.
        shape: voxels along (S, A, R).
        spacing: mm along (S, A, R); close to the requested spacing, exact so that both grids cover the same extent.
        native_to_working: 4x4, native (k, j, i, 1) index -> working (s, a, r, 1) index.
        stepped_axis: working axis on which the nearest value is taken on the way back, not an interpolated one.
    """

    native: Geometry
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    native_to_working: np.ndarray
    stepped_axis: int | None = None

    @property
    def separable(self) -> bool:
        """True when each working axis depends on one native axis only (the scan is not oblique)."""
        return bool((np.abs(self.native_to_working[:3, :3]) > 1e-9).sum() == 3)


def _kji_to_sar_mm(geometry: Geometry) -> np.ndarray:
    """4x4 from native (k, j, i, 1) to patient mm along (S, A, R)."""
    affine = np.asarray(geometry.affine_ras())[[2, 1, 0, 3]]  # rows S, A, R
    return affine[:, [2, 1, 0, 3]]  # columns k, j, i


def working_grid(geometry: Geometry, spacing_mm: float | Sequence[float]) -> WorkingGrid:
    """Lay the working grid over a CT.

    Args:
        geometry: of the CT.
        spacing_mm: size of the working voxels, one number for cubic ones or one along each of (S, A, R).

    A scan along the patient's axes is only permuted, flipped and scaled, and keeps its extent exactly.  An oblique
    scan is covered by the smallest patient-aligned box around it.
    """
    to_mm, voxel_mm = _kji_to_sar_mm(geometry), voxel_size(spacing_mm)
    if geometry.is_oblique:
        return _oblique_grid(geometry, to_mm, np.asarray(voxel_mm))
    # Non-oblique: snap each native axis to its patient axis.
    linear = to_mm[:3, :3]
    source_axis = [int(np.argmax(np.abs(row))) for row in linear]
    native_to_working = np.zeros((4, 4))
    native_to_working[3, 3] = 1.0
    shape, spacing = [], []
    for axis, source in enumerate(source_axis):
        count = geometry.shape[source]
        step = float(np.linalg.norm(linear[:, source]))
        size = max(1, round(count * step / voxel_mm[axis]))
        scale = size / count
        sign = 1.0 if linear[axis, source] > 0 else -1.0
        # Voxel centres: working + 0.5 = (native + 0.5) * scale, mirrored when the axis runs the other way.
        native_to_working[axis, source] = sign * scale
        native_to_working[axis, 3] = 0.5 * scale - 0.5 if sign > 0 else (count - 0.5) * scale - 0.5
        shape.append(size)
        spacing.append(step / scale)
    return WorkingGrid(geometry, _triple(shape), _triple(spacing), native_to_working)


def _oblique_grid(geometry: Geometry, to_mm: np.ndarray, voxel_mm: np.ndarray) -> WorkingGrid:
    ends = [(-0.5, count - 0.5) for count in geometry.shape]
    corners = np.array([(k, j, i, 1.0) for k in ends[0] for j in ends[1] for i in ends[2]])
    mm = (corners @ to_mm.T)[:, :3]
    low, high = mm.min(0), mm.max(0)
    shape = np.maximum(1, np.ceil((high - low) / voxel_mm - 1e-6)).astype(int)
    mm_to_working = np.eye(4)
    mm_to_working[:3, :3] /= voxel_mm[:, None]
    mm_to_working[:3, 3] = -low / voxel_mm - 0.5
    return WorkingGrid(geometry, _triple(shape.tolist()), _triple(voxel_mm.tolist()), mm_to_working @ to_mm)


def _triple(values: Sequence[T]) -> tuple[T, T, T]:
    first, second, third = values
    return first, second, third


def to_working(
    array: np.ndarray,
    grid: WorkingGrid,
    outside: float = AIR_HU,
    clip: bool = True,
    device: torch.device | None = None,
) -> Tensor:
    """Resample native voxels to the working grid, averaging where the working voxels are larger.

    Args:
        array: (K, J, I) on the native grid.
        grid: where to.
        outside: value of working voxels that the scan does not cover (oblique scans only).
        clip: limit values to what a CT scanner can mean, -1024..3071 HU.
        device: where it is averaged. Only a CUDA device is used for it: on an Apple GPU some versions of PyTorch have
            no resampling that averages.

    Returns:
        (S, A, R) float32 on the CPU.
    """
    resampler = device if device is not None and device.type == "cuda" else torch.device("cpu")
    if grid.separable:
        return _separable_to_working(array, grid, clip, resampler)
    return _oblique_to_working(array, grid, outside, clip, resampler)


def _as_float(array: np.ndarray, clip: bool, device: torch.device) -> Tensor:
    # Always a copy: the scan itself must not be clipped.
    tensor = torch.from_numpy(array.astype(np.float32)).to(device)
    return tensor.clamp_(AIR_HU, MAX_HU) if clip else tensor


def _shrink(array: np.ndarray, sizes: Sequence[int], clip: bool, device: torch.device) -> Tensor:
    """Antialiased linear resampling of (K, J, I) to ``sizes``; slice by slice first, so memory stays small."""
    planes = torch.empty(array.shape[0], sizes[1], sizes[2], device=device)
    for start in range(0, array.shape[0], 16):
        block = _as_float(array[start : start + 16], clip, device)
        planes[start : start + 16] = F.interpolate(
            block[:, None], size=(sizes[1], sizes[2]), mode="bilinear", antialias=True, align_corners=False
        )[:, 0]
    if sizes[0] == planes.shape[0]:
        return planes.cpu()
    columns = planes.reshape(1, 1, planes.shape[0], -1)
    columns = F.interpolate(
        columns, size=(sizes[0], columns.shape[-1]), mode="bilinear", antialias=True, align_corners=False
    )
    return columns.reshape(sizes[0], sizes[1], sizes[2]).cpu()


def _separable_to_working(array: np.ndarray, grid: WorkingGrid, clip: bool, device: torch.device) -> Tensor:
    linear = grid.native_to_working[:3, :3]
    source_axis = [int(np.argmax(np.abs(row))) for row in linear]
    sizes = [0, 0, 0]
    for axis, source in enumerate(source_axis):
        sizes[source] = grid.shape[axis]
    result = _shrink(array, sizes, clip, device).permute(source_axis)
    flips = [axis for axis, source in enumerate(source_axis) if linear[axis, source] < 0]
    return result.flip(flips).contiguous() if flips else result.contiguous()


def _oblique_to_working(
    array: np.ndarray, grid: WorkingGrid, outside: float, clip: bool, device: torch.device
) -> Tensor:
    # Average down along the native axes first, then rotate: rotating alone would alias fine in-plane pixels.
    # One step along a native axis covers this many working voxels, whichever way it points.
    steps = np.linalg.norm(grid.native_to_working[:3, :3], axis=0)
    sizes = [
        max(1, math.ceil(count * step)) if step < 1.0 else count for count, step in zip(array.shape, steps, strict=True)
    ]
    shrunk = _shrink(array, sizes, clip, device)
    scale = np.array(sizes) / np.array(array.shape)
    native_to_shrunk = np.diag([*scale, 1.0])
    native_to_shrunk[:3, 3] = 0.5 * scale - 0.5
    working_to_shrunk = native_to_shrunk @ np.linalg.inv(grid.native_to_working)
    blocks = []
    for start in range(0, grid.shape[0], 16):
        window = (slice(start, min(start + 16, grid.shape[0])), *whole(grid.shape)[1:])
        # grid_sample knows only zero outside, so the value for outside becomes zero for a moment.
        blocks.append(_sample(shrunk - outside, working_to_shrunk, window, "zeros") + outside)
    return torch.cat(blocks)


def _sample(source: Tensor, affine: np.ndarray, window: Region, padding: str) -> Tensor:
    """Trilinear values of ``source`` (D, H, W) at ``affine @ index`` for every index of ``window``."""
    axes = [torch.arange(part.start, part.stop, dtype=torch.float64) for part in window]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    position = index @ torch.from_numpy(affine[:3, :3]).T + torch.from_numpy(affine[:3, 3])
    size = torch.tensor(source.shape, dtype=torch.float64)
    normalised = ((2.0 * position + 1.0) / size - 1.0).float().flip(-1)  # grid_sample wants (x, y, z)
    sampled = F.grid_sample(
        source[None, None].float(), normalised[None], mode="bilinear", align_corners=False, padding_mode=padding
    )
    return sampled[0, 0]


def native_box(grid: WorkingGrid, box: Region) -> Region:
    """Smallest native index box that covers a working index box, one working voxel of margin included."""
    ends = [(part.start - 1.0, part.stop) for part in box]
    corners = np.array([(s, a, r, 1.0) for s in ends[0] for a in ends[1] for r in ends[2]])
    native = (corners @ np.linalg.inv(grid.native_to_working).T)[:, :3]
    low = np.floor(native.min(0)).astype(int).clip(min=0)
    high = np.minimum(np.ceil(native.max(0)).astype(int) + 1, grid.native.shape)
    k, j, i = (slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
    return k, j, i


def to_native(values: Tensor, offset: Sequence[int], grid: WorkingGrid, box: Region) -> Tensor:
    """Linear interpolation of working values at the native voxels of ``box``.

    Args:
        values: (s, a, r) part of a working array; beyond its border the border's value continues.
        offset: index of ``values[0, 0, 0]`` in the working grid.
        grid: the working grid.
        box: native (K, J, I) index box.

    Returns:
        float32 of the box's shape.
    """
    result = torch.empty([part.stop - part.start for part in box])
    for slices, block in native_blocks(values, offset, grid, box):
        result[slices] = block
    return result


def native_blocks(
    values: Tensor, offset: Sequence[int], grid: WorkingGrid, box: Region
) -> Iterator[tuple[slice, Tensor]]:
    """Do `to_native` a few slices at a time, for those who do not need the whole box in memory.

    Yields:
        Slices, counted from the box's first, and their values.
    """
    depth = box[0].stop - box[0].start
    ends = [(start, min(start + _BLOCK_SLICES, depth)) for start in range(0, depth, _BLOCK_SLICES)]
    if grid.separable:
        native, (to_k, to_j, to_i) = _along_native_axes(values.float(), offset, grid, box)
        flat = native.reshape(native.shape[0], -1)
        for start, stop in ends:
            planes = (to_k[start:stop] @ flat).reshape(stop - start, native.shape[1], native.shape[2])
            yield slice(start, stop), (to_j @ planes) @ to_i.T
        return
    affine = grid.native_to_working.copy()
    affine[:3, 3] -= np.asarray(offset)
    for start, stop in ends:
        window = (slice(box[0].start + start, box[0].start + stop), box[1], box[2])
        yield slice(start, stop), _sample(values, affine, window, "border")


def _along_native_axes(
    values: Tensor, offset: Sequence[int], grid: WorkingGrid, box: Region
) -> tuple[Tensor, list[Tensor]]:
    """The values with their axes in the order K, J, I, and for each axis the matrix that interpolates along it."""
    working_axis, matrices = [0, 0, 0], [torch.empty(0)] * 3
    for axis in range(3):
        source = int(np.argmax(np.abs(grid.native_to_working[axis, :3])))
        scale, shift = grid.native_to_working[axis, source], grid.native_to_working[axis, 3] - offset[axis]
        position = torch.arange(box[source].start, box[source].stop, dtype=torch.float64) * scale + shift
        working_axis[source] = axis
        weights = _nearest if axis == grid.stepped_axis else _interpolation
        matrices[source] = weights(position, values.shape[axis])
    return values.permute(working_axis).contiguous(), matrices


def _interpolation(position: Tensor, count: int) -> Tensor:
    """(positions, count) float32 weights of linear interpolation, the border's value continuing outside.

    A product with this matrix, nearly all zeros, takes a tenth of the time of picking neighbours voxel by voxel.
    """
    position = position.clamp(0, count - 1)
    low = position.floor().long().clamp(max=max(count - 2, 0))
    high = (low + 1).clamp(max=count - 1)
    weight = (position - low).float()
    rows = torch.arange(len(position))
    matrix = torch.zeros(len(position), count)
    matrix[rows, low] = 1.0 - weight
    matrix[rows, high] += weight
    return matrix


def _nearest(position: Tensor, count: int) -> Tensor:
    """(positions, count) float32 weights of the nearest value, half-way the upper one, the border's outside."""
    matrix = torch.zeros(len(position), count)
    matrix[torch.arange(len(position)), (position + 0.5).floor().long().clamp(0, count - 1)] = 1.0
    return matrix
