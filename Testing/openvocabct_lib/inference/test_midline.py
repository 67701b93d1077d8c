from __future__ import annotations

import numpy as np
import pytest
import torch

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.grid import to_working, working_grid
from OpenVocabCTLib.inference.midline import RAMP_MM, cut_sides, leftness, midline
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import phantoms


@pytest.mark.parametrize("geometry", phantoms.all_axis_geometries()[::7], ids=lambda g: g.axis_codes())
def test_the_middle_of_the_phantom_is_at_zero_mm(geometry: phantoms.Geometry) -> None:
    grid = working_grid(geometry, 3.0)
    middle = midline(to_working(phantoms.volume_on(geometry).array, grid))
    # The phantom is centred at 0 mm, and so is its grid.
    assert middle == pytest.approx((grid.shape[2] - 1) / 2, abs=0.6)


def test_an_off_centre_patient_has_an_off_centre_middle() -> None:
    hu = torch.full((20, 40, 100), -1000.0)
    hu[:, 10:30, 50:91] = 40.0
    assert midline(hu) == pytest.approx(70.0)


def test_lungs_and_a_raised_arm_do_not_move_the_middle() -> None:
    hu = torch.full((30, 40, 121), -1000.0)
    hu[:, 5:35, 30:91] = 40.0
    hu[5:25, 10:30, 35:55] = -850.0  # one lung larger than the other
    hu[5:25, 10:30, 70:85] = -850.0
    hu[:4, 15:25, 95:110] = 40.0
    assert midline(hu) == pytest.approx(60.0, abs=0.5)


def test_without_a_patient_the_middle_is_that_of_the_scan() -> None:
    assert midline(torch.full((4, 4, 11), -1000.0)) == 5.0


def test_left_is_positive_and_the_ramp_is_as_wide_as_it_says() -> None:
    values = leftness(torch.arange(101), 50.0, 3.0)
    assert values[0] == 1.0
    assert values[50] == 0.0
    assert values[100] == -1.0
    assert values[45] == pytest.approx(15.0 / RAMP_MM)


def part_of(volume: CTVolume, low_mm: float, high_mm: float) -> CTVolume:
    """What lies between two places along the patient's left, however the grid is stored."""
    geometry = volume.geometry
    axis = next(n for n, code in enumerate(geometry.axis_codes()) if code in "LR")
    index = np.zeros((geometry.shape[2 - axis], 4))
    index[:, axis], index[:, 3] = np.arange(len(index)), 1.0
    kept = np.flatnonzero(
        np.abs((index @ geometry.affine_lps().T)[:, 0] - (low_mm + high_mm) / 2) < (high_mm - low_mm) / 2
    )
    array = np.ascontiguousarray(volume.array.take(kept, 2 - axis))
    affine = geometry.affine_lps()
    affine[:3, 3] = (affine @ index[kept[0]])[:3]
    return CTVolume.from_array(array, Geometry.from_affine_lps(affine, array.shape))


@pytest.mark.parametrize("geometry", phantoms.all_axis_geometries()[::5], ids=lambda g: g.axis_codes())
def test_a_scan_that_ends_within_the_patient_says_on_which_side(geometry: Geometry) -> None:
    whole = phantoms.volume_on(geometry)
    assert cut_sides(whole) == ()
    assert cut_sides(part_of(whole, -80, 55)) == (), "a flank outside of the field of view says nothing"
    assert cut_sides(part_of(whole, -80, 10)) == ("left",)
    assert cut_sides(part_of(whole, -20, 80)) == ("right",)
    assert cut_sides(part_of(whole, -30, 30)) == ("right", "left")


def test_a_patient_who_is_cut_off_by_a_mask_is_seen_too() -> None:
    whole = phantoms.volume_on(phantoms.axis_geometry((0, 1, 2), (1, 1, 1)))
    array = whole.array.copy()
    array[:, :, 60:] = -1000
    array[10:13, 30:36, 80] = 40  # noise
    assert cut_sides(CTVolume.from_array(array, whole.geometry)) == ("left",)


def test_an_oblique_scan_that_ends_within_the_patient_says_so_too() -> None:
    whole = phantoms.volume_on(phantoms.oblique_geometry((4, -3, 8)))
    assert cut_sides(whole) == ()
    array = np.ascontiguousarray(whole.array[:, :, :50])
    grid = whole.geometry
    cut = CTVolume.from_array(array, Geometry(array.shape, grid.spacing, grid.origin, grid.direction))
    assert cut_sides(cut) == ("left",)


def test_a_scan_without_a_patient_cuts_none_off() -> None:
    geometry = phantoms.axis_geometry((0, 1, 2), (1, 1, 1))
    assert cut_sides(CTVolume(np.full(geometry.shape, -1000, np.int16), geometry)) == ()
