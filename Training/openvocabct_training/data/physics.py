"""Labels that Hounsfield units give for free: body, bones, adipose tissue, left and right lung.

All functions work on the working grid: arrays (S, A, R) of HU, cubic voxels, the patient's right at high indices of
the last axis.  A label that the rules cannot decide is ``None``, which means "not annotated".  What leaves the scan is
taken to go on behind its border: a bone that is cut by the last slice is still bone there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BODY_HU = -300.0
LUNG_HU = -500.0
BONE_HU = 200.0
FAT_HU = (-190.0, -30.0)
LUNG_MIN_ML = 100.0
LUNG_ABSENT_ML = 20.0
BONE_MIN_ML = 0.5


@dataclass(frozen=True)
class Lungs:
    """Left and right lung; both ``None`` when the rules cannot tell, both empty when there is no lung."""

    left: np.ndarray | None
    right: np.ndarray | None


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected components (faces) and their voxel counts; index 0 is the background."""
    labels, _ = ndimage.label(mask)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return labels, counts


def _close(mask: np.ndarray) -> np.ndarray:
    """Fill gaps of a voxel or two; SciPy's closing alone would clear the outermost voxels of the scan."""
    return ndimage.binary_closing(mask) | mask


def _open(mask: np.ndarray) -> np.ndarray:
    """Drop what is thinner than three voxels; the border is repeated, so the outermost voxels are judged alike."""
    return ndimage.binary_opening(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1]


def body(hu: np.ndarray) -> np.ndarray:
    """Largest connected tissue, its air-filled cavities filled slice by slice."""
    labels, counts = _components(_open(hu > BODY_HU))
    if counts.size < 2:
        return np.zeros(hu.shape, bool)
    tissue = labels == int(counts.argmax())
    # Slice by slice: lungs and airways are open where the scan ends.
    return np.stack([ndimage.binary_fill_holes(plane) for plane in tissue])


def bones(hu: np.ndarray, inside: np.ndarray, voxel_ml: float) -> np.ndarray:
    """Dense tissue inside the body, specks removed.  Contrast-filled vessels pass this test: see the model card."""
    labels, counts = _components((hu > BONE_HU) & inside)
    keep = counts * voxel_ml >= BONE_MIN_ML
    return _close(keep[labels]) & inside


def adipose_tissue(hu: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fat by its HU, away from the skin and from air, where partial volume gives the same numbers."""
    candidate = (hu > FAT_HU[0]) & (hu < FAT_HU[1]) & ndimage.binary_erosion(inside, border_value=1)
    return _open(candidate & ~ndimage.binary_dilation(hu < LUNG_HU))


def lungs(hu: np.ndarray, inside: np.ndarray, voxel_ml: float) -> Lungs:
    """Two large low-density components on either side of the body's midline.

    Lungs that touch are parted by erosion and regrown.  The main airways are dropped with the erosion or stay with
    the lung they lie in.
    """
    air = (hu < LUNG_HU) & inside
    if air.sum() * voxel_ml < LUNG_ABSENT_ML:
        empty = np.zeros(hu.shape, bool)
        return Lungs(empty, empty)
    midline = float(np.mean(np.nonzero(inside)[2]))
    for iterations in (0, 1, 2, 3):
        core = ndimage.binary_erosion(air, iterations=iterations) if iterations else air
        labels, counts = _components(core)
        order = np.argsort(counts)[::-1][:2]
        if len(order) < 2 or counts[order[1]] * voxel_ml < LUNG_MIN_ML / 2:
            continue
        centres = [ndimage.center_of_mass(labels == index)[2] for index in order]
        if (centres[0] - midline) * (centres[1] - midline) >= 0:
            continue
        left_first = centres[0] < centres[1]
        left_id, right_id = (order[0], order[1]) if left_first else (order[1], order[0])
        return _regrow(air, labels, int(left_id), int(right_id), iterations, voxel_ml)
    return Lungs(None, None)


def _regrow(
    air: np.ndarray, labels: np.ndarray, left_id: int, right_id: int, iterations: int, voxel_ml: float
) -> Lungs:
    """Both lungs from their cores: air within reach goes to the nearer core, vessels inside a lung are filled."""
    seeds = (labels == left_id) | (labels == right_id)
    if iterations:
        distance, nearest = ndimage.distance_transform_edt(~seeds, return_indices=True)
        owner = labels[tuple(nearest)]
        reach = air & (distance <= 1.8 * iterations)
    else:
        owner, reach = labels, seeds
    left, right = reach & (owner == left_id), reach & (owner == right_id)
    if min(left.sum(), right.sum()) * voxel_ml < LUNG_MIN_ML:
        return Lungs(None, None)
    filled = _close(left) & ~right
    return Lungs(filled, _close(right) & ~filled)
