"""Orientation, crop, side and normalisation of the input of a network with fixed classes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from OpenVocabCTLib import CTVolume
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.tables.preprocessing import (
    coarse_axis,
    network_axes,
    nonzero_box,
    normalised,
    prepare,
    resampled,
)
from OpenVocabCTLib.models.tables import InputConfig

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def geometry_of(order: tuple[int, ...], signs: tuple[int, ...], shape: tuple[int, int, int]) -> Geometry:
    """Axes I, J, K along the LPS axes that ``order`` names, in the direction that ``signs`` gives."""
    direction = np.zeros((3, 3))
    for axis, (lps, sign) in enumerate(zip(order, signs, strict=True)):
        direction[lps, axis] = sign
    return Geometry(shape, (2.0, 2.5, 3.0), (0.0, 0.0, 0.0), tuple(direction.ravel()))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_is_turned_to_ras_and_left_stays_left(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    shape = (24, 26, 28)
    grid = geometry_of(order, signs, shape)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)[..., ::-1]  # (I, J, K)
    lps = index @ grid.affine_lps()[:3, :3].T
    axes = network_axes(grid, InputConfig(orientation="RAS"))
    for axis, (name, value) in enumerate(zip("SAR", (lps[..., 2], -lps[..., 1], -lps[..., 0]), strict=True)):
        assert (np.diff(axes.orient(value), axis=axis) > 0).all(), name
    hu = np.full(shape, -1000, np.int16)
    hu[2:-2, 2:-2, 2:-2] = 40
    hu[5:-5, 6:-6, 7:-7] = 400
    for orientation in ("RAS", "stored"):
        config = InputConfig(orientation=orientation, spacing_mm=(3.0, 3.0, 3.0), patch=(8, 8, 8))  # type: ignore[arg-type]
        image, working, left = prepare(CTVolume.from_array(hu, grid), config)
        assert left.shape == image.shape == working.shape
        to_native = np.linalg.inv(working.native_to_working)
        corner = np.array(
            [(d, h, w, 1.0) for d in (0, image.shape[0] - 1) for h in (1, 6) for w in (0, image.shape[2] - 1)]
        )
        native = (corner @ to_native.T)[:, :3]
        x = native[:, ::-1] @ grid.affine_lps()[0, :3]  # mm to the patient's left
        middle = (np.array(shape[::-1]) - 1) / 2 @ grid.affine_lps()[0, :3]
        for place, mm in zip(corner.astype(int), x - middle, strict=True):
            assert abs(mm) < 3.0 or np.sign(left[tuple(place[:3])].item()) == np.sign(mm)


def test_crop_normalisation_and_the_coarse_axis() -> None:
    array = np.zeros((6, 7, 8), np.int16)
    assert nonzero_box(array) == (slice(0, 6), slice(0, 7), slice(0, 8))
    array[2:4, 3, 5:7] = -3
    assert nonzero_box(array) == (slice(2, 4), slice(3, 4), slice(5, 7))
    values = np.array([-2000.0, 0.0, 500.0], np.float32)
    ct = InputConfig(scheme="ct", low=-500.0, high=400.0, mean=10.0, deviation=5.0)
    assert np.allclose(normalised(values.copy(), ct), [-102.0, -2.0, 78.0])
    score = normalised(values.copy(), InputConfig(scheme="zscore"))
    assert abs(score.mean()) < 1e-6 and score.std() == pytest.approx(1.0)
    assert coarse_axis((9.0, 1.0, 1.0), (1.0, 1.0, 1.0), 3.0) == 0
    assert coarse_axis((1.0, 1.0, 1.0), (2.0, 2.0, 9.0), 3.0) == 2
    assert coarse_axis((1.0, 9.0, 9.0), (1.0, 1.0, 1.0), 3.0) is None
    assert coarse_axis((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), 3.0) is None


@pytest.mark.parametrize("order", [1, 3])
def test_resampling_is_that_of_a_volume_at_once(order: int) -> None:
    image = np.random.default_rng(0).normal(size=(9, 11, 10)).astype(np.float32)
    shape = (14, 7, 13)
    factors = np.divide(shape, image.shape)
    expected = ndimage.zoom(image.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    assert np.allclose(resampled(image, shape, order, None), expected.clip(image.min(), image.max()), atol=1e-5)
