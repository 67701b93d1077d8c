"""Random geometry and intensity changes of a training patch, in torch on the working grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from OpenVocabCTLib.inference.grid import AIR_HU, MAX_HU

MAX_PACKED_LABELS = 24  # float32 holds integers up to 2**24 exactly


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes.

    Attributes:
        rotation_degrees: largest rotation about each of the axes S, A, R.
        scale: smallest and largest zoom.
        spatial_probability: chance that a patch is rotated and scaled at all.
        anisotropy_probability: chance of imitating thick slices along a random axis.
        max_slice_voxels: thickest imitated slice, in working voxels.
        noise_hu: largest standard deviation of added noise.
        shift_hu: largest shift of all values.
        contrast: smallest and largest factor on values around 0 HU.
        elastic_mm: standard deviation of the displacement of the control points of an elastic deformation; 0 for none.
        elastic_cell_mm: distance of its control points.
        elastic_probability: chance that a patch is deformed elastically.
    """

    rotation_degrees: tuple[float, float, float] = (15.0, 10.0, 15.0)
    scale: tuple[float, float] = (0.8, 1.25)
    spatial_probability: float = 0.7
    anisotropy_probability: float = 0.25
    max_slice_voxels: float = 4.0
    noise_hu: float = 40.0
    shift_hu: float = 20.0
    contrast: tuple[float, float] = (0.9, 1.1)
    elastic_mm: float = 0.0
    elastic_cell_mm: float = 64.0
    elastic_probability: float = 0.5


def rotation_matrix(degrees: Sequence[float]) -> np.ndarray:
    """3x3 rotation about the axes S, A, R, in turn.

    It maps patch offsets to block offsets, so the patient appears turned the other way, as by ``np.rot90`` with k=-1.
    """
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result


def random_matrix(
    config: AugmentationConfig, generator: np.random.Generator, voxel_mm: Sequence[float] = (1.0, 1.0, 1.0)
) -> np.ndarray:
    """Random 3x3 from patch offsets to block offsets, in voxels about the centre; often the identity.

    Args:
        config: ranges.
        generator: of the randomness.
        voxel_mm: voxel size along (S, A, R), so that the patient is turned and not sheared.
    """
    if generator.random() >= config.spatial_probability:
        return np.eye(3)
    degrees = (generator.uniform(-1, 1, 3) * np.asarray(config.rotation_degrees)).tolist()
    zoom = np.exp(generator.uniform(*np.log(config.scale))) * np.exp(generator.uniform(-0.05, 0.05, 3))
    size = np.asarray(voxel_mm)
    in_voxels: np.ndarray = rotation_matrix(degrees) @ np.diag(zoom) * size[None, :] / size[:, None]
    return in_voxels


