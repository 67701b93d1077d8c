from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from OpenVocabCTLib.output.masks import CroppedMask, bounding_box
from Testing.openvocabct_lib.output.output_cases import box_mask

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
MASKS = hnp.arrays(np.bool_, SHAPES)


@given(MASKS)
def test_a_cropped_mask_is_the_mask(mask: np.ndarray) -> None:
    cropped = CroppedMask.from_full(mask)
    np.testing.assert_array_equal(cropped.full(), mask)
    assert cropped.count == mask.sum()
    assert cropped.full().dtype == np.bool_


@given(MASKS)
def test_the_box_is_as_small_as_can_be(mask: np.ndarray) -> None:
    array = CroppedMask.from_full(mask).array
    for axis in range(3):
        faces = np.moveaxis(array, axis, 0)
        assert array.size == 0 or (faces[0].any() and faces[-1].any())


@given(st.data())
def test_overlap_agrees_with_whole_masks(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    a, b = (data.draw(hnp.arrays(np.bool_, shape, elements=st.booleans())) for _ in range(2))
    expected = bool((a & b).any())
    assert CroppedMask.from_full(a).overlaps(CroppedMask.from_full(b)) is expected


def test_from_box_crops_further_and_keeps_its_place() -> None:
    mask = box_mask((9, 8, 7), (3, 4, 2), (5, 6, 3))
    cropped = CroppedMask.from_box(mask[2:7, 1:7, 1:6].astype(np.uint8), (2, 1, 1), (9, 8, 7))
    assert cropped.start == (3, 4, 2)
    np.testing.assert_array_equal(cropped.full(), mask)


def test_an_empty_mask_has_an_empty_box() -> None:
    cropped = CroppedMask.from_full(np.zeros((3, 4, 5), dtype=bool))
    assert cropped.array.size == 0
    assert not cropped.full().any()
    assert not cropped.overlaps(CroppedMask.from_full(np.ones((3, 4, 5), dtype=bool)))
    assert bounding_box(np.zeros((3, 4, 5))) == (slice(0, 0), slice(0, 0), slice(0, 0))


def test_the_crop_does_not_keep_the_grid_in_memory() -> None:
    cropped = CroppedMask.from_full(box_mask((50, 50, 50), (1, 1, 1), (2, 2, 2)))
    base = cropped.array
    while base.base is not None:
        base = base.base
    assert base.size == 1


def test_the_mask_cannot_be_written_to() -> None:
    cropped = CroppedMask.from_full(np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(ValueError, match="read-only"):
        cropped.array[0, 0, 0] = False


@pytest.mark.parametrize(
    ("start", "array"),
    [
        ((0, 0, 3), np.ones((1, 1, 2), dtype=bool)),
        ((-1, 0, 0), np.ones((1, 1, 1), dtype=bool)),
        ((0, 0, 0), np.ones((1, 1, 1), dtype=np.uint8)),
        ((0, 0, 0), np.ones((1, 1), dtype=bool)),
    ],
)
def test_wrong_boxes_and_types_are_refused(start: tuple[int, int, int], array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"leaves the grid|bool array"):
        CroppedMask(start, array, (4, 4, 4))
