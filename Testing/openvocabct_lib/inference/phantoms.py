"""A lopsided phantom on any grid, for tests of geometry: what is left must stay left."""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.volume import CTVolume

SPACING = (1.5, 2.0, 2.5)  # mm along L, P, S: anisotropic on purpose
SIZE = (96, 72, 56)
FAT, MUSCLE, LEFT_HU, RIGHT_HU = -100, 40, 700, 300


def patient_hu(points_lps: np.ndarray) -> np.ndarray:
    """HU at (..., 3) LPS mm: a body with a dense ball on the left and a smaller, softer one on the right, in front."""
    x, y, z = np.moveaxis(points_lps, -1, 0)
    hu = np.full(x.shape, -1000, np.int16)
    body = (x / 60) ** 2 + (y / 60) ** 2 < 1
    hu[body] = FAT
    hu[body & (y > 30)] = MUSCLE  # posterior
    hu[(x - 30) ** 2 + (y + 10) ** 2 + (z - 15) ** 2 < 18**2] = LEFT_HU
    hu[(x + 30) ** 2 + (y + 15) ** 2 + (z + 20) ** 2 < 14**2] = RIGHT_HU
    return hu


def volume_on(geometry: Geometry) -> CTVolume:
    """The phantom sampled on a grid."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    points = np.stack([i, j, k, np.ones_like(i)], -1) @ np.asarray(geometry.affine_lps()).T
    return CTVolume.from_array(patient_hu(points[..., :3]), geometry)


def _centred(direction: np.ndarray, size: tuple[int, int, int], spacing: tuple[float, ...]) -> Geometry:
    middle = direction @ np.diag(spacing) @ ((np.array(size) - 1) / 2)
    return Geometry(
        shape=size[::-1], spacing=tuple(spacing), origin=tuple(-middle), direction=tuple(direction.ravel().tolist())
    )


def axis_geometry(permutation: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    """Grid whose index axes run along patient axes in this order and direction; always the same physical box."""
    direction = np.zeros((3, 3))
    for axis, (patient, sign) in enumerate(zip(permutation, signs, strict=True)):
        direction[patient, axis] = sign
    size = tuple(SIZE[p] for p in permutation)
    return _centred(direction, (size[0], size[1], size[2]), tuple(SPACING[p] for p in permutation))


def all_axis_geometries() -> list[Geometry]:
    """Every one of the 48 ways to store the same box."""
    return [
        axis_geometry(permutation, signs)
        for permutation in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]


def oblique_geometry(degrees: tuple[float, float, float], signs: tuple[int, int, int] = (1, 1, 1)) -> Geometry:
    """Grid turned about the patient's axes, optionally flipped."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees))
    direction = np.array(transform.GetMatrix()).reshape(3, 3) @ np.diag(signs)
    return _centred(direction, SIZE, SPACING)