def random_displacement(
    config: AugmentationConfig,
    generator: np.random.Generator,
    size: tuple[int, int, int],
    voxel_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor | None:
    """Smooth random displacement of every voxel of a patch, linear between independent control points.

    Displacements are cut off at two standard deviations: where control points are more than twelve of them apart, no
    tissue is ever folded.

    Args:
        config: ranges.
        generator: of the randomness; not asked where there is no elastic deformation at all.
        size: patch size.
        voxel_mm: voxel size along (S, A, R).

    Returns:
        (3, D, H, W) float32 offsets along (S, A, R) in block voxels, or None for no deformation.
    """
    if not config.elastic_mm or generator.random() >= config.elastic_probability:
        return None
    voxel = np.asarray(voxel_mm)
    points = np.maximum(2, np.ceil(np.asarray(size) * voxel / config.elastic_cell_mm).astype(int) + 1)
    moves = generator.standard_normal((3, *points)).clip(-2.0, 2.0) * config.elastic_mm / voxel[:, None, None, None]
    control = torch.from_numpy(moves.astype(np.float32))
    return F.interpolate(control[None], size=size, mode="trilinear", align_corners=True)[0]


def on_voxels(centre: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The nearest centre for which a patch that is neither rotated nor scaled takes voxels as they are.

    Args:
        centre: (3,) index, not necessarily whole.
        size: patch size; the middle of an even number of voxels lies between two of them.
    """
    middle = (np.asarray(size) - 1) / 2.0
    return np.round(centre - middle) + middle


def sample_patch(
    image: np.ndarray,
    labels: np.ndarray,
    centre: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int, int],
    displacement: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cut a (rotated, scaled, deformed) patch.

    Args:
        image: (S, A, R) HU block of the case.
        labels: (P, S, A, R) uint8 0/1 of the same block, P at most ``MAX_PACKED_LABELS``.
        centre: (3,) index in the block at the patch's centre.
        matrix: 3x3 from patch offsets to block offsets.
        size: patch size.
        displacement: (3, D, H, W) further offsets in block voxels, see ``random_displacement``.

    Returns:
        (D, H, W) float32 HU with air outside the block, and (P, D, H, W) bool.

    Raises:
        ValueError: there are too many labels.
    """
    if labels.shape[0] > MAX_PACKED_LABELS:
        raise ValueError(f"at most {MAX_PACKED_LABELS} labels a patch, not {labels.shape[0]}")
    # One nearest-neighbour pass over bits serves all labels.
    bits = np.zeros(image.shape, np.float32)
    for index, plane in enumerate(labels):
        bits += plane.astype(np.float32) * float(1 << index)
    shape = np.asarray(image.shape, float)
    half = np.asarray(size) / 2.0
    # affine_grid works in normalised (x, y, z) coordinates of align_corners=False.
    to_source = np.eye(4)
    to_source[:3, :3] = matrix * half[None, :] * 2.0 / shape[:, None]
    to_source[:3, 3] = (2.0 * np.asarray(centre) + 1.0) / shape - 1.0
    theta = torch.from_numpy(to_source[[2, 1, 0]][:, [2, 1, 0, 3]]).float()[None]
    grid = F.affine_grid(theta, [1, 1, *size], align_corners=False)
    if displacement is not None:
        # The grid's last axis is (x, y, z), which is (R, A, S).
        grid = grid + (displacement.flip(0).movedim(0, -1) * torch.tensor(2.0 / shape[::-1].copy()).float())[None]
    hu = F.grid_sample(torch.from_numpy(image).float()[None, None] - AIR_HU, grid, align_corners=False)[0, 0] + AIR_HU
    packed = F.grid_sample(torch.from_numpy(bits)[None, None], grid, mode="nearest", align_corners=False)[0, 0].long()
    planes = [(packed >> index & 1).bool() for index in range(labels.shape[0])]
    return hu, torch.stack(planes) if planes else torch.zeros(0, *size, dtype=torch.bool)


def patch_positions(
    centre: np.ndarray, matrix: np.ndarray, size: tuple[int, int, int], displacement: Tensor | None = None
) -> Tensor:
    """Where the voxels of a patch lie along the patient's R axis.

    Args:
        centre: (3,) index in the case at the patch's centre.
        matrix: 3x3 from patch offsets to case offsets, see ``random_matrix``.
        size: patch size.
        displacement: (3, D, H, W) further offsets in case voxels, see ``random_displacement``.

    Returns:
        (D, H, W) float32 indices along the last axis of the case.
    """
    offsets = [torch.arange(side) - (side - 1) / 2.0 for side in size]
    along = [float(weight) * offset for weight, offset in zip(matrix[2], offsets, strict=True)]
    position = float(centre[2]) + along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
    return position if displacement is None else position + displacement[2]


def thick_slices(hu: Tensor, axis: int, voxels: float) -> Tensor:
    """Average (D, H, W) along one axis to slices of ``voxels`` voxels and interpolate back."""
    size = list(hu.shape)
    size[axis] = max(2, round(size[axis] / voxels))
    thin = F.interpolate(hu[None, None], size=size, mode="area")
    return F.interpolate(thin, size=hu.shape, mode="trilinear", align_corners=False)[0, 0]


def change_intensity(hu: Tensor, config: AugmentationConfig, generator: np.random.Generator) -> Tensor:
    """Thick slices, contrast, shift and noise; (D, H, W) HU to the same, within what a CT scanner can mean."""
    if generator.random() < config.anisotropy_probability:
        axis = int(generator.choice(3, p=(0.7, 0.15, 0.15)))
        hu = thick_slices(hu, axis, generator.uniform(1.3, config.max_slice_voxels))
    if generator.random() < 0.5:
        hu = hu * generator.uniform(*config.contrast) + generator.uniform(-1, 1) * config.shift_hu
    if generator.random() < 0.4:
        seed = torch.Generator().manual_seed(int(generator.integers(2**31)))
        hu = hu + torch.randn(hu.shape, generator=seed) * (generator.random() * config.noise_hu)
    return hu.clamp(AIR_HU, MAX_HU)
