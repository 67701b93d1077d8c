from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import MRImageStorage, RLELossless, generate_uid
from scipy.spatial.transform import Rotation

from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom_series import AXIAL, SERIES, write_series, write_slice
from Testing.openvocabct_lib.volume_files import refusal

OTHER_SERIES = f"{SERIES}.7"


def world_phantom(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth HU at LPS mm (..., 3): a body in air with an off-centre dense ball, known everywhere."""
    x, y, z = np.moveaxis(points, -1, 0)
    body = 1040 / (1 + np.exp((np.hypot(x / 50, y / 35) - 1) * 12)) - 1000
    ball = 400 * np.exp(-((x - 12) ** 2 + (y + 8) ** 2 + (z - 10) ** 2) / 300)
    return np.asarray(body + ball)


def write_world(folder: Path, axes: NDArray[Any], step: Any, shape: tuple[int, int, int], **options: Any) -> None:
    """Write slices with the given row and column vectors whose first pixels are `step` apart, centred on 0."""
    spacing = 2.0
    rows, columns = shape[1:]
    grid = np.arange(columns)[None, :, None] * axes[0] + np.arange(rows)[:, None, None] * axes[1]
    half = (grid[-1, -1] * spacing + np.multiply(step, shape[0] - 1)) / 2
    for k in range(shape[0]):
        position = np.multiply(step, k) - half
        pixels = world_phantom(position + grid * spacing)
        write_slice(folder / f"{k:03d}", pixels, position, axes.ravel(), (spacing, spacing), **options)


def difference_from_world(volume: CTVolume) -> NDArray[np.float64]:
    """Return |HU - phantom| at every voxel that is inside the field that was scanned."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in volume.array.shape), indexing="ij")[::-1], axis=-1)
    points = indices @ volume.geometry.affine_lps()[:3, :3].T + volume.geometry.origin
    scanned = volume.array > -1023
    return np.asarray(np.abs(volume.array - world_phantom(points))[scanned])


# --- what is read -----------------------------------------------------------------------------------------------------


def test_slices_are_sorted_by_position_not_by_name(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ct_phantom())
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.array.dtype == np.int16
    assert volume.geometry.axis_codes() == "LPS"
    np.testing.assert_allclose(volume.geometry.spacing, (0.7, 0.8, 2.5))
    assert volume.geometry.origin == (-50, -40, 100)
    assert (volume.notes, volume.dicom_files, volume.resampled) == ((), tuple(paths), False)


def test_slices_written_from_head_to_feet(tmp_path: Path) -> None:
    write_series(tmp_path, ct_phantom(), step=(0, 0, -2.5))
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom()[::-1])
    np.testing.assert_allclose(volume.geometry.origin, (-50, -40, 80))


@pytest.mark.parametrize(
    ("orientation", "codes"),
    [
        (AXIAL, "LPS"),
        ((1, 0, 0, 0, 0, -1), "LIP"),  # coronal
        ((0, 1, 0, 0, 0, -1), "PIR"),  # sagittal; the normal points to the right
        ((-1, 0, 0, 0, -1, 0), "RAS"),  # prone
        ((1, 0, 0, 0, -1, 0), "LAI"),  # mirrored rows; the normal points to the feet
    ],
)
def test_orientations(orientation: Any, codes: str, tmp_path: Path) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    write_series(tmp_path, ct_phantom(), step=3 * normal, orientation=orientation)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.geometry.axis_codes() == codes
    assert volume.geometry.is_right_handed


def test_slope_and_intercept_of_every_slice(tmp_path: Path) -> None:
    for k, pixels in enumerate(ct_phantom()):
        options = {"slope": 1 + k % 2, "intercept": -1000 - 10 * k}
        write_slice(tmp_path / f"{k}", pixels, (0, 0, 3 * k), **options)
    volume = CTVolume.read(tmp_path)
    assert volume.array.dtype == np.int16
    assert np.abs(volume.array.astype(int) - ct_phantom()).max() <= 1  # slope 2 rounds odd numbers
    np.testing.assert_array_equal(volume.array[::2], ct_phantom()[::2])


def test_a_fractional_slope_gives_float32(tmp_path: Path) -> None:
    write_series(tmp_path, ct_phantom() + 0.5, slope=0.5, intercept=-1000.25)
    volume = CTVolume.read(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, ct_phantom() + 0.5, atol=0.251)


def test_unsigned_pixels_and_padding(tmp_path: Path) -> None:
    ct = np.maximum(ct_phantom(), -1024)
    write_series(tmp_path, ct, PixelRepresentation=0, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct)


def test_compressed_slices(tmp_path: Path) -> None:
    for k, pixels in enumerate(ct_phantom()):
        dataset = write_slice(tmp_path / f"{k}", pixels, (0, 0, k))
        dataset.compress(RLELossless)
        dataset.save_as(tmp_path / f"{k}", enforce_file_format=True)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct_phantom())


