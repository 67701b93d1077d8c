"""From a CT to the input of a network, exactly as nnU-Net does it (Isensee et al. 2021, github.com/MIC-DKFZ/nnUNet).

nnU-Net works on voxel indices: it crops to what is not zero, normalises, and resamples with cubic splines to the
spacing of its plans.  Directions of oblique scans play no part.  v2 normalises before it resamples, v1 afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.grid import Region, WorkingGrid
from OpenVocabCTLib.inference.midline import leftness, midline
from OpenVocabCTLib.models.tables import InputConfig
from OpenVocabCTLib.volume import CTVolume

_COLUMNS = 1 << 14


@dataclass(frozen=True)
class NetworkGrid(WorkingGrid):
    """A working grid along the axes of a network.

    Attributes:
        covered: native (K, J, I) box that the grid covers; outside of it everything is background.
    """

    covered: Region = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True)
class Axes:
    """How the axes of a network lie in a stored array.

    Attributes:
        source: network axis -> native axis (0 is K).
        flipped: whether a network axis runs against its native axis.
    """

    source: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def orient(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """View a native array along the network's axes."""
        turned = array.transpose(self.source)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]


def network_axes(geometry: Geometry, config: InputConfig) -> Axes:
    """Find the network's axes in a scan.

    Args:
        geometry: of the scan; oblique ones count as their nearest upright neighbour.
        config: orientation and transposition.
    """
    if config.orientation == "stored":
        source, flipped = [0, 1, 2], [False] * 3
    else:
        # Codes are those of I, J, K; the network wants the axes S, A, R.
        codes = geometry.axis_codes()[::-1]
        pairs = ("SI", "AP", "RL")
        source = [next(axis for axis in range(3) if codes[axis] in pair) for pair in pairs]
        flipped = [codes[axis] != pair[0] for axis, pair in zip(source, pairs, strict=True)]
    first, second, third = config.transpose
    return Axes((source[first], source[second], source[third]), (flipped[first], flipped[second], flipped[third]))


def prepare(volume: CTVolume, config: InputConfig) -> tuple[Tensor, NetworkGrid, Tensor]:
    """Make the input of a network.

    Args:
        volume: the scan.
        config: of the network.

    Returns:
        (D, H, W) float32 image, its grid, and (D, H, W) leftness: 1 on the patient's left, -1 on the right.
    """
    layout = _laid_out(volume, config)
    image = layout.axes.orient(volume.array)[layout.crop].astype(np.float32)
    left = _leftness(volume.geometry, layout.axes, image, layout.shape)
    if config.normalise_first:
        image = normalised(image, config)
    alone = coarse_axis(layout.spacing, config.spacing_mm, config.anisotropy)
    image = resampled(image, layout.shape, config.order, alone)
    if not config.normalise_first:
        image = normalised(image, config)
    return torch.from_numpy(np.ascontiguousarray(image)), _grid(volume.geometry, layout, config), left


def network_grid(volume: CTVolume, config: InputConfig) -> NetworkGrid:
    """Lay the grid of a network over a scan, as ``prepare`` does, and resample nothing."""
    return _grid(volume.geometry, _laid_out(volume, config), config)


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a network's input are.

    Attributes:
        axes: of the network in the stored array.
        crop: box along the network's axes that is not zero.
        spacing: native voxels along the network's axes, mm.
        shape: of the input.
    """

    axes: Axes
    crop: Region
    spacing: tuple[float, ...]
    shape: tuple[int, int, int]


def _laid_out(volume: CTVolume, config: InputConfig) -> _Layout:
    axes = network_axes(volume.geometry, config)
    spacing = tuple(volume.geometry.spacing[::-1][axis] for axis in axes.source)
    crop = nonzero_box(axes.orient(volume.array))
    counts = [part.stop - part.start for part in crop]
    d, h, w = (round(old / new * n) for old, new, n in zip(spacing, config.spacing_mm, counts, strict=True))
    return _Layout(axes, crop, spacing, (max(1, d), max(1, h), max(1, w)))


def nonzero_box(array: NDArray[np.generic]) -> Region:
    """Bounding box of the voxels that are not zero; everything where there are none."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(array.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, array.shape[axis]))
    return box[0], box[1], box[2]


def normalised(image: NDArray[np.float32], config: InputConfig) -> NDArray[np.float32]:
    """Bring intensities to what the network was trained with; works in place."""
    if config.scheme == "ct":
        np.clip(image, config.low, config.high, out=image)
        image -= np.float32(config.mean)
        image /= np.float32(max(config.deviation, 1e-8))
    elif config.scheme == "zscore":
        mean, deviation = image.mean(), image.std()
        image -= mean
        image /= max(float(deviation), 1e-8) if config.normalise_first else float(deviation) + 1e-8
    return image


