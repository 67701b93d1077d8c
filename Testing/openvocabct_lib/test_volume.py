from __future__ import annotations

import dataclasses
import gzip
import math
import re
import struct
from importlib.resources import files
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.volume_files import (
    DIRECTIONS,
    OBLIQUE,
    SUFFIXES,
    make_image,
    patched,
    replaced,
    write,
)

DTYPES = (np.int16, np.int32, np.int64, np.float32, np.float64)


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", DIRECTIONS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_keeps_voxels_and_place(suffix: str, orientation: str, tmp_path: Path) -> None:
    image = make_image(DIRECTIONS[orientation])
    path = write(tmp_path, suffix, image)
    volume = CTVolume.read(path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    # NIfTI stores float32: 1e-4 mm at 1 m.
    np.testing.assert_allclose(
        volume.geometry.affine_lps(), Geometry.from_sitk(image).affine_lps(), rtol=2e-7, atol=1e-6
    )
    assert volume.geometry.axis_codes() == Geometry.from_sitk(image).axis_codes()
    assert (volume.source, volume.notes, volume.dicom_files, volume.resampled) == (path, (), (), False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_voxel_type(suffix: str, dtype: Any, tmp_path: Path) -> None:
    volume = CTVolume.read(write(tmp_path, suffix, make_image(dtype=dtype), compress=True))
    assert volume.array.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.int16)
    np.testing.assert_array_equal(volume.array, ct_phantom())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.tuples(*[st.integers(4, 14)] * 3),
    st.tuples(*[st.floats(0.3, 9)] * 3),
    st.tuples(*[st.floats(-900, 900)] * 3),
    st.sampled_from(list(DIRECTIONS.values())),
    st.sampled_from(SUFFIXES),
)
def test_reading_agrees_with_what_simpleitk_wrote(
    tmp_path: Path, shape: Any, spacing: Any, origin: Any, direction: Any, suffix: str
) -> None:
    image = sitk.GetImageFromArray(ct_phantom(shape))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection([float(x) for x in direction])
    path = write(tmp_path, suffix, image)
    volume = CTVolume.read(path)
    np.testing.assert_array_equal(volume.array, ct_phantom(shape))
    for corner in ((0, 0, 0), (shape[2] - 1, shape[1] - 1, shape[0] - 1)):
        point = (volume.geometry.affine_lps() @ [*corner, 1])[:3]
        np.testing.assert_allclose(point, image.TransformIndexToPhysicalPoint(corner), atol=2e-3)


def test_the_nifti_affine_is_exactly_that_of_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, ".nii", make_image(OBLIQUE))
    rows = struct.unpack_from("<12f", path.read_bytes(), 280)
    affine = CTVolume.read(path).geometry.affine_ras()
    np.testing.assert_allclose(affine[:3], np.reshape(rows, (3, 4)), rtol=1e-14)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
