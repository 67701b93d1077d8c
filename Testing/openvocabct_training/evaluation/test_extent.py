from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openvocabct_training.evaluation.extent import long_axis, within_extent
from openvocabct_training.evaluation.metrics import mask_dice, score
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from Testing.openvocabct_lib.inference.phantoms import axis_geometry

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in ((1, 1, 1), (-1, 1, -1), (1, -1, 1), (-1, -1, -1))
]


def cylinder(geometry: Geometry, low_mm: float, high_mm: float) -> CroppedMask:
    """A cord: everything within 10 mm of the S axis, between two heights."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), -1)[..., ::-1]
    affine = geometry.affine_lps()
    x, y, z = np.moveaxis(indices @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    return CroppedMask.from_full((np.hypot(x, y) < 10) & (z > low_mm) & (z < high_mm))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_what_goes_on_beyond_the_drawn_slices_does_not_count(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    geometry = axis_geometry(order, signs)
    reference, answer = cylinder(geometry, -20, 20), cylinder(geometry, -60, 60)
    scored = score(reference, answer, geometry, 2.0)
    assert scored["dice_in_extent"] == 1.0
    assert scored["dice"] is not None and scored["dice"] < 0.6
    # What is missing counts as ever.
    assert score(answer, reference, geometry, 2.0)["dice_in_extent"] == pytest.approx(scored["dice"])


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_the_long_axis_is_the_patients(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    axis, up = long_axis(axis_geometry(order, signs))
    column = order.index(2)
    assert (axis, up) == (2 - column, signs[column] > 0)


def test_a_tilted_scan_is_cut_along_its_slices() -> None:
    tilt = np.radians(20)
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    geometry = Geometry((20, 20, 20), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0), tuple(rotation.ravel().tolist()))
    whole = np.zeros((20, 20, 20), bool)
    whole[:, 8:12, 8:12] = True
    part = whole.copy()
    part[:5] = part[15:] = False
    cut = within_extent(CroppedMask.from_full(whole), CroppedMask.from_full(part), geometry)
    np.testing.assert_array_equal(cut.full(), part)


def test_an_answer_somewhere_else_has_nothing_left() -> None:
    geometry = axis_geometry((0, 1, 2), (1, 1, 1))
    reference = cylinder(geometry, -20, 0)
    for low, high in ((5, 60), (-60, -30)):
        cut = within_extent(cylinder(geometry, low, high), reference, geometry)
        assert cut.count == 0 and cut.shape == reference.shape
        assert mask_dice(reference, cut) == 0.0


@given(seed=st.integers(0, 10_000))
def test_is_what_indexing_whole_arrays_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    geometry = axis_geometry((1, 2, 0), (1, -1, 1))
    axis, _ = long_axis(geometry)
    small = Geometry((6, 7, 5), geometry.spacing, geometry.origin, geometry.direction)
    reference, answer = (random.random(small.shape) < share for share in (0.01, 0.05))
    reference[tuple(random.integers(small.shape))] = True
    rows = np.flatnonzero(reference.any(tuple(n for n in range(3) if n != axis)))
    expected = answer.copy()
    outside = np.ones(small.shape[axis], bool)
    outside[rows[0] : rows[-1] + 1] = False
    expected[tuple(outside if n == axis else slice(None) for n in range(3))] = False
    cut = within_extent(CroppedMask.from_full(answer), CroppedMask.from_full(reference), small)
    np.testing.assert_array_equal(cut.full(), expected)