def coarse_axis(current: Sequence[float], target: Sequence[float], anisotropy: float) -> int | None:
    """Axis that is resampled on its own, None where all are resampled together.

    Args:
        current: spacing before, mm.
        target: spacing afterwards, mm.
        anisotropy: ratio of largest to smallest spacing above which an axis counts as coarse.
    """
    for spacing in (current, target):
        if max(spacing) / min(spacing) > anisotropy:
            coarse = [axis for axis, size in enumerate(spacing) if max(spacing) / size == 1]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resampled(image: NDArray[np.float32], shape: Sequence[int], order: int, alone: int | None) -> NDArray[np.float32]:
    """Resample by splines, corners of the outer voxels on corners, values kept within their range.

    Args:
        image: (D, H, W).
        shape: wanted size.
        order: of the spline.
        alone: axis along which the nearest slice is taken instead.
    """
    if tuple(shape) == image.shape:
        return image
    if alone is None:
        return _zoomed(image, shape, order)
    across = [size for axis, size in enumerate(shape) if axis != alone]
    planes = [_zoomed(plane, across, order) for plane in np.moveaxis(image, alone, 0)]
    position = (np.arange(shape[alone]) + 0.5) * (len(planes) / shape[alone]) - 0.5
    nearest = np.floor(position + 0.5).astype(int).clip(0, len(planes) - 1)
    return np.moveaxis(np.stack([planes[index] for index in nearest]), 0, alone)


def _zoomed(image: NDArray[np.float32], shape: Sequence[int], order: int) -> NDArray[np.float32]:
    """Spline resampling of a plane or a volume, within the range of its values.

    A spline in three dimensions is one in the planes followed by one across them; done that way, only one plane is
    ever there in double precision.
    """
    if image.ndim == 2:
        result = _spline(image, shape, order)
    else:
        planes = np.stack([_spline(plane, shape[1:], order) for plane in image])
        result = _across(planes, shape[0], order) if shape[0] != len(planes) else planes
    return np.clip(result, image.min(), image.max(), out=result)


def _across(planes: NDArray[np.float32], count: int, order: int) -> NDArray[np.float32]:
    columns = planes.reshape(len(planes), -1)
    result = np.empty((count, columns.shape[1]), np.float32)
    for start in range(0, columns.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        result[:, part] = _spline(columns[:, part], (count, columns[:, part].shape[1]), order)
    return result.reshape(count, *planes.shape[1:])


def _spline(plane: NDArray[np.float32], shape: Sequence[int], order: int) -> NDArray[np.float32]:
    if tuple(shape) == plane.shape:
        return plane
    factors = [new / old for new, old in zip(shape, plane.shape, strict=True)]
    zoomed = ndimage.zoom(plane.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, np.float32)


def _leftness(geometry: Geometry, axes: Axes, image: NDArray[np.float32], shape: tuple[int, int, int]) -> Tensor:
    """(D, H, W) leftness of every working voxel, see ``inference.midline``; nearest axes of the patient count."""
    codes = geometry.axis_codes()[::-1]
    along = next(axis for axis in range(3) if codes[axes.source[axis]] in "RL")
    # Towards the patient's right, as ``midline`` wants it.
    to_right = (codes[axes.source[along]] == "R") != axes.flipped[along]
    # Some rows are enough to find the middle.
    steps = [slice(None) if axis == along else slice(None, None, max(1, n // 64)) for axis, n in enumerate(image.shape)]
    thinned = np.moveaxis(image[tuple(steps)], along, 2)
    middle = midline(torch.from_numpy(np.ascontiguousarray(thinned)))
    count, spacing = image.shape[along], geometry.spacing[::-1][axes.source[along]]
    position = (torch.arange(shape[along]) + 0.5) * (count / shape[along]) - 0.5
    left = leftness(position, middle, spacing if to_right else -spacing)
    return left.reshape([-1 if axis == along else 1 for axis in range(3)]).expand(shape)


def _grid(geometry: Geometry, layout: _Layout, config: InputConfig) -> NetworkGrid:
    native_to_working = np.zeros((4, 4))
    native_to_working[3, 3] = 1.0
    covered = [slice(0, 0)] * 3
    spacing = []
    for axis, (source, flip, part) in enumerate(zip(layout.axes.source, layout.axes.flipped, layout.crop, strict=True)):
        length, count = geometry.shape[source], part.stop - part.start
        scale = layout.shape[axis] / count
        # Voxel centres: working + 0.5 = (oriented - start + 0.5) * scale; oriented = native, or counted from the end.
        native_to_working[axis, source] = -scale if flip else scale
        first = length - 1 if flip else 0
        native_to_working[axis, 3] = (first - part.start + 0.5) * scale - 0.5
        covered[source] = slice(length - part.stop, length - part.start) if flip else part
        spacing.append(layout.spacing[axis] / scale)
    return NetworkGrid(
        geometry,
        layout.shape,
        (spacing[0], spacing[1], spacing[2]),
        native_to_working,
        coarse_axis(config.spacing_mm, layout.spacing, config.anisotropy),
        (covered[0], covered[1], covered[2]),
    )
