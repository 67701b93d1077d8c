"""RT Structure Sets: the contours filled again by matplotlib, names, references, validation."""

from __future__ import annotations

from pathlib import Path

import matplotlib.path
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from OpenVocabCTLib.errors import ResourceError
from OpenVocabCTLib.output.rtstruct import outlines
from OpenVocabCTLib.output.tg263 import tg263_concepts, tg263_name
from OpenVocabCTLib.prompts import PromptSet, Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.dicom.clinical_series import POSITIONS, segmented, write_clinical, write_enhanced
from Testing.openvocabct_lib.dicom.test_dicom_seg import complaints
from Testing.openvocabct_lib.output.output_cases import box_mask, segmentation
from Testing.openvocabct_lib.output.test_output_files import file_size_limit


def filled(polygons: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre is inside of an odd number of polygons."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    inside = np.zeros(len(centres), dtype=bool)
    for polygon in polygons:
        inside ^= _even_odd(polygon, centres)
    return inside.reshape(shape)


def _even_odd(polygon: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Cast a ray, slightly turned so that it meets no corner, and count the edges it crosses."""
    turn = np.array([[np.cos(0.1234), -np.sin(0.1234)], [np.sin(0.1234), np.cos(0.1234)]])
    polygon, points = polygon @ turn, points @ turn
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if y0 != y1:
            inside ^= crosses & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    return inside


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_comes_back_from_its_outlines(mask: NDArray[np.bool_]) -> None:
    polygons = list(outlines(mask))
    assert all(len(polygon) >= 4 for polygon in polygons)
    np.testing.assert_array_equal(filled(polygons, mask.shape), mask)


def test_a_ring_is_one_polygon_without_its_hole() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    (polygon,) = outlines(mask)
    inside = matplotlib.path.Path(polygon).contains_points([(4.1, 4.2), (2.2, 2.1), (0.1, 0.2)])
    assert inside.tolist() == [False, True, False]


@pytest.mark.parametrize("position", POSITIONS)
def test_contours_lie_on_the_source_slices(position: str, tmp_path: Path) -> None:
    paths = write_clinical(tmp_path / "ct", position)
    result = segmented(CTVolume.read(tmp_path / "ct"))
    result.write(tmp_path / "out.rtstruct.dcm")
    read = pydicom.dcmread(tmp_path / "out.rtstruct.dcm")
    sources = {str(header.SOPInstanceUID): header for header in map(pydicom.dcmread, paths)}
    assert result.ct is not None
    assert result.ct.dicom is not None
    grid = result.ct.dicom.onto_frames(result.geometry)
    frames = {frame.instance_uid: n for n, frame in enumerate(result.ct.dicom.frames)}
    assert [roi.ROIName for roi in read.StructureSetROISequence] == [
        "Kidney_L", "SpinalCord", "a strange shadow", "liver cyst",
    ]  # fmt: skip
    for segment, structure in zip(result.found, read.ROIContourSequence, strict=True):
        assert list(structure.ROIDisplayColor) == list(segment.colour)
        seen: dict[str, list[NDArray[np.float64]]] = {}
        for contour in structure.ContourSequence:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            source = sources[uid]
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) - np.array(source.ImagePositionPatient)
            row, column = np.array(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
            assert np.abs(points @ np.cross(row, column)).max() < 1e-3  # in the plane of the slice
            rows, columns = source.PixelSpacing
            seen.setdefault(uid, []).append(np.column_stack([points @ row / columns, points @ column / rows]))
        for uid, n in frames.items():
            expected = grid.take(segment.mask, n)
            np.testing.assert_array_equal(filled(seen.get(uid, []), expected.shape), expected)


def test_codes_tell_the_side_and_only_parts_of_the_body_are_organs(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    volume = CTVolume.read(tmp_path / "ct")
    mask = box_mask(volume.geometry.shape, (1, 2, 3), (4, 6, 7))
    prompts = ("right kidney", "left kidney cyst", "body", "stent", "spinal cord", "a strange shadow")
    segmentation(dict.fromkeys(prompts, mask), volume.geometry, volume).write(tmp_path / "x.rtstruct.dcm")
    observations = pydicom.dcmread(tmp_path / "x.rtstruct.dcm").RTROIObservationsSequence
    types = [one.RTROIInterpretedType for one in observations]
    assert types == ["ORGAN", "", "EXTERNAL", "", "ORGAN", ""]
    kidney, cyst, *_, shadow = observations
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    (kind,) = kidney.RTROIIdentificationCodeSequence
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    assert cyst.RTROIIdentificationCodeSequence[0].CodeMeaning == "Cyst"
    (place,) = cyst.AnatomicRegionSequence
    assert (place.CodeMeaning, place.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Kidney", "Left")
    assert "RTROIIdentificationCodeSequence" not in shadow
    assert complaints(tmp_path / "x.rtstruct.dcm") == []


@pytest.mark.parametrize("source", ["classic", "enhanced"])
def test_dciodvfy_has_no_error(source: str, tmp_path: Path) -> None:
    if source == "classic":
        write_clinical(tmp_path / "ct")
    else:
        write_enhanced(tmp_path / "ct" / "1")
    result = segmented(CTVolume.read(tmp_path / "ct"))
    result.write(tmp_path / "out.rtstruct.dcm")
    assert complaints(tmp_path / "out.rtstruct.dcm") == []


def test_every_tg263_name_is_understood_and_fits() -> None:
    vocabulary = Vocabulary.load()
    names = tg263_concepts()
    assert len(set(names.values())) == len(names)
    for concept, name in names.items():
        assert vocabulary.get(concept).id == concept
        assert len(name) <= 16  # the limit of TG-263
        understood = PromptSet.parse([name])[0].concept
        assert understood is None or understood.id == concept, name
        assert tg263_name(concept) == name
    assert tg263_name("left_kidney") == "Kidney_L"
    assert tg263_name("ileum") == "Ileum"
    assert tg263_name(None) is tg263_name("left_rib_3") is None
    # Formed as if they were names of the list, which has none for these.
    assert {"A_Aorta_Abd", "Airway", "A_Iliac_Cmn_L", "Bone_Sacrum", "Bone_Sternum"}.isdisjoint(names.values())


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    write_clinical(tmp_path / "ct")
    volume = CTVolume.read(tmp_path / "ct")
    noise = np.random.default_rng(0).random(volume.geometry.shape) > 0.5  # more than fits into a buffer
    with file_size_limit(2000), pytest.raises(ResourceError, match=r"the disk of x\.rtstruct\.dcm is full"):
        segmentation({"body": noise}, volume.geometry, volume).write(tmp_path / "x.rtstruct.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


def test_no_two_structures_have_one_name(tmp_path: Path) -> None:
    """Whatever tells them apart in the prompts: planning systems tell them apart by their names."""
    write_clinical(tmp_path / "ct")
    volume = CTVolume.read(tmp_path / "ct")
    mask = box_mask(volume.geometry.shape, (1, 2, 3), (4, 6, 7))
    prompts = ("left kidney", "kidney left", "a strange " + "x" * 80, "a strange " + "x" * 90)
    asked = segmentation(dict.fromkeys(prompts, mask), volume.geometry, volume)
    asked.write(tmp_path / "x.rtstruct.dcm")
    names = [one.ROIName for one in pydicom.dcmread(tmp_path / "x.rtstruct.dcm").StructureSetROISequence]
    assert names[:2] == ["Kidney_L", "Kidney_L_2"]
    assert len({name.casefold() for name in names}) == 4
    assert max(map(len, names)) <= 64