def test_subfolders_and_files_that_are_no_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "ST0" / "SE0", ct_phantom())
    (tmp_path / "DICOMDIR").write_bytes(b"x" * 200)
    (tmp_path / "report.txt").write_text("Dear colleague")
    (tmp_path / "empty").touch()
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM\2\0")
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("1 object of unknown modality left out", "2 files that are not DICOM left out")
    assert capfd.readouterr() == ("", "")


def test_positions_rounded_by_the_scanner_are_even(tmp_path: Path) -> None:
    for k, pixels in enumerate(ct_phantom()):
        write_slice(tmp_path / f"{k}", pixels, (0, 0, round(k * 1.25, 1)))
    volume = CTVolume.read(tmp_path)
    assert volume.notes == ()
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.geometry.spacing[2] == pytest.approx(1.25)


# --- duplicates, several series, localizers ---------------------------------------------------------------------------


def test_duplicate_slices_are_dropped(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ct_phantom())
    for path in paths[:2]:
        (tmp_path / f"copy of {path.name}").write_bytes(path.read_bytes())
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("2 duplicate slices dropped",)
    assert len(volume.dicom_files) == 9


def test_the_first_of_two_phases_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ct_phantom(seed=1) + 100, AcquisitionNumber=2, InstanceNumber=1)
    write_series(tmp_path / "b", ct_phantom(), AcquisitionNumber=1)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("9 other images at the same positions dropped (another phase?)",)


def write_acquisitions(folder: Path, ct: NDArray[Any], numbers: Sequence[int], **options: Any) -> None:
    """Write every slice with an acquisition number of its own."""
    for k, (pixels, number) in enumerate(zip(ct, numbers, strict=True)):
        place = (-50.0, -40.0, 100.0 + 2.5 * k)
        write_slice(folder / f"{k}", pixels, place, AcquisitionNumber=number, InstanceNumber=k + 1, **options)


@pytest.mark.parametrize("tell", ["AcquisitionNumber", "TemporalPositionIdentifier"])
@pytest.mark.parametrize("shift", [1.25, 0.5, -1.25])
def test_phases_between_the_slices_of_each_other_are_not_one_volume(tell: str, shift: float, tmp_path: Path) -> None:
    late = {"AcquisitionNumber": 1, "TemporalPositionIdentifier": 1} | {tell: 2}
    early = {"AcquisitionNumber": 1, "TemporalPositionIdentifier": 1}
    write_series(tmp_path / "a", ct_phantom(seed=1) + 100, origin=(-50, -40, 100 + shift), **late)
    write_series(tmp_path / "b", ct_phantom(), **early)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("9 other images of another acquisition between the slices dropped (another phase?)",)


def test_the_finer_of_two_phases_is_read_whole(tmp_path: Path) -> None:
    """Every second of its slices lies where the coarser, earlier one has one."""
    write_series(tmp_path / "a", ct_phantom()[::2] + 100, step=(0, 0, 5), AcquisitionNumber=1)
    write_series(tmp_path / "b", ct_phantom(), AcquisitionNumber=2)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("5 other images at the same positions dropped (another phase?)",)


@pytest.mark.parametrize(
    "numbers",
    [
        [1] * 4 + [2] * 5,  # two blocks
        list(range(1, 10)),  # one for every table position
        [1, 1, 1, 2, 2, 2, 3, 3, 3],
        [2, 2, 2, 2, 2, 1, 1, 1, 1],
        [1, 1, 1, 2, 2, 2, 2, 1, 1],  # a block in the gap of another
        [3, 1, 3, 3, 1, 3, 3, 1, 1],  # numbers that mean nothing
        [0] * 8 + [1],
    ],
)
def test_acquisitions_that_follow_each_other_are_one_volume(numbers: list[int], tmp_path: Path) -> None:
    write_acquisitions(tmp_path, ct_phantom(), numbers)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ()


def test_where_two_blocks_overlap_the_larger_one_is_taken(tmp_path: Path) -> None:
    ct = ct_phantom((18, 12, 15))
    write_series(tmp_path / "a", ct[:11], AcquisitionNumber=1)
    write_series(tmp_path / "b", ct[8:], origin=(-50, -40, 120), AcquisitionNumber=2)
    shifted = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(shifted.array, ct)
    assert shifted.notes == ("3 other images at the same positions dropped (another phase?)",)


def test_the_series_with_most_slices_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ct_phantom((5, 12, 15)), SeriesInstanceUID=OTHER_SERIES, SeriesNumber=1)
    write_series(tmp_path / "b", ct_phantom(), SeriesNumber=4)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("series 4 (9 slices) read, 1 other CT series left out",)


