"""DICOM SEG, read back by three programs that share no code with the writer's project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.color import CIELabColor
from numpy.typing import NDArray

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output import Segmentation
from OpenVocabCTLib.output.dicom_seg import write_dicom_seg
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.dicom.clinical_series import (
    MODEL,
    PATIENT,
    POSITIONS,
    program,
    segmented,
    write_clinical,
    write_enhanced,
)
from Testing.openvocabct_lib.output.output_cases import box_mask, segmentation

TISSUE = ("SCT", "85756007", "Tissue")


def written(folder: Path, position: str = "axial", **options: Any) -> tuple[Segmentation, Path]:
    write_clinical(folder / "ct", position, **options)
    result = segmented(CTVolume.read(folder / "ct"))
    result.write(folder / "out.dcm")
    return result, folder / "out.dcm"


def expected_frames(result: Segmentation, name: str) -> dict[str, NDArray[np.bool_]]:
    """A segment's pixels by UID of the source image, found through the position of every pixel in the patient.

    This is worked out from coordinates alone, without the writer's way through indices.
    """
    assert result.ct is not None
    assert result.ct.dicom is not None
    to_index = np.linalg.inv(result.geometry.affine_lps())
    frames = {}
    for frame in result.ct.dicom.frames:
        rows, columns = np.mgrid[: frame.size[0], : frame.size[1]]
        points = (
            frame.position
            + columns[..., None] * frame.spacing[1] * frame.axes[0]
            + rows[..., None] * frame.spacing[0] * frame.axes[1]
        )
        index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(int)
        frames[frame.instance_uid] = result[name].mask[index[..., 2], index[..., 1], index[..., 0]]
    return frames


@pytest.mark.parametrize("position", POSITIONS)
def test_highdicom_reads_the_same(position: str, tmp_path: Path) -> None:
    result, path = written(tmp_path, position)
    seg = highdicom.seg.segread(path)
    uids = [frame.instance_uid for frame in result.ct.dicom.frames]  # type: ignore[union-attr]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert seg.number_of_segments == len(result.found) == 4
    for number, segment in enumerate(result.found):
        expected = expected_frames(result, segment.id)
        for n, uid in enumerate(uids):
            np.testing.assert_array_equal(pixels[n, ..., number], expected[uid])
        assert expected and any(mask.any() for mask in expected.values())
    positions = {
        uid: np.array(pydicom.dcmread(file).ImagePositionPatient, dtype=float)
        for uid, file in zip(uids, result.ct.dicom_files, strict=True)  # type: ignore[union-attr]
    }
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        at = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        np.testing.assert_allclose(at, positions[source], atol=1e-6)


@pytest.mark.parametrize("position", POSITIONS)
def test_dcmqi_reads_the_same(position: str, tmp_path: Path) -> None:
    result, path = written(tmp_path, position)
    images, meta = read_with_dcmqi(path, tmp_path / "dcmqi")
    source = result.ct.dicom.frames  # type: ignore[union-attr]
    described = [segment for group in meta["segmentAttributes"] for segment in group]
    assert [one["SegmentLabel"] for one in described] == [segment.name for segment in result.found]
    for number, segment in enumerate(result.found, start=1):
        check_codes(segment, described[number - 1], CODE_KEYS_OF_DCMQI)
        image = images[number]
        expected = expected_frames(result, segment.id)
        seen = np.zeros((len(source), *source[0].size), dtype=bool)
        voxels = sitk.GetArrayFromImage(image) > 0
        for k in range(voxels.shape[0]):
            corner = np.array(image.TransformIndexToPhysicalPoint((0, 0, k)))
            normal = np.cross(*source[0].axes)
            n = int(np.argmin([abs(float((frame.position - corner) @ normal)) for frame in source]))
            assert abs(float((source[n].position - corner) @ normal)) < 1e-3
            seen[n] = voxels[k]
            if position != "tilted":  # an ITK image cannot be sheared; its planes are stacked upright
                np.testing.assert_allclose(corner, source[n].position, atol=1e-3)
        for n, frame in enumerate(source):
            np.testing.assert_array_equal(seen[n], expected[frame.instance_uid])
        np.testing.assert_allclose(image.GetSpacing()[:2], source[0].spacing[::-1], atol=1e-6)
        direction = np.array(image.GetDirection()).reshape(3, 3)
        np.testing.assert_allclose(direction[:, :2].T, source[0].axes, atol=1e-6)


@pytest.mark.parametrize("position", POSITIONS)
def test_gdcm_reads_the_same_pixels(position: str, tmp_path: Path) -> None:
    """GDCM through SimpleITK knows no segments: it gives the frames, in the order of the file."""
    result, path = written(tmp_path, position)
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    header = pydicom.dcmread(path)
    assert len(voxels) == header.NumberOfFrames
    expected = {segment.id: expected_frames(result, segment.id) for segment in result.found}
    for frame, plane in zip(header.PerFrameFunctionalGroupsSequence, voxels, strict=True):
        segment = result.found[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_array_equal(plane > 0, expected[segment.id][uid])


def test_codes_colours_and_the_algorithm(tmp_path: Path) -> None:
    result, path = written(tmp_path)
    seg = pydicom.dcmread(path)
    for segment, described in zip(result.found, seg.SegmentSequence, strict=True):
        assert described.SegmentLabel == segment.name
        check_codes(segment, described, CODE_KEYS_OF_DICOM)
        lab = CIELabColor.from_dicom_value(described.RecommendedDisplayCIELabValue)
        np.testing.assert_allclose(lab.to_rgb(clip=True), segment.colour, atol=2)
        algorithm = described.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
        assert MODEL.weights_sha256 in algorithm.AlgorithmParameters
        assert described.SegmentAlgorithmType == "AUTOMATIC"
    kidney, _, shadow, cyst = seg.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeValue == "64033007"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert cyst.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert shadow.SegmentedPropertyTypeCodeSequence[0].CodeValue == TISSUE[1]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert seg[keyword].value == PATIENT[keyword]
    assert seg.SegmentsOverlap == "YES"
    assert len({item.DimensionOrganizationUID for item in seg.DimensionIndexSequence}) == 1
    indices = [
        tuple(frame.FrameContentSequence[0].DimensionIndexValues) for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(indices)) == len(indices)


@pytest.mark.parametrize("position", POSITIONS)
def test_dciodvfy_has_no_error(position: str, tmp_path: Path) -> None:
    _, path = written(tmp_path, position)
    assert complaints(path) == []


def test_probabilities_are_kept_to_half_a_step(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    result = segmented(CTVolume.read(tmp_path / "ct"))
    rng = np.random.default_rng(0)
    fields = {s.id: np.where(s.mask, rng.uniform(0.3, 1, s.mask.shape), 0.0) for s in result.found}
    write_dicom_seg(result, tmp_path / "out.dcm", lambda segment: fields[segment.id])
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    uids = [frame.instance_uid for frame in result.ct.dicom.frames]  # type: ignore[union-attr]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, segment in enumerate(result.found):
        np.testing.assert_allclose(pixels[..., number], fields[segment.id], atol=0.5 / 255 + 1e-6)
    assert complaints(tmp_path / "out.dcm") == []


@pytest.mark.parametrize("position", ["axial", "oblique"])
def test_an_enhanced_ct_as_source(position: str, tmp_path: Path) -> None:
    source = write_enhanced(tmp_path / "ct" / "1", position)
    result = segmented(CTVolume.read(tmp_path / "ct"))
    result.write(tmp_path / "out.dcm")
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    numbers = [frame.number + 1 for frame in result.ct.dicom.frames]  # type: ignore[union-attr, operator]
    pixels = seg.get_pixels_by_source_frame(source.SOPInstanceUID, numbers, assert_missing_frames_are_empty=True)
    for number, segment in enumerate(result.found):
        np.testing.assert_array_equal(pixels[..., number], segment.mask)


@pytest.mark.parametrize("left", [True, False])
def test_an_enhanced_ct_whose_frames_say_all_by_themselves(left: bool, tmp_path: Path) -> None:
    source = write_enhanced(tmp_path / "ct" / "1", "oblique")
    shared = source.SharedFunctionalGroupsSequence[0]
    for frame in source.PerFrameFunctionalGroupsSequence:
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
    if left:
        del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    else:
        del source.SharedFunctionalGroupsSequence
    source.save_as(tmp_path / "ct" / "1", enforce_file_format=True)
    result = segmented(CTVolume.read(tmp_path / "ct"))
    result.write(tmp_path / "out.dcm")
    assert complaints(tmp_path / "out.dcm") == []
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    numbers = [frame.number + 1 for frame in result.ct.dicom.frames]  # type: ignore[union-attr, operator]
    pixels = seg.get_pixels_by_source_frame(source.SOPInstanceUID, numbers, assert_missing_frames_are_empty=True)
    for number, segment in enumerate(result.found):
        np.testing.assert_array_equal(pixels[..., number], segment.mask)


def test_frames_that_end_inside_of_a_byte(tmp_path: Path) -> None:
    """15 x 13 pixels: the frames of different segments share bytes."""
    from Testing.openvocabct_lib.ct_phantoms import ct_phantom
    from Testing.openvocabct_lib.dicom_series import write_slice

    for k, pixels in enumerate(ct_phantom((7, 15, 13))):
        attributes = PATIENT | {"InstanceNumber": k}
        write_slice(tmp_path / "ct" / f"{k}", pixels, (0, 0, 2.5 * k), **attributes)
    result = segmented(CTVolume.read(tmp_path / "ct"))
    result.write(tmp_path / "out.dcm")
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    uids = [frame.instance_uid for frame in result.ct.dicom.frames]  # type: ignore[union-attr]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, segment in enumerate(result.found):
        np.testing.assert_array_equal(pixels[..., number], segment.mask)


def test_a_segment_beside_the_tilted_scan_is_kept_empty(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct", "tilted")
    volume = CTVolume.read(tmp_path / "ct")
    masks = {"liver": box_mask(volume.geometry.shape, (0, volume.geometry.shape[1] - 1, 0), (1, 99, 3))}
    masks["heart"] = box_mask(volume.geometry.shape, (3, 5, 5), (6, 9, 9))
    segmentation(masks, volume.geometry, volume).write(tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["liver", "heart"]
    assert seg.pixel_array[0].max() == 0
    assert seg.pixel_array[1:].any(axis=(1, 2)).all()


def test_missing_slices_get_no_frame(tmp_path: Path) -> None:
    result, path = written(tmp_path, skip=(4,))
    assert result.ct is not None
    assert result.ct.resampled
    seg = highdicom.seg.segread(path)
    assert 4 + 1 not in [int(uid.rsplit(".", 1)[1]) for *_, uid in seg.get_source_image_uids()]
    uids = [frame.instance_uid for frame in result.ct.dicom.frames]  # type: ignore[union-attr]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(pixels[..., 1], np.delete(result["spinal cord"].mask, 4, axis=0))


@pytest.mark.parametrize("name", ["Müller^Jürgen", "Yamada^Tarou=山田^太郎"])
def test_names_in_other_scripts(name: str, tmp_path: Path) -> None:
    charset = "ISO_IR 100" if "ü" in name else ["", "ISO 2022 IR 87"]
    _, path = written(tmp_path, SpecificCharacterSet=charset, PatientName=name)
    assert str(pydicom.dcmread(path).PatientName) == name


def test_the_same_result_has_the_same_identifier(tmp_path: Path) -> None:
    result, path = written(tmp_path)
    result.write(tmp_path / "again.dcm")
    first, again = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "again.dcm")
    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert first.SOPInstanceUID != first.SeriesInstanceUID
    other = Segmentation(result.geometry, result.segments[:2], result.ct, algorithm=MODEL)
    other.write(tmp_path / "other.dcm")
    assert pydicom.dcmread(tmp_path / "other.dcm").SOPInstanceUID != first.SOPInstanceUID


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_ct_that_is_not_dicom(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    volume = CTVolume.read(tmp_path / "ct")
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "ct.nii.gz"))
    result = segmented(CTVolume.read(tmp_path / "ct.nii.gz"))
    with pytest.raises(InputError, match=r"read from DICOM: write \.seg\.nrrd"):
        result.write(tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_nothing_found(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    volume = CTVolume.read(tmp_path / "ct")
    result = segmented(volume)
    empty = Segmentation(result.geometry, tuple(s for s in result.segments if not s.found), volume)
    with pytest.raises(InputError, match="nothing was found"):
        empty.write(tmp_path / "out.dcm")
    assert list(tmp_path.glob("*.dcm")) == []


def test_source_images_that_are_gone(tmp_path: Path) -> None:
    paths = write_clinical(tmp_path / "ct")
    result = segmented(CTVolume.read(tmp_path / "ct"))
    paths[2].unlink()
    with pytest.raises(InputError, match="cannot be read any more: keep the CT"):
        result.write(tmp_path / "out.dcm")


def test_a_series_without_frame_of_reference(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct", FrameOfReferenceUID=None)
    result = segmented(CTVolume.read(tmp_path / "ct"))
    with pytest.raises(InputError, match="lack a FrameOfReferenceUID"):
        result.write(tmp_path / "out.dcm")


@pytest.mark.parametrize("thickness", [None, ""])
def test_slices_that_do_not_say_how_thick_they_are(thickness: str | None, tmp_path: Path) -> None:
    _, path = written(tmp_path, "tilted", SliceThickness=thickness)
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == measures.SpacingBetweenSlices
    assert complaints(path) == []


# --- reading --------------------------------------------------------------------------------------------------------

CODE_KEYS_OF_DICOM = {
    "category": "SegmentedPropertyCategoryCodeSequence",
    "type": "SegmentedPropertyTypeCodeSequence",
    "modifier": "SegmentedPropertyTypeModifierCodeSequence",
    "region": "AnatomicRegionSequence",
    "region_modifier": "AnatomicRegionModifierSequence",
}
CODE_KEYS_OF_DCMQI = CODE_KEYS_OF_DICOM


def check_codes(segment: Any, described: Any, keys: dict[str, str]) -> None:
    """Compare a segment's codes with those in a DICOM item or in dcmqi's JSON."""
    for part, key in keys.items():
        code = getattr(segment.terminology, part) if segment.terminology is not None else None
        if segment.terminology is None and part in ("category", "type"):
            assert _code(described, key) == TISSUE
        elif part == "modifier" and not isinstance(described, dict):
            assert _code(described.SegmentedPropertyTypeCodeSequence[0], key) == _tuple(code)
        elif part == "region_modifier" and not isinstance(described, dict):
            if code is not None:
                assert _code(described.AnatomicRegionSequence[0], key) == _tuple(code)
        else:
            assert _code(described, key) == _tuple(code), key


def _tuple(code: Any) -> Any:
    return None if code is None else (code.scheme, code.value, code.meaning)


def _code(described: Any, key: str) -> Any:
    if key not in described:
        return None
    item = described[key] if isinstance(described, dict) else described[key].value[0]
    read = item.get if isinstance(item, dict) else lambda name: getattr(item, name)
    return tuple(read(name) for name in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning"))


def read_with_dcmqi(path: Path, folder: Path) -> tuple[dict[int, sitk.Image], dict[str, Any]]:
    """Return images by segment number, and dcmqi's description."""
    folder.mkdir()
    command = Path(sys.executable).with_name("segimage2itkimage")
    arguments = ["--inputDICOM", path, "--outputDirectory", folder, "--prefix", "s", "-t", "nii"]
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    images = {
        int(file.name.split("-")[-1].split(".")[0]): sitk.ReadImage(str(file)) for file in folder.glob("*.nii.gz")
    }
    return images, json.loads((folder / "s-meta.json").read_text())


def complaints(path: Path) -> list[str]:
    """Return the errors that dciodvfy finds."""
    done = subprocess.run(
        [program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True, timeout=60, check=False
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
