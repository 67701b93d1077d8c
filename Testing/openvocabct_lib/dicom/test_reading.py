"""Series of every kind: enhanced, zipped, compressed, mixed, damaged in part."""

from __future__ import annotations

import base64
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom.clinical_series import POSITIONS, SHAPE, write_clinical, write_enhanced
from Testing.openvocabct_lib.dicom_series import SERIES, write_series, write_slice
from Testing.openvocabct_lib.volume_files import refusal

REPORT = "1.2.840.10008.5.1.4.1.1.88.67"  # X-ray radiation dose SR


# --- enhanced ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
def test_an_enhanced_ct_is_the_classic_one(position: str, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "enhanced" / "1", position)
    write_clinical(tmp_path / "classic", position)
    enhanced, classic = CTVolume.read(tmp_path / "enhanced"), CTVolume.read(tmp_path / "classic")
    assert enhanced.content_hash() == classic.content_hash()
    assert enhanced.notes == classic.notes
    assert enhanced.dicom_files == (tmp_path / "enhanced" / "1",)


def test_a_single_multi_frame_file(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct.dcm")
    np.testing.assert_array_equal(CTVolume.read(tmp_path / "ct.dcm").array, ct_phantom(SHAPE))


def test_frames_of_an_enhanced_localizer_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_enhanced(tmp_path / "1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    assert "only localizers" in refusal(tmp_path, capfd)


def test_a_wrong_number_of_frames(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_enhanced(tmp_path / "1", NumberOfFrames=8)
    assert "holds no CT slice with a position" in refusal(tmp_path, capfd)


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_plain_encodings(syntax: Any, tmp_path: Path) -> None:
    for path in write_series(tmp_path, ct_phantom()):
        dataset = pydicom.dcmread(path)
        pixels = np.frombuffer(dataset.PixelData, "<i2")
        dataset.PixelData = pixels.astype(">i2" if syntax == ExplicitVRBigEndian else "<i2").tobytes()
        dataset["PixelData"].VR = "OW"
        again = Dataset()
        again.update({e.tag: e for e in dataset})
        again.file_meta = dataset.file_meta
        again.file_meta.TransferSyntaxUID = syntax
        again.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct_phantom())


def test_data_sets_without_file_header(tmp_path: Path) -> None:
    for path in write_series(tmp_path, ct_phantom()):
        dataset = pydicom.dcmread(path)
        bare = Dataset()
        bare.update({e.tag: e for e in dataset})
        bare.save_as(path, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct_phantom())


def compress(path: Path, syntax: Any) -> None:
    """Compress a slice: with pydicom's plug-ins, or by the GDCM that is in SimpleITK."""
    dataset = pydicom.dcmread(path)
    if syntax in (RLELossless, JPEGLSLossless):
        dataset.compress(syntax)
    else:
        stored = dataset.pixel_array
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.dcm"
            writer = sitk.ImageFileWriter()
            writer.SetFileName(str(file))
            writer.SetImageIO("GDCMImageIO")
            writer.UseCompressionOn()
            writer.SetCompressor("JPEG2000" if syntax == JPEG2000Lossless else "JPEG")
            writer.Execute(sitk.GetImageFromArray(stored[None].astype(np.int16)))
            made = pydicom.dcmread(file)
        assert made.file_meta.TransferSyntaxUID == syntax
        frame = next(pydicom.encaps.generate_frames(made.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)


COMPRESSED = {"JPEG lossless": JPEGLosslessSV1, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}


@pytest.mark.parametrize("name", [*COMPRESSED, "RLE"])
def test_compressed(name: str, tmp_path: Path) -> None:
    for path in write_series(tmp_path, ct_phantom((9, 24, 30))):
        compress(path, COMPRESSED.get(name, RLELossless))
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, ct_phantom((9, 24, 30)))


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_damaged_compressed_slice(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = write_series(tmp_path, ct_phantom((9, 24, 30)))
    for path in paths:
        compress(path, COMPRESSED[name])
    dataset = pydicom.dcmread(paths[3])
    dataset.PixelData = encapsulate([b"\0" * 40])
    dataset.save_as(paths[3], enforce_file_format=True)
    assert "cannot be read" in refusal(tmp_path, capfd)


# 8 x 8 voxels, unsigned, 16 bits: compressed losslessly with OpenJPH 0.26, because no reader here also writes HTJ2K.
HTJ2K_FRAME = base64.b64decode(
    "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJ"
    "CQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAKgAAf+TwAAmhf0FB3QAAADAABNAABNAABMAiP0Ch3QA0P0Ch3QA6v0D"
    "B3QAwAAVMAAFVAABVGRQSVrUAKOUAIagjIYy/ADDlADe6oePIPcAw5QAwAAtqAAFqwAAtIAIQ7fjDgmLXmUQ3+/4nR2ykpAAVykYgNiYAAhD23"
    "GC7x3fkZDKZigAz58YgAh4ABJ6950JE37n3QkJHz4xAL7YAP/Z"
)
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203")


def write_htj2k(folder: Path, syntax: str, frame: bytes = HTJ2K_FRAME) -> NDArray[np.int16]:
    """Three slices whose content is known; return their HU."""
    stored = np.zeros((8, 8), np.int16)
    stored[2:6, 2:7] = 1064
    stored[3:5, 3:5] = 2024
    for k in range(3):
        dataset = write_slice(folder / f"{k}.dcm", stored - 1024, (0, 0, 3 * k), PixelRepresentation=0)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return np.repeat((stored - 1024)[None], 3, axis=0)


@pytest.mark.parametrize("syntax", HTJ2K)
def test_high_throughput_jpeg_2000(syntax: str, tmp_path: Path) -> None:
    expected = write_htj2k(tmp_path, syntax)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, expected)


def test_damaged_high_throughput_jpeg_2000(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, frame in (("cut", HTJ2K_FRAME[:120]), ("zeros", b"\0" * 40)):
        (tmp_path / name).mkdir()
        write_htj2k(tmp_path / name, HTJ2K[0], frame)
        assert "cannot be read" in refusal(tmp_path / name, capfd)


def test_high_throughput_jpeg_2000_without_its_decoder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders.base import Decoder

    write_htj2k(tmp_path, HTJ2K[0])
    monkeypatch.setattr(Decoder, "is_available", False)
    message = refusal(tmp_path, capfd)
    assert "High-Throughput JPEG 2000" in message
    assert "pip install" in message


def test_overlays_in_unused_bits(tmp_path: Path) -> None:
    stored = np.maximum(ct_phantom(), -1024) + 1024
    for k, pixels in enumerate(stored):
        options = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": -1024}
        write_slice(tmp_path / f"{k}", pixels | (1 << 14), (0, 0, 3 * k), intercept=0, **options)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, stored - 1024)


def write_padded(folder: Path, padding: int, **attributes: Any) -> NDArray[np.int16]:
    """Write a CT whose corners are filled with a stored value; return its HU outside of them."""
    stored = np.maximum(ct_phantom(), -1024) + 1024
    stored[:, :3, :3] = padding
    for k, pixels in enumerate(stored):
        options = {"RescaleIntercept": -1024} | attributes
        write_slice(folder / f"{k}", pixels, (0, 0, 3 * k), intercept=0, **options)
    return stored - 1024


@pytest.mark.parametrize(
    "said", [{"PixelPaddingValue": -32768}, {"PixelPaddingValue": -32700, "PixelPaddingRangeLimit": -32768}]
)
def test_padding_below_hounsfield_units(said: dict[str, int], tmp_path: Path) -> None:
    expected = write_padded(tmp_path, -32768, **said)
    volume = CTVolume.read(tmp_path)
    expected[:, :3, :3] = -2048
    np.testing.assert_array_equal(volume.array, expected)


def test_padding_within_hounsfield_units_is_kept(tmp_path: Path) -> None:
    expected = write_padded(tmp_path, -2000, PixelPaddingValue=-2000)
    np.testing.assert_array_equal(CTVolume.read(tmp_path).array, expected)


@pytest.mark.parametrize("said", [{}, {"PixelPaddingValue": -2000}])
def test_values_beyond_hounsfield_units_that_are_no_padding(
    said: dict[str, int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_padded(tmp_path, -32768, **said)
    assert "values beyond Hounsfield units" in refusal(tmp_path, capfd)


# --- zip --------------------------------------------------------------------------------------------------------------


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"study/../{file.name}")  # a name that would leave the folder, were it unpacked
        archive.writestr("__MACOSX/._IM000", b"x")
    return path


def test_a_zip_is_the_folder(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    path = zipped(tmp_path / "ct", tmp_path / "study.ZIP")
    volume = CTVolume.read(path)
    assert volume.content_hash() == CTVolume.read(tmp_path / "ct").content_hash()
    assert volume.dicom_files == (path,)
    assert volume.notes == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "study.ZIP"]


def test_a_zip_is_opened_as_often_however_much_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it reads the list of all its members: once for each of them would take minutes for a large study."""
    opened: list[Path] = []
    real = zipfile.ZipFile

    def counted(path: Path, *words: Any) -> zipfile.ZipFile:
        opened.append(path)
        return real(path, *words)

    times = []
    for slices in (3, 9):
        write_series(tmp_path / f"{slices}", ct_phantom()[:slices])
        path = zipped(tmp_path / f"{slices}", tmp_path / f"{slices}.zip")
        opened.clear()
        with monkeypatch.context() as patch:
            patch.setattr("zipfile.ZipFile", counted)
            volume = CTVolume.read(path)
            assert volume.dicom is not None
            assert len(volume.dicom.headers()) == slices
        times.append(len(opened))
    assert times[0] == times[1] <= 4
    path.unlink()  # nothing holds it open


def test_a_zip_with_a_damaged_member(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_clinical(tmp_path / "ct")
    path = zipped(tmp_path / "ct", tmp_path / "study.zip")
    content = bytearray(path.read_bytes())
    content[400:500] = b"\xff" * 100
    path.write_bytes(content)
    assert "zip with a damaged file" in refusal(path, capfd)


def test_no_zip_at_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.zip").write_bytes(b"hello")
    assert "not a zip that can be read" in refusal(tmp_path / "study.zip", capfd)


# --- which series -----------------------------------------------------------------------------------------------------


def mixed(folder: Path) -> None:
    """Two studies: localizer, two CT series, MR, dose report; and a letter."""
    write_series(folder / "a", ct_phantom(), SeriesNumber=4)
    other = {"SeriesInstanceUID": f"{SERIES}.7", "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.10"}
    write_series(folder / "b", ct_phantom((5, 12, 15)), SeriesNumber=2, **other)
    scout = {"SeriesInstanceUID": f"{SERIES}.8", "SeriesNumber": 1, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(folder / "c", ct_phantom()[:2], **scout)
    dose = {"SOPClassUID": REPORT, "Modality": "SR", "SeriesNumber": 99, "SeriesInstanceUID": f"{SERIES}.9"}
    write_slice(folder / "d" / "dose", ct_phantom()[0], (0, 0, 0), **dose)
    (folder / "letter.txt").write_text("Dear colleague")


def test_the_largest_series_of_a_mixed_folder(tmp_path: Path) -> None:
    mixed(tmp_path)
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == (
        "series 4 (9 slices) read, 1 other CT series left out",
        "1 SR object left out",
        "2 localizers left out",
        "1 file that is not DICOM left out",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"],
        ["DERIVED", "SECONDARY", "CSA_MINIP"],
        ["DERIVED", "PRIMARY", "VOLUME", "MAX_IP"],
        ["DERIVED", "SECONDARY", "PROJECTION IMAGE"],
    ],
)
def test_an_intensity_projection_is_no_ct_however_many_slices_it_has(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mip = {"ImageType": words, "SeriesInstanceUID": f"{SERIES}.6", "SeriesNumber": 6}
    write_series(tmp_path / "mip", ct_phantom((18, 12, 15)), step=(0, 0, 1.25), **mip)
    assert "holds only intensity projections (MIP) of a CT: give the CT itself" in refusal(tmp_path, capfd)
    write_series(tmp_path / "ct", ct_phantom(), ImageType=["DERIVED", "SECONDARY", "MPR", "AVERAGE"])
    volume = CTVolume.read(tmp_path)
    np.testing.assert_array_equal(volume.array, ct_phantom())
    assert volume.notes == ("18 intensity projections left out",)


def test_links_to_folders_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "archive", ct_phantom())
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thick").symlink_to(tmp_path / "archive")
    assert "holds no DICOM file, but links to folders: give a folder itself" in refusal(tmp_path / "study", capfd)
    np.testing.assert_array_equal(CTVolume.read(tmp_path / "study" / "thick").array, ct_phantom())
    write_series(tmp_path / "study" / "thin", ct_phantom())
    assert CTVolume.read(tmp_path / "study").notes == ("1 link to a folder left out",)


@pytest.mark.parametrize("wanted", ["2", f"{SERIES}.7"])
def test_the_series_that_is_asked_for(wanted: str, tmp_path: Path) -> None:
    mixed(tmp_path)
    np.testing.assert_array_equal(CTVolume.read(tmp_path, series=wanted).array, ct_phantom((5, 12, 15)))


def test_a_series_that_is_not_there(tmp_path: Path) -> None:
    mixed(tmp_path)
    with pytest.raises(InputError, match="holds no CT series '1': choose a UID or one of 2, 4"):
        CTVolume.read(tmp_path, series="1")


def test_a_number_that_two_series_have(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ct_phantom())
    write_series(tmp_path / "b", ct_phantom(), SeriesInstanceUID=f"{SERIES}.7")
    with pytest.raises(InputError, match="several series with the number '2': give its UID"):
        CTVolume.read(tmp_path, series="2")


def test_a_series_of_a_file_that_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "ct.nii").write_bytes(b"x" * 400)
    with pytest.raises(InputError, match="has no series: leave the series out"):
        CTVolume.read(tmp_path / "ct.nii", series="2")


# --- no Hounsfield units ----------------------------------------------------------------------------------------------


def test_a_ct_that_claims_another_modality(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom(), Modality="PT")
    assert "holds no CT image, only PT" in refusal(tmp_path, capfd)


def test_values_in_other_units(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, ct_phantom(), RescaleType="Z_EFF")
    assert "values are not in Hounsfield units" in refusal(tmp_path, capfd)


def test_one_series_uid_for_two_patients(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Between the slices of one those of the other would lie, or be taken for another phase."""
    ct = ct_phantom(SHAPE)
    write_series(tmp_path / "a", ct, PatientID="A")
    write_series(tmp_path / "b", ct, origin=(-50.0, -40.0, 101.2), PatientID="B")
    assert "one series whose images name 2 patients: put each patient in a folder" in refusal(tmp_path, capfd)
    assert CTVolume.read(tmp_path / "a").geometry.shape == ct.shape


def test_slices_without_a_patient_are_of_no_other_patient(tmp_path: Path) -> None:
    write_series(tmp_path, ct_phantom(), PatientID="A")
    first = next(tmp_path.iterdir())
    dataset = pydicom.dcmread(first)
    del dataset.PatientID
    dataset.save_as(first)
    assert CTVolume.read(tmp_path).array.shape == ct_phantom().shape


def test_one_slice_without_rescale(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_series(tmp_path, ct_phantom())[4]
    dataset = pydicom.dcmread(path)
    del dataset.RescaleIntercept
    dataset.save_as(path)
    assert "has 1 slices without a rescale" in refusal(tmp_path, capfd)


# --- slices out of line -----------------------------------------------------------------------------------------------


def test_a_slice_shifted_in_its_plane_goes_where_it_was_scanned(tmp_path: Path) -> None:
    """A blank patient with one column of bone, whose slices start at different places: the bone stays upright."""
    for k in range(8):
        pixels = np.full((20, 30), 30.0)
        pixels[:4] = -900
        shift = 0.7 * (k == 3)  # one pixel
        pixels[:, 14 - (k == 3)] = 800
        write_slice(tmp_path / f"{k}", pixels, (shift, 0, 3 * k))
    volume = CTVolume.read(tmp_path)
    assert volume.notes == ("slices shifted by up to 0.7 mm in their planes corrected",)
    columns = np.argwhere(volume.array[:, 10] > 500)[:, 1]
    assert len(set(columns.tolist())) == 1