def test_of_equal_series_the_first_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ct_phantom(seed=1), SeriesInstanceUID=OTHER_SERIES, SeriesNumber=5)
    write_series(tmp_path / "b", ct_phantom(), SeriesNumber=4)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct_phantom())


def test_localizers_and_reformats_of_the_same_series_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "axial", ct_phantom())
    coronal = (1, 0, 0, 0, 0, -1)
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(tmp_path / "scout", ct_phantom()[:2], step=(0, 5, 0), orientation=coronal, ImageType=scout)
    assert CTVolume.read(tmp_path).notes == ("2 localizers left out",)
    write_series(tmp_path / "coronal", ct_phantom()[:3], step=(0, 5, 0), orientation=coronal)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == (
        "3 images of the same series left out: of another plane, size or spacing than the 9 that are read",
        "2 localizers left out",
    )


def test_the_rest_of_a_series_whose_gantry_was_tilted_half_way_is_named(tmp_path: Path) -> None:
    """It is no other series: a part of the head is missing in what is read."""
    write_series(tmp_path / "base", ct_phantom()[:6], orientation=(1, 0, 0, 0, 0.9613, 0.2756))
    write_series(tmp_path / "vertex", ct_phantom(), origin=(-50, -40, 120))
    other = {"SeriesInstanceUID": f"{SERIES}.7", "SeriesNumber": 5}
    write_series(tmp_path / "chest", ct_phantom()[:5], **other)
    assert CTVolume.read(tmp_path).notes == (
        "series 2 (9 slices) read, 1 other CT series left out",
        "6 images of the same series left out: of another plane, size or spacing than the 9 that are read",
    )


def test_images_without_a_position_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, ct_phantom())
    write_slice(tmp_path / "dose report", ct_phantom()[0], (0, 0, 0), ImagePositionPatient=None)
    write_slice(tmp_path / "broken", ct_phantom()[0], (0, 0, 0), ImageOrientationPatient=[1, 0, 0])
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("2 images without a position left out",)


# --- missing slices and gantry tilt -----------------------------------------------------------------------------------


def test_a_missing_slice_is_interpolated(tmp_path: Path) -> None:
    write_series(tmp_path, ct_phantom(), skip=(4,))
    volume = CTVolume.read(tmp_path)
    kept = [0, 1, 2, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(volume.array[kept], ct_phantom()[kept])
    mean = (ct_phantom()[3].astype(float) + ct_phantom()[5]) / 2
    assert np.abs(volume.array[4] - mean).max() <= 0.5
    assert volume.geometry.spacing[2] == pytest.approx(2.5)
    assert volume.notes == ("1 missing slice (2.50 to 5.00 mm): resampled to 2.50 mm",)
    assert volume.resampled
    assert len(volume.dicom_files) == 8


def test_two_missing_in_a_row_are_filled_and_three_are_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "two", ct_phantom(), skip=(4, 5))
    assert CTVolume.read(tmp_path / "two").notes == ("2 missing slices (2.50 to 7.50 mm): resampled to 2.50 mm",)
    write_series(tmp_path / "three", ct_phantom(), skip=(3, 4, 5))
    message = refusal(tmp_path / "three", capfd)
    assert "lacks slices (a gap of 10.0 mm where slices are 2.5 mm apart): export the whole series again" in message


def test_uneven_slices_lie_where_they_were_scanned(tmp_path: Path) -> None:
    """Slices of a linear ramp along z: linear interpolation has to reproduce it exactly."""
    heights = np.array([0, 2, 4, 6, 9, 12, 14, 16, 18.0])
    flat = np.where(ct_phantom()[0] > -500, 0, -1000)
    for k, z in enumerate(heights):
        write_slice(tmp_path / f"{k}", flat + 10 * z, (0, 0, z))
    volume = CTVolume.read(tmp_path)
    z = volume.geometry.origin[2] + volume.geometry.spacing[2] * np.arange(volume.array.shape[0])
    np.testing.assert_allclose(volume.array, flat + 10 * z[:, None, None], atol=0.51)
    assert "resampled to 2.00 mm" in volume.notes[0]