def test_nrrd_written_by_pynrrd(space: str, tmp_path: Path) -> None:
    header = {"space": space, "space directions": np.diag([0.7, 0.8, 2.5]), "space origin": [1.0, 2.0, 3.0]}
    nrrd.write(str(tmp_path / "ct.nrrd"), ct_phantom().T, header)
    volume = CTVolume.read(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(volume.array, ct_phantom())
    signs = {"left-posterior-superior": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "LAS": (1, -1, 1)}[space]
    np.testing.assert_allclose(volume.geometry.affine_lps()[:3, :3], np.diag([0.7, 0.8, 2.5] * np.array(signs)))
    np.testing.assert_allclose(volume.geometry.origin, np.array([1.0, 2.0, 3.0]) * signs)


def test_big_endian_nifti(tmp_path: Path) -> None:
    """Swap every field of a header by hand; the reader has to notice the byte order."""
    little = write(tmp_path, ".nii").read_bytes()
    swapped = bytearray(little)
    fields = [
        ("i", 0),
        ("8h", 40),
        ("3f", 56),
        ("4h", 68),
        ("8f", 76),
        ("3f", 108),
        ("h", 120),
        ("4f", 124),
        ("2i", 140),
    ]
    for code, offset in [*fields, ("2h", 252), ("6f", 256), ("12f", 280)]:
        struct.pack_into(">" + code, swapped, offset, *struct.unpack_from("<" + code, little, offset))
    swapped[352:] = np.frombuffer(little[352:], "<i2").astype(">i2").tobytes()
    (tmp_path / "big.nii").write_bytes(swapped)
    big, expected = CTVolume.read(tmp_path / "big.nii"), CTVolume.read(tmp_path / "ct.nii")
    np.testing.assert_array_equal(big.array, expected.array)
    assert big.geometry == expected.geometry


def test_upper_case_suffix_and_a_string_path(tmp_path: Path) -> None:
    path = write(tmp_path, ".nrrd").rename(tmp_path / "CT.NRRD")
    np.testing.assert_array_equal(CTVolume.read(str(path)).array, ct_phantom())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_a_last_axis_of_length_one_is_dropped(suffix: str, tmp_path: Path) -> None:
    image = sitk.JoinSeries([make_image(DIRECTIONS["RAS"])])
    volume = CTVolume.read(write(tmp_path, suffix, image))
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.geometry.axis_codes() == "RAS"


def test_an_nrrd_list_of_one_image(tmp_path: Path) -> None:
    path = replaced(tmp_path, ".nhdr", "dimension: 3", "dimension: 4")
    text = path.read_text().replace("9\n", "9 1\n", 1).replace("2.5)", "2.5) none").replace("domain\n", "domain list\n")
    path.write_text(text)
    np.testing.assert_array_equal(CTVolume.read(path).array, ct_phantom())
    path.write_text(text.replace("15 12 9 1", "15 12 3 3"))
    with pytest.raises(InputError, match=r"is not one 3D image \(15 x 12 x 3 x 3\)"):
        CTVolume.read(path)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    raw = write(tmp_path, ".nii").read_bytes()
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    np.testing.assert_array_equal(CTVolume.read(tmp_path / "parts.nii.gz").array, ct_phantom())


def test_the_rescale_of_a_nifti_header_is_applied(tmp_path: Path) -> None:
    header = patched(tmp_path, ("<2f", 112, (1.0, -1024.0)), image=make_image() + 1024)
    np.testing.assert_array_equal(CTVolume.read(header).array, ct_phantom())


def test_nifti_units_other_than_mm(tmp_path: Path) -> None:
    image = make_image()
    image.SetSpacing((0.0007, 0.0008, 0.0025))
    image.SetOrigin((0.1, 0.2, 0.3))
    volume = CTVolume.read(patched(tmp_path, ("<B", 123, (1,)), image=image))  # metres
    np.testing.assert_allclose(volume.geometry.spacing, (0.7, 0.8, 2.5), rtol=1e-6)
    np.testing.assert_allclose(volume.geometry.origin, (100, 200, 300), rtol=1e-6)


def test_a_qform_alone_gives_the_affine(tmp_path: Path) -> None:
    image = make_image(DIRECTIONS["oblique, left-handed"])
    volume = CTVolume.read(patched(tmp_path, ("<2h", 252, (1, 0)), ("<12f", 280, (0.0,) * 12), image=image))
    np.testing.assert_allclose(volume.geometry.affine_lps(), Geometry.from_sitk(image).affine_lps(), atol=1e-4)


def test_a_quaternion_that_is_too_long_stretches_no_voxel(tmp_path: Path) -> None:
    path = patched(tmp_path, ("<2h", 252, (1, 0)), ("<3f", 256, (0.0, 0.0, 1.02)))
    assert CTVolume.read(path).geometry.spacing == pytest.approx((0.7, 0.8, 2.5))


def test_the_sform_wins_over_a_qform_that_differs_a_little(tmp_path: Path) -> None:
    c, s = math.cos(0.1), math.sin(0.1)
    rows = (-0.7 * c, 0.8 * s, 0.0, 9.0, -0.7 * s, -0.8 * c, 0.0, 8.0, 0.0, 0.0, 2.5, 7.0)
    volume = CTVolume.read(patched(tmp_path, ("<2h", 252, (1, 2)), ("<12f", 280, rows)))
    np.testing.assert_allclose(volume.geometry.affine_ras()[:3], np.reshape(rows, (3, 4)), rtol=1e-6)
    assert re.fullmatch(r"sform and qform differ by up to [\d.]+ mm: sform used", volume.notes[0])


def test_metaimage_without_direction_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path, ".mhd")
    path.write_text(re.sub("TransformMatrix.*\n", "", path.read_text()))
    assert CTVolume.read(path).notes == ("the header has no direction: axes taken as left, posterior, superior",)


