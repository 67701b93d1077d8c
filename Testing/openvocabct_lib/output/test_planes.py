from __future__ import annotations

import numpy as np
import pytest

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output import CroppedMask
from OpenVocabCTLib.output.planes import (
    AXIAL,
    CORONAL,
    PLANES,
    SAGITTAL,
    AnatomicalView,
    Plane,
    display_window,
    largest_slice,
    scale_bar,
    to_grey,
)
from Testing.openvocabct_lib.output.output_cases import ORIENTATIONS, SHAPE, box_mask, grid

EVERYWHERE = [grid(codes) for codes in ORIENTATIONS] + [grid(codes, turn=0.4) for codes in ("LPS", "RAS", "PIR", "SLA")]
# LPS axis and sign of each letter, written here independently of the code.
TOWARDS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def coordinates(geometry: Geometry) -> np.ndarray:
    """LPS coordinates of every voxel, (3, K, J, I)."""
    k, j, i = np.indices(geometry.shape)
    affine = geometry.affine_lps()
    return np.einsum("ab,bkji->akji", affine[:3, :3], np.stack([i, j, k])) + affine[:3, 3][:, None, None, None]


@pytest.mark.parametrize("geometry", EVERYWHERE, ids=lambda g: f"{g.axis_codes()}{'-oblique' * g.is_oblique}")
@pytest.mark.parametrize("plane", PLANES, ids=lambda p: p.name)
def test_pictures_run_towards_their_letters(geometry: Geometry, plane: Plane) -> None:
    view = AnatomicalView.of(geometry)
    pictures = [plane.take(view.array(axis), 2) for axis in coordinates(geometry)]
    left, right, top, bottom = plane.letters
    for letter, step in ((left, (0, -1)), (right, (0, 1)), (top, (-1, 0)), (bottom, (1, 0))):
        axis, sign = TOWARDS[letter]
        along = np.diff(pictures[axis], axis=0 if step[0] else 1) * sum(step) * sign
        assert (along > 0).all(), f"{letter} is not where {plane.name} slices say"


def test_the_radiological_convention() -> None:
    assert AXIAL.letters == ("R", "L", "A", "P")
    assert CORONAL.letters == ("R", "L", "S", "I")
    assert SAGITTAL.letters == ("A", "P", "S", "I")


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_in_view_order_is_the_whole_mask_in_view_order(codes: str) -> None:
    mask = box_mask(SHAPE, (1, 2, 3), (3, 9, 7))
    mask[1, 2, 3] = False
    view = AnatomicalView.of(grid(codes))
    np.testing.assert_array_equal(view.mask(CroppedMask.from_full(mask)).full(), view.array(mask))
    assert view.shape == view.array(mask).shape


def test_the_view_is_no_copy() -> None:
    array = np.zeros(SHAPE)
    assert np.shares_memory(AnatomicalView.of(grid("PIR")).array(array), array)


def test_spacing_follows_the_axes() -> None:
    i, j, k = grid().spacing
    assert AnatomicalView.of(grid("LPS")).spacing == (k, j, i)
    assert AnatomicalView.of(grid("SRA")).spacing == (i, k, j)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_slices_say_where_they_are_in_ras(codes: str) -> None:
    # Voxel (0, 0, 0) lies at right 10, posterior 20, inferior 30 mm.
    geometry = grid(codes, spacing=(1.0, 1.0, 1.0), origin=(-10.0, 20.0, -30.0))
    view = AnatomicalView.of(geometry)
    corner = CroppedMask.from_full(box_mask(SHAPE, (0, 0, 0), (1, 1, 1)))
    start = view.mask(corner).start
    positions = [view.position(plane, start[plane.normal]) for plane in PLANES]
    assert positions == ["I 30 mm", "P 20 mm", "R 10 mm"]


def test_the_largest_slice_and_of_several_the_middle_one() -> None:
    mask = box_mask((9, 9, 9), (1, 2, 3), (8, 5, 4))
    mask[3, 2:7, 3:6] = True
    cropped = CroppedMask.from_full(mask)
    assert largest_slice(cropped, 0) == 3
    assert largest_slice(cropped, 2) == 3
    plain = CroppedMask.from_full(box_mask((9, 9, 9), (1, 2, 3), (8, 5, 4)))
    assert [largest_slice(plain, axis) for axis in range(3)] == [4, 3, 3]


@pytest.mark.parametrize(
    ("mean", "name"),
    [(None, "soft tissue"), (-100.0, "soft tissue"), (-401.0, "lung"), (250.0, "soft tissue"), (251.0, "bone")],
)
def test_windows(mean: float | None, name: str) -> None:
    assert display_window(mean)[0] == name


def test_grey_values() -> None:
    hu = np.array([-3024, -160, 40, 240, 3071], dtype=np.int16)
    assert to_grey(hu, 400, 40).tolist() == [0, 0, 128, 255, 255]
    assert to_grey(hu.astype(np.float32), 400, 40).dtype == np.uint8


@pytest.mark.parametrize(("width", "bar"), [(500, 50), (84, 50), (80, 20), (20, 10), (1.5, 1)])
def test_the_scale_bar_fits(width: float, bar: float) -> None:
    assert scale_bar(width) == bar