@pytest.mark.parametrize("degrees", [-20, 5, 12, 30])
def test_gantry_tilt_is_corrected(degrees: int, tmp_path: Path) -> None:
    """Tilted planes, table moving along z: every voxel has to show the phantom at its own LPS position."""
    tilt = math.radians(degrees)
    axes = np.array([[1, 0, 0], [0, math.cos(tilt), math.sin(tilt)]])
    write_world(tmp_path, axes, (0, 0, 3.0), (20, 50, 60))
    volume = CTVolume.read(tmp_path)
    assert volume.notes == (f"gantry tilt {abs(degrees):.1f} degrees corrected",)
    assert volume.resampled
    assert volume.geometry.spacing == pytest.approx((2, 2, 3 * math.cos(tilt)))
    np.testing.assert_allclose(volume.geometry.affine_lps()[:3, 1], 2 * axes[1], atol=1e-6)
    assert volume.geometry.is_oblique
    difference = difference_from_world(volume)
    assert difference.size >= 20 * 50 * 60 * 0.98  # the whole field is kept
    assert np.percentile(difference, 99) < 25  # the steepest edge falls by 90 HU a mm
    assert difference.mean() < 2


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.tuples(*[st.floats(-40, 40)] * 3), st.tuples(*[st.floats(-1.5, 1.5)] * 2))
@example((0.0, 0.0, 0.0), (0.06, 0.0))  # less than half a pixel over the scan
@example((20.0, -10.0, 5.0), (-0.03, 0.05))
def test_any_orientation_with_any_shear(
    tmp_path_factory: pytest.TempPathFactory, angles: Any, shear: tuple[float, float]
) -> None:
    folder = tmp_path_factory.mktemp("series")
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T[:2]
    step = 3 * np.cross(*axes) + np.array(shear) @ axes
    write_world(folder, axes, step, (12, 30, 36))
    volume = CTVolume.read(folder)
    difference = difference_from_world(volume)
    assert difference.size >= 12 * 30 * 36 * 0.95
    assert difference.mean() < 3


def test_a_tilted_series_with_a_missing_slice(tmp_path: Path) -> None:
    axes = np.array([[1, 0, 0], [0, math.cos(0.2), math.sin(0.2)]])
    write_world(tmp_path, axes, (0, 0, 3.0), (20, 50, 60))
    (tmp_path / "009").unlink()
    volume = CTVolume.read(tmp_path)
    assert [note.split(" (")[0] for note in volume.notes] == ["1 missing slice", "gantry tilt 11.5 degrees corrected"]
    assert difference_from_world(volume).mean() < 4


def test_an_oblique_series_without_tilt_is_not_resampled(tmp_path: Path) -> None:
    axes = Rotation.from_euler("xyz", [10, 5, 20], degrees=True).as_matrix().T[:2]
    write_world(tmp_path, axes, 3 * np.cross(*axes), (12, 30, 36))
    volume = CTVolume.read(tmp_path)
    assert (volume.notes, volume.resampled) == ((), False)
    assert difference_from_world(volume).max() <= 1


def test_the_input_is_the_same_volume_as_a_nifti(tmp_path: Path) -> None:
    import SimpleITK as sitk

    write_series(tmp_path / "dicom", ct_phantom())
    volume = CTVolume.read(tmp_path / "dicom")
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "ct.nrrd"))
    assert CTVolume.read(tmp_path / "ct.nrrd").content_hash() == volume.content_hash()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_folder_of_mr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom(), SOPClassUID=MRImageStorage, Modality="MR")
    assert "holds no CT image, only MR: give the folder of a CT series" in refusal(tmp_path, capfd)


def test_only_localizers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert "holds no CT slice with a position, only localizers" in refusal(tmp_path, capfd)


def test_a_single_slice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom()[:1])
    assert "holds 1 CT slice: give the whole series" in refusal(tmp_path, capfd)


def test_a_folder_without_dicom(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds no DICOM file: give a volume file or" in refusal(tmp_path, capfd)


@pytest.mark.parametrize("cut", [10, 200])
def test_a_truncated_slice(cut: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_series(tmp_path, ct_phantom())[3]
    path.write_bytes(path.read_bytes()[:-cut])
    assert f"has a slice that cannot be read ({path.name}): copy the series again" in refusal(tmp_path, capfd)


def test_slices_without_rescale(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stored = np.maximum(ct_phantom(), -1024) + 1024
    write_series(tmp_path, stored, intercept=0, RescaleSlope=None, RescaleIntercept=None)
    assert "looks like a CT without its rescale intercept" in refusal(tmp_path, capfd)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"PixelSpacing": [0, 0.7]}, "has a voxel size of 0 x 0.7 mm"),
        ({"PixelSpacing": [-0.8, 0.7]}, "has a voxel size of -0.8 x 0.7 mm"),
        ({"orientation": (1, 0, 0, 1, 0, 0)}, "holds 1 CT slice|axes"),
        ({"orientation": (1, 0, 0, 0.5, 0.8660254, 0)}, "not of length 1"),
        ({"orientation": (0, 0, 0, 0, 0, 0)}, "holds 1 CT slice|axes"),
    ],
)
def test_impossible_planes(options: Any, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom(), **options)
    assert re.search(message, refusal(tmp_path, capfd))


def test_slices_from_two_places_do_not_make_a_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for k, pixels in enumerate(ct_phantom()):
        write_slice(tmp_path / f"{k}", pixels, (60 * (k > 4), 0, 3 * k), SOPInstanceUID=generate_uid())
    assert "has slices that do not lie on a line" in refusal(tmp_path, capfd)
