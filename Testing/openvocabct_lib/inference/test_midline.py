from __future__ import annotations

import pytest
import torch

from OpenVocabCTLib.inference.grid import to_working, working_grid
from OpenVocabCTLib.inference.midline import RAMP_MM, leftness, midline
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