@pytest.mark.parametrize("links", [True, False])
def test_a_compressed_file_is_not_read_from_its_uncompressed_namesake(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK reads the header of ct.nii.gz, and the voxels of ct.nii beside it."""

    def no_link(*_: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    if not links:
        monkeypatch.setattr("os.symlink", no_link)
    compressed, plain = write(tmp_path, ".nii.gz"), write(tmp_path, ".nii", make_image() - 7)
    np.testing.assert_array_equal(CTVolume.read(compressed).array, ct_phantom())
    np.testing.assert_array_equal(CTVolume.read(plain).array, ct_phantom() - 7)


def test_the_sample_ct() -> None:
    volume = CTVolume.read(str(files("slicerio") / "data" / "CTChest4.nrrd"))
    assert volume.array.shape == (34, 128, 128)
    assert volume.array.dtype == np.int16
    assert volume.array.min() == -3024


def test_real_ct_reads_like_simpleitk(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("[!o]*/*/ct.nii.gz")):
        volume, expected = CTVolume.read(path), sitk.ReadImage(str(path))
        assert volume.notes == ()
        np.testing.assert_allclose(volume.geometry.affine_lps(), Geometry.from_sitk(expected).affine_lps(), atol=1e-4)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayViewFromImage(expected))


# --- CTVolume ---------------------------------------------------------------------------------------------------------


def test_to_sitk_round_trips_exactly() -> None:
    for dtype in (np.int16, np.float32):
        volume = CTVolume.from_array(ct_phantom().astype(dtype), Geometry.from_sitk(make_image(OBLIQUE)))
        image = volume.to_sitk()
        again = CTVolume.from_array(sitk.GetArrayFromImage(image), Geometry.from_sitk(image))
        assert again.geometry == volume.geometry
        assert again.content_hash() == volume.content_hash()


def test_a_volume_cannot_be_changed() -> None:
    array = ct_phantom()
    volume = CTVolume.from_array(array, Geometry.from_sitk(make_image()))
    before = volume.content_hash()
    array[:] = 0
    np.testing.assert_array_equal(volume.array, ct_phantom())
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.array = array  # type: ignore[misc]
    assert volume.content_hash() == before


def test_the_hash_covers_voxels_type_shape_and_place() -> None:
    geometry = Geometry.from_sitk(make_image())
    base = CTVolume.from_array(ct_phantom(), geometry)
    other_voxel = ct_phantom()
    other_voxel[-1, -1, -1] += 1
    moved = dataclasses.replace(geometry, origin=(0.0, 0.0, 0.0))
    longer = dataclasses.replace(geometry, shape=(12, 9, 15))
    hashes = {
        base.content_hash(),
        CTVolume.from_array(other_voxel, geometry).content_hash(),
        CTVolume.from_array(ct_phantom().astype(np.float32), geometry).content_hash(),
        CTVolume.from_array(ct_phantom(), moved).content_hash(),
        CTVolume.from_array(ct_phantom().reshape(12, 9, 15), longer).content_hash(),
    }
    assert len(hashes) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", h) for h in hashes)
    assert CTVolume.from_array(np.asfortranarray(ct_phantom()), geometry).content_hash() == base.content_hash()


def test_the_hash_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = CTVolume.from_array(ct_phantom(), Geometry.from_sitk(make_image()))
    first = volume.content_hash()
    monkeypatch.delattr("hashlib.sha256")
    assert volume.content_hash() == first


def test_from_array_checks_too() -> None:
    geometry = Geometry.from_sitk(make_image())
    with pytest.raises(InputError, match="does not look like a CT"):
        CTVolume.from_array(np.random.default_rng(0).integers(0, 800, geometry.shape), geometry)
    with pytest.raises(InputError, match=r"has \(9, 12, 15\) voxels but its geometry has \(15, 12, 9\)"):
        CTVolume.from_array(ct_phantom(), dataclasses.replace(geometry, shape=(15, 12, 9)))
