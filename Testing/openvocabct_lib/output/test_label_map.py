from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output import Segmentation
from OpenVocabCTLib.output.formats import LABEL_MAP_SUFFIXES
from OpenVocabCTLib.output.labelmap import check_replaced_image, label_map
from Testing.openvocabct_lib.output.output_cases import (
    ORIENTATIONS,
    affine_of,
    box_mask,
    grid,
    overlapping,
    segmentation,
)

EVERYWHERE = [grid(codes) for codes in ORIENTATIONS] + [grid(codes, turn=0.4) for codes in ("LPS", "RAS", "PIR", "SLA")]


def apart(geometry: Geometry) -> Segmentation:
    shape = geometry.shape
    return segmentation(
        {
            "left kidney": box_mask(shape, (1, 1, 1), (4, 5, 6)),
            "gallbladder": None,
            "spinal cord": box_mask(shape, (5, 5, 5), (8, 10, 12)),
        },
        geometry,
    )


@pytest.mark.parametrize("suffix", LABEL_MAP_SUFFIXES)
@pytest.mark.parametrize("geometry", EVERYWHERE, ids=lambda g: f"{g.axis_codes()}{'-oblique' * g.is_oblique}")
def test_values_and_grid_read_back(geometry: Geometry, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    result = apart(geometry)
    result.write(path)
    image = sitk.ReadImage(str(path))
    # NIfTI keeps the affine as 32-bit floats.
    tolerance = {"rtol": 1e-6, "atol": 2e-5} if suffix.startswith(".nii") else {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(affine_of(image), geometry.affine_lps(), **tolerance)
    labels = sitk.GetArrayFromImage(image)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels == 1, result["left kidney"].mask)
    np.testing.assert_array_equal(labels == 3, result["spinal cord"].mask)
    assert set(np.unique(labels)) == {0, 1, 3}


def test_a_direction_rounded_in_a_header_is_written_all_the_same(tmp_path: Path) -> None:
    turned = grid("LPS", turn=0.4)
    rounded = Geometry(turned.shape, turned.spacing, turned.origin, tuple(round(x, 4) for x in turned.direction))
    for suffix in LABEL_MAP_SUFFIXES:
        path = tmp_path / f"{suffix[1:]}{suffix}"
        apart(rounded).write(path)
        read = affine_of(sitk.ReadImage(str(path)))
        corner = np.array([*(n - 1 for n in rounded.shape[::-1]), 1.0])
        np.testing.assert_allclose(read @ corner, rounded.affine_lps() @ corner, atol=2e-3)


@pytest.mark.parametrize("suffix", LABEL_MAP_SUFFIXES)
def test_nothing_found_gives_zeros(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    segmentation({"liver": None}, grid()).write(path)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(path))).any()


@pytest.mark.parametrize(("there", "wanted"), [("out.nii", "out.nii.gz"), ("out.nii.gz", "out.nii")])
def test_no_label_map_beside_its_namesake_of_another_compression(there: str, wanted: str, tmp_path: Path) -> None:
    """ITK would read the header of the one and the voxels of the other."""
    found = apart(grid())
    found.write(tmp_path / there)
    for attempt in (found.write, check_replaced_image):
        with pytest.raises(InputError, match=f"{there} lies where {wanted} would go, and many .* of out.nii for both"):
            attempt(tmp_path / wanted)
    found.write(tmp_path / there)
    found.write(tmp_path / "other.nii.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.nii.gz", there]


def test_overlap_is_an_error_that_names_the_two_prompts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'left kidney' and 'a strange shadow' overlap.*seg.nrrd"):
        overlapping(grid()).write(tmp_path / "labels.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("overlap", "winner"), [("first", 1), ("last", 4)])
def test_overlap_first_or_last(overlap: str, winner: int, tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    result = overlapping(grid())
    result.write(path, overlap=overlap)  # type: ignore[arg-type]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    kidney, shadow = result["left kidney"].mask, result["a strange shadow"].mask
    assert (kidney & shadow).any()
    assert (labels[kidney & shadow] == winner).all()
    assert (labels[kidney & ~shadow] == 1).all()
    np.testing.assert_array_equal(labels > 0, kidney | shadow | result["spinal cord"].mask)


@pytest.mark.parametrize(("prompts", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16)])
def test_the_smallest_type_that_numbers_all_prompts(prompts: int, dtype: type) -> None:
    shape = (2, 16, 16)
    masks: dict[str, np.ndarray | None] = {f"spot {n}": None for n in range(prompts)}
    masks[f"spot {prompts - 1}"] = box_mask(shape, (0, 0, 0), (1, 1, 1))
    labels = label_map(segmentation(masks, grid(shape=shape)))
    assert labels.dtype == dtype
    assert labels.max() == prompts
