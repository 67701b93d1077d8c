"""Header of a NIfTI-1 file: the affine at full precision and the length that the file must have.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.checks import SUBJECT
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import LPS_TO_RAS, Geometry
from OpenVocabCTLib.headers import GZIP_MAGIC, WRONG_NAME, Payload, check_spacing, decompress

HEADER_SIZE = 348
NIFTI2_HEADER_SIZE = 540
VOXEL_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}
FLOAT_TYPES = {16: "f4", 64: "f8"}
SEVERAL_NUMBERS_PER_VOXEL = (32, 128, 1792, 2048, 2304)  # complex, RGB, RGBA
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
PIXDIM_TOLERANCE = 1e-3
MINIMUM_COSINE = math.cos(math.radians(45))  # beyond, what one form calls left another one calls front or back


@dataclass(frozen=True)
class NiftiHeader:
    """What CTVolume needs of the header: grid, place of the voxels, notes for the user."""

    geometry: Geometry
    payload: Payload
    notes: tuple[str, ...]


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read and check the header of a .nii or .nii.gz file.

    The sform gives the affine when its code is set, else the qform, as in nibabel. ITK takes the spacing from pixdim
    and sometimes prefers the qform, so files where that changes left and right or sizes are refused.

    Raises:
        InputError: not NIfTI-1, not 3D, without orientation, or with contradictory voxel sizes or orientations.
    """
    head, compressed = _first_bytes(path)
    order = _byte_order(head)
    dim = struct.unpack_from(order + "8h", head, 40)
    datatype = struct.unpack_from(order + "h", head, 70)[0]
    if datatype in SEVERAL_NUMBERS_PER_VOXEL:
        raise InputError(
            f"{SUBJECT} has several numbers per voxel (colour or complex)", "give a CT in Hounsfield units"
        )
    if datatype not in VOXEL_BYTES:
        raise InputError(f"{SUBJECT} has voxels of an unknown type", "save it again as 16-bit integers")
    shape = _shape(dim)
    affine, notes = _affine_ras(head, order, shape)
    offset = int(struct.unpack_from(order + "f", head, 108)[0])
    size = offset + math.prod(shape) * VOXEL_BYTES[datatype]
    start = 0 if compressed else offset
    float_type = order + FLOAT_TYPES[datatype] if datatype in FLOAT_TYPES else ""
    payload = Payload(path, start, size - start, compressed, float_type, header=offset - start)
    return NiftiHeader(Geometry.from_affine_lps(LPS_TO_RAS @ affine, shape), payload, notes)


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    compressed = path.name.lower().endswith(".gz")
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == GZIP_MAGIC
        stream.seek(0)
        if is_gzip and not compressed:
            raise InputError(f"{SUBJECT} is compressed", "rename it to end in .nii.gz")
        if compressed and not is_gzip:
            raise InputError(f"{SUBJECT} is not a compressed NIfTI file", WRONG_NAME)
        head = b""
        for block in decompress(stream) if compressed else [stream.read(HEADER_SIZE)]:
            head += block
            if len(head) >= HEADER_SIZE:
                break
    return head[:HEADER_SIZE], compressed


def _byte_order(head: bytes) -> str:
    for order in "<>":
        if len(head) >= HEADER_SIZE:
            header_size = struct.unpack_from(order + "i", head)[0]
            if header_size == HEADER_SIZE and head[344:348] == b"n+1\0":
                return order
            if header_size == NIFTI2_HEADER_SIZE:
                raise InputError(f"{SUBJECT} is a NIfTI-2 file", "save it as NIfTI-1")
    raise InputError(f"{SUBJECT} is not a NIfTI file", WRONG_NAME)


def _shape(dim: tuple[int, ...]) -> tuple[int, int, int]:
    axes = dim[1 : 1 + max(dim[0], 0)]
    while len(axes) > 3 and axes[-1] == 1:
        axes = axes[:-1]
    if len(axes) != 3:
        raise InputError(f"{SUBJECT} is not one 3D image ({' x '.join(map(str, axes))})", "give one 3D CT")
    return axes[2], axes[1], axes[0]


def _affine_ras(head: bytes, order: str, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine (4, 4) from (i, j, k, 1) to RAS mm, and notes."""
    pixdim = np.array(struct.unpack_from(order + "8f", head, 76), dtype=float)
    check_spacing(pixdim[1:4])
    has_qform, has_sform = (code > 0 for code in struct.unpack_from(order + "2h", head, 252))
    if not (has_qform or has_sform):
        raise InputError(
            f"{SUBJECT} does not say which way is left", "write it again with its orientation (sform or qform)"
        )
    qform, sform = _qform(head, order, pixdim), np.eye(4)
    sform[:3] = np.array(struct.unpack_from(order + "12f", head, 280)).reshape(3, 4)
    notes: tuple[str, ...] = ()
    if has_sform:
        norms = np.linalg.norm(sform[:3, :3], axis=0)
        check_spacing(norms)
        if not np.allclose(norms, pixdim[1:4], rtol=PIXDIM_TOLERANCE):
            raise InputError(f"{SUBJECT} gives two different voxel sizes (sform and pixdim)", "write its header again")
    if has_sform and has_qform:
        notes = _compare_forms(sform, qform, shape)
    affine = sform if has_sform else qform
    if not np.isfinite(affine).all():
        raise InputError(f"{SUBJECT} has a position that is not a number", "write its header again")
    affine[:3] *= MM_PER_UNIT.get(head[123] & 7, 1.0)
    return affine, notes


def _compare_forms(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[str, ...]:
    """Refuse forms that name the axes differently; note it when they place a corner of the grid elsewhere."""
    lengths = np.linalg.norm(sform[:3, :3], axis=0) * np.linalg.norm(qform[:3, :3], axis=0)
    if np.any((sform[:3, :3] * qform[:3, :3]).sum(axis=0) < MINIMUM_COSINE * lengths):
        raise InputError(f"{SUBJECT} contradicts itself about the axes (sform, qform)", "write its header again")
    corners = np.array([(i, j, k, 1) for i in (0, shape[2]) for j in (0, shape[1]) for k in (0, shape[0])])
    distance = np.linalg.norm((sform - qform) @ corners.T, axis=0).max()
    if distance > np.linalg.norm(sform[:3, :3], axis=0).min() / 2:
        return (f"sform and qform differ by up to {distance:.1f} mm: sform used",)
    return ()


def _qform(head: bytes, order: str, pixdim: NDArray[Any]) -> NDArray[np.float64]:
    """Return the affine of the quaternion (b, c, d); pixdim[0] < 0 flips K."""
    b, c, d, x, y, z = struct.unpack_from(order + "6f", head, 256)
    # Rounding makes it longer than 1 at half a turn; left so, it would stretch the voxels.
    b, c, d = np.array((b, c, d)) / max(1.0, math.hypot(b, c, d))
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * pixdim[1:4] * (1, 1, -1 if pixdim[0] < 0 else 1)
    affine[:3, 3] = x, y, z
    return affine
