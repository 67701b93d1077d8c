"""Every file that must not be read, with the sentence that the user sees."""

from __future__ import annotations

import gzip
import math
import os
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.fake_model import write_ct
from Testing.openvocabct_lib.volume_files import (
    SUFFIXES,
    make_image,
    patched,
    refusal,
    replaced,
    write,
)


def test_paths(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert refusal(tmp_path / "none.nii.gz", capfd) == "none.nii.gz does not exist: check the path"
    for name in ("ct.png", "ct", "ct.nii.bz2", "ct.hdr"):
        (tmp_path / name).write_bytes(b"x")
        assert "is of an unknown kind: give one of .nii, .nii.gz, .nrrd" in refusal(tmp_path / name, capfd)
    (tmp_path / "slice.dcm").write_bytes(b"x")
    assert "is one DICOM file: give the folder" in refusal(tmp_path / "slice.dcm", capfd)
    (tmp_path / "empty folder").mkdir()
    assert "holds no DICOM file" in refusal(tmp_path / "empty folder", capfd)
    assert "cannot be opened (file name too long)" in refusal(tmp_path / f"{'x' * 300}.nii", capfd)


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a\?b\?\[31m\.nii does not exist"):
        CTVolume.read(tmp_path / "a\nb\x1b[31m.nii")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of any bytes")
@pytest.mark.parametrize("name", [b"M\xfcller/ct.nii.gz", b"k\xf6pf.nrrd"])
def test_names_that_are_no_text(name: bytes, tmp_path: Path) -> None:
    """Copied from a disk with Latin-1 names; SimpleITK ends the whole process on them, and a batch with it."""
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((write_ct(tmp_path / f"ct{''.join(path.suffixes)}")).read_bytes())
    with pytest.raises(InputError, match="is not in UTF-8: rename it"):
        CTVolume.read(path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"^ct.nii.gz cannot be opened \(permission denied\): check"):
        CTVolume.read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_and_text_files(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"ct{suffix}"
    path.touch()
    assert refusal(path, capfd) == f"{path.name} is empty: copy it again"
    for text in ("Dear colleague,\n" * 100, "x"):
        path.write_text(text)
        assert re.search("is not a (compressed )?(NIfTI|NRRD|MetaImage) file: check the file", refusal(path, capfd))
    path.write_bytes(gzip.compress(b"Dear colleague,\n" * 100))
    assert re.search("is not a (NIfTI|NRRD|MetaImage) file|is compressed: rename", refusal(path, capfd))


@pytest.mark.parametrize("ending", [".Nii.Gz", ".nii.GZ", ".Nii"])
def test_a_nifti_ending_in_mixed_case(ending: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The library under ITK complains on the terminal, and the file would be called damaged."""
    path = write(tmp_path, ending.lower()).rename(tmp_path / f"CT{ending}")
    assert f"rename it to end in {ending.lower()}" in refusal(path, capfd)
    upper = path.rename(tmp_path / f"CT{ending.upper()}")
    np.testing.assert_array_equal(CTVolume.read(upper).array, ct_phantom())


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_truncated_files(suffix: str, compress: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, suffix, compress=compress)
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) - 9, len(whole) // 2):
        path.write_bytes(whole[:kept])
        assert "is cut off" in refusal(path, capfd)


@pytest.mark.parametrize(
    ("suffix", "data"), [(".nhdr", ".raw"), (".mhd", ".raw"), (".nhdr", ".raw.gz"), (".mhd", ".zraw")]
)
def test_a_data_file_that_is_short_or_missing(
    suffix: str, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, suffix, compress=data != ".raw")
    data_file = tmp_path / f"ct{data}"
    data_file.write_bytes(data_file.read_bytes()[:-20])
    assert "is cut off" in refusal(path, capfd)
    data_file.unlink()
    assert refusal(path, capfd) == f"{path.name} lacks its data file: put the data file beside the header"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_damaged_compressed_data(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, suffix, compress=True)
    whole = path.read_bytes()
    for place in (0.5, 0.7, 0.9):
        damaged = bytearray(whole)
        damaged[int(place * len(whole))] ^= 0x10
        path.write_bytes(damaged)
        assert "is damaged (its compressed data does not decode): save or copy" in refusal(path, capfd)


def test_wrong_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain, packed = write(tmp_path, ".nii"), write(tmp_path, ".nii.gz")
    renamed = plain.rename(tmp_path / "plain.nii.gz")
    assert "is not a compressed NIfTI file" in refusal(renamed, capfd)
    renamed = packed.rename(tmp_path / "packed.nii")
    assert "is compressed: rename it to end in .nii.gz" in refusal(renamed, capfd)
    renamed = write(tmp_path, ".nrrd").rename(tmp_path / "nrrd.mha")
    assert "is not a MetaImage file" in refusal(renamed, capfd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("<f", 80, (0.0,))], r"has a voxel size of 0 x 0.8 x 2.5 mm: write it again with its true voxel size"),
        ([("<f", 84, (-0.8,))], r"has a voxel size of 0.7 x -0.8 x 2.5 mm"),
        ([("<f", 88, (math.nan,))], r"has a voxel size of 0.7 x 0.8 x nan mm"),
        ([("<f", 80, (1e9,)), ("<2h", 252, (1, 0))], r"has a voxel size of 1e\+09 mm, which no CT has"),
        ([("<2h", 252, (0, 0))], "does not say which way is left: write it again with its orientation"),
        ([("<12f", 280, (0.0,) * 12)], "has a voxel size of 0 x 0 x 0 mm"),
        ([("<12f", 280, (math.nan,) * 12)], "has a voxel size of nan x nan x nan mm"),
        ([("<f", 292, (math.inf,)), ("<2h", 252, (0, 1))], "has a position that is not a number"),
        (
            [("<12f", 280, (2, 0, 0, 5, 0, 3, 0, 6, 0, 0, 4, 7))],
            r"gives two different voxel sizes \(sform and pixdim\)",
        ),
        ([("<12f", 280, (0.7, 0, 0, 5, 0, 0.8, 0, 6, 0, 0, 2.5, 7))], "contradicts itself about the axes"),
        (  # 60 degrees
            [("<12f", 280, (-0.35, 0.69282, 0, 5, -0.606218, -0.4, 0, 6, 0, 0, 2.5, 7))],
            "contradicts itself about the axes",
        ),
        (
            [("<12f", 280, (-0.7, 0.3, 0, 5, 0, -0.74162, 0, 6, 0, 0, 2.5, 7))],
            "has axes sheared by 22 degrees: resample",
        ),
        ([("<12f", 280, (-0.7, -0.8, 0, 5, 0, 0, 0, 6, 0, 0, 2.5, 7)), ("<2h", 252, (0, 1))], "do not span space"),
        ([("<8h", 40, (2, 15, 108, 1, 1, 1, 1, 1))], r"is not one 3D image \(15 x 108\): give one 3D CT"),
        ([("<8h", 40, (4, 15, 12, 3, 3, 1, 1, 1))], r"is not one 3D image \(15 x 12 x 3 x 3\)"),
        ([("<8h", 40, (3, 15, 108, 1, 1, 1, 1, 1))], "has only 15 x 108 x 1 voxels"),
        ([("<8h", 40, (3, 15, -12, 9, 1, 1, 1, 1))], "has only 15 x -12 x 9 voxels"),
        ([("<8h", 40, (3, 15, 12, 0, 1, 1, 1, 1))], "has only 15 x 12 x 0 voxels"),
        ([("<8h", 40, (3, 30000, 30000, 9000, 1, 1, 1, 1))], "is cut off"),
        ([("<8h", 40, (-1, 15, 12, 9, 1, 1, 1, 1))], "is not one 3D image"),
        ([("<h", 70, (128,))], "has several numbers per voxel"),
        ([("<h", 70, (4242,))], "has voxels of an unknown type"),
        ([("<f", 108, (math.nan,))], "has a header that makes no sense"),
        ([("<i", 0, (540,))], "is a NIfTI-2 file: save it as NIfTI-1"),
        ([("<4s", 344, (b"ni1\0",))], "is not a NIfTI file"),
    ],
)
def test_impossible_nifti_headers(
    changes: list[tuple[str, int, tuple[Any, ...]]], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, refusal(patched(tmp_path, *changes), capfd))


DIRECTIONS_LINE = r"space directions: .*"


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        (".nhdr", DIRECTIONS_LINE, "space directions: (0,0,0) (0,1,0) (0,0,1)", "has a voxel size of 0 x 1 x 1 mm"),
        (".nhdr", DIRECTIONS_LINE, "space directions: (nan,0,0) (0,1,0) (0,0,1)", "has a voxel size of nan x 1 x 1 mm"),
        (".nhdr", DIRECTIONS_LINE, "space directions: (1,0,0) (1,0,0) (0,0,1)", "has axes that do not span space"),
        (".nhdr", DIRECTIONS_LINE, "space directions: (1,.2,0) (0,1,0) (0,0,1)", "has axes sheared by 11 degrees"),
        (".nhdr", DIRECTIONS_LINE, "space directions: none (0,1,0) (0,0,1)", "does not say how large its voxels are"),
        (".nhdr", DIRECTIONS_LINE, "space directions: (a,0,0) (0,1,0) (0,0,1)", "has a header that makes no sense"),
        (".nhdr", DIRECTIONS_LINE + "\n", "", "does not say how large its voxels are"),
        (".nhdr", "space: .*", "space: scanner-xyz", "does not say which way is left"),
        (".nhdr", "space: .*", "space dimension: 3", "does not say which way is left"),
        (".nhdr", "space origin: .*", "space origin: (nan,0,0)", "cannot be read"),
        (".nhdr", "type: .*", "type: block", "cannot be read"),
        (".nhdr", "encoding:", 'space units: "mm" "mm" "cm"\nencoding:', "is measured in cm, not in mm"),
        (".nhdr", "encoding:", "space units: um um um\nencoding:", "is measured in um, not in mm"),
        (
            ".mhd",
            "ElementType",
            "ElementToIntensityFunctionSlope = 2\nElementType",
            "with a slope of 2 and an offset of 0",
        ),
        (
            ".mhd",
            "ElementType",
            "ElementToIntensityFunctionOffset = -1024\nElementType",
            "an offset of -1024: write it",
        ),
        (".mhd", "ElementSpacing = .*", "ElementSpacing = 0 1 1", "has a voxel size of 0 x 1 x 1 mm"),
        (".mhd", "ElementSpacing = .*", "ElementSpacing = 1 -1 1", "has a voxel size of 1 x -1 x 1 mm"),
        (".mhd", "ElementSpacing = .*", "ElementSpacing = 1 nan 1", "has a voxel size of 1 x nan x 1 mm"),
        (".mhd", "ElementSpacing = .*", "ElementSpacing = 1 1", "does not say how large its voxels are"),
        (".mhd", "ElementSpacing = .*", "ElementSpacing = a b c", "has a header that makes no sense"),
        (".mhd", "ElementSpacing = .*\n", "", "does not say how large its voxels are: write it again"),
        (".mhd", "TransformMatrix = .*", "TransformMatrix = 1 0 0 1 0 0 0 0 1", "has axes that do not span space"),
        (".mhd", "TransformMatrix = .*", "TransformMatrix = nan 0 0 0 1 0 0 0 1", "has axes that do not span space"),
        (".mhd", "TransformMatrix = .*", "TransformMatrix = 2 0 0 0 2 0 0 0 2", "not of length 1"),
        (".mhd", "TransformMatrix = .*", "TransformMatrix = 1 0.2 0 0 1 0 0 0 1", "not of length 1|sheared"),
        (".mhd", "ElementType", "DistanceUnits = cm\nElementType", "is measured in cm, not in mm: write it again"),
        (
            ".mhd",
            "TransformMatrix = .*\n(?s:.*)AnatomicalOrientation = .*",
            "AnatomicalOrientation = LPI",
            r"gives its orientation in letters only \(LPI\): write it again with a 'TransformMatrix'",
        ),
        (".mhd", "DimSize = .*", "DimSize = 15 108 1", "has only 15 x 108 x 1 voxels"),
        (".mhd", "DimSize = .*", "DimSize = 15 12 0", "has only 15 x 12 x 0 voxels"),
        (".mhd", "DimSize = .*", "DimSize = 15 12 900", "is cut off"),
        (".mhd", "ElementDataFile = .*", "ElementDataFile = other.raw", "lacks its data file"),
    ],
)
def test_impossible_text_headers(
    suffix: str, old: str, new: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, refusal(replaced(tmp_path, suffix, old, new), capfd))


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".nhdr", "encoding:", 'space units: "mm" "mm" "mm"\nencoding:'),
        (".nhdr", "encoding:", 'space units: "" "" ""\nencoding:'),
        (
            ".mhd",
            "ElementType",
            "ElementToIntensityFunctionSlope = 1.0\nElementToIntensityFunctionOffset = 0\nElementType",
        ),
        (".mhd", "ElementType", "DistanceUnits = mm\nElementType"),
        (".mhd", "TransformMatrix = .*\n(?s:.*)AnatomicalOrientation = .*", "AnatomicalOrientation = RAI"),
    ],
)
def test_what_only_repeats_the_usual_is_read(suffix: str, old: str, new: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(CTVolume.read(replaced(tmp_path, suffix, old, new)).array, ct_phantom())


def as_vector(array: Any) -> sitk.Image:
    return sitk.GetImageFromArray(np.stack([array] * 3, axis=-1), isVector=True)


IMAGES: dict[str, tuple[Callable[[], sitk.Image], str]] = {
    "2D": (lambda: make_image()[:, :, 3], "is not one 3D image"),
    "4D": (lambda: sitk.JoinSeries([make_image(), make_image()]), "is not one 3D image|numbers per voxel"),
    "RGB": (lambda: as_vector(ct_phantom().astype(np.uint8)), "numbers per voxel|is not one 3D image"),
    "vector": (lambda: as_vector(ct_phantom().astype(np.float32)), "numbers per voxel|is not one 3D image"),
    "constant": (lambda: make_image() * 0, "is 0 everywhere: give a CT that shows something"),
    "one slice": (lambda: make_image()[:, :, 3:4], "has only 15 x 12 x 1 voxels"),
    "one row": (lambda: make_image()[:, 3:4, :], "has only 15 x 1 x 9 voxels"),
    "infinite": (lambda: make_image(dtype=np.float32) / 0.0, "voxels that are not a number or infinite"),
    "0..255": (lambda: sitk.Cast(sitk.RescaleIntensity(make_image()), sitk.sitkUInt8), "windowed picture"),
    "0..1": (lambda: sitk.RescaleIntensity(make_image(dtype=np.float32), 0, 1), "normalised"),
    "no intercept": (lambda: sitk.Cast(make_image() + 1100, sitk.sitkUInt16), "without its rescale intercept"),
    "MR": (lambda: sitk.Abs(make_image()) // 2, "does not look like a CT in Hounsfield units"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_no_ct_volume(
    name: str, suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, message = IMAGES[name]
    assert re.search(message, refusal(write(tmp_path, suffix, make()), capfd))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_voxel_that_is_not_a_number(
    suffix: str, dtype: Any, value: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ITK's NIfTI reader turns it into 0 HU without a word."""
    array = ct_phantom((9, 64, 64)).astype(dtype)
    array[8, 63, 63] = value
    image = sitk.GetImageFromArray(array)
    assert "has voxels that are not a number or infinite: replace them" in refusal(
        write(tmp_path, suffix, image), capfd
    )


def test_complex_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = sitk.GetImageFromArray(ct_phantom().astype(np.complex64))
    assert "several numbers per voxel" in refusal(write(tmp_path, ".nii", image), capfd)


def test_a_volume_that_does_not_fit_into_memory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A text NRRD can promise 16 TB without being longer than its header."""
    path = replaced(tmp_path, ".nhdr", "sizes: .*", "sizes: 20000 20000 20000")
    path.write_text(re.sub("encoding: .*", "encoding: ascii", path.read_text()))
    with pytest.raises((ResourceError, InputError)) as caught:
        CTVolume.read(path)
    assert str(caught.value).startswith("ct.nhdr ")
    assert capfd.readouterr().err == ""


def test_the_warning_switch_of_itk_is_put_back(tmp_path: Path) -> None:
    for before in (True, False):
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
        CTVolume.read(write(tmp_path))
        assert sitk.ProcessObject.GetGlobalWarningDisplay() == before
    sitk.ProcessObject.SetGlobalWarningDisplay(True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=600), st.booleans())
def test_random_bytes_never_give_another_kind_of_error(
    tmp_path: Path, suffix: str, content: bytes, keep_header: bool
) -> None:
    path = write(tmp_path, suffix)
    head = path.read_bytes()[:300] if keep_header else b""
    path.write_bytes(head + (zlib.compress(content) if len(content) % 2 else content))
    with pytest.raises(InputError):
        CTVolume.read(path)
