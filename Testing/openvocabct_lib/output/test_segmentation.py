from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output import Segmentation, segment_ids, unanswered
from OpenVocabCTLib.output.segmentation import slug
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.output.output_cases import grid, overlapping, ramp_ct, segmentation


def test_ids_come_from_the_concept_or_the_label_and_repeats_are_numbered() -> None:
    prompts = PromptSet.parse(["left kidney", "Odd Shadow (?)", "L kidney", "odd shadow", "odd shadow 2"])
    assert segment_ids(prompts) == ("left_kidney", "odd_shadow", "left_kidney_2", "odd_shadow_2", "odd_shadow_2_2")


@given(
    st.lists(st.text(alphabet="aB 2_éß日$", min_size=1, max_size=6).filter(lambda t: t.strip()), min_size=1, max_size=9)
)
def test_ids_are_unique_plain_and_the_same_every_time(texts: list[str]) -> None:
    prompts = PromptSet.parse(texts)
    ids = segment_ids(prompts)
    assert len(set(ids)) == len(texts)
    assert all(name.isascii() and name.replace("_", "a").isalnum() for name in ids)
    assert segment_ids(PromptSet.parse(texts)) == ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tumour, 3 cm", "tumour_3_cm"),
        ("Größe", "grosse"),
        ("日本", "segment"),
        ("../../etc", "etc"),
        ("a" * 99, "a" * 48),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_names_codes_and_colours_of_prompts() -> None:
    known, free, other = unanswered(PromptSet.parse(["LT kidney", "Odd  Shadow", "odd light"]))
    assert (known.name, known.canonical, known.prompt) == ("left kidney", "left_kidney", "LT kidney")
    assert known.terminology is not None
    assert (free.name, free.canonical, free.terminology) == ("Odd Shadow", None, None)
    assert free.colour != other.colour
    assert not any(segment.found for segment in (known, free, other))


def test_segments_are_found_by_id_prompt_name_and_canonical_id() -> None:
    result = overlapping(grid())
    for key in ("left_kidney", "left kidney", "LEFT KIDNEY "):
        assert result[key].id == "left_kidney"
        assert key in result
    assert result["a strange shadow"].canonical is None
    assert result.segments[0] in result
    assert "liver" not in result
    with pytest.raises(InputError, match="choose from left kidney, spinal cord"):
        result["liver"]


def test_order_length_and_found() -> None:
    result = overlapping(grid())
    assert [segment.prompt for segment in result] == ["left kidney", "spinal cord", "gallbladder", "a strange shadow"]
    assert len(result) == 4
    assert [segment.id for segment in result.found] == ["left_kidney", "spinal_cord", "a_strange_shadow"]


def test_masks_are_on_the_input_grid_and_missing_ones_say_why() -> None:
    result = overlapping(grid())
    mask = result["left kidney"].mask
    assert (mask.shape, mask.dtype, mask.sum()) == ((8, 10, 12), np.bool_, 60)
    with pytest.raises(InputError, match="'gallbladder' was not found \\(not in this scan\\)"):
        _ = result["gallbladder"].mask


def test_found_must_agree_with_the_mask() -> None:
    found = overlapping(grid()).segments[0]
    with pytest.raises(ValueError, match="does not agree"):
        replace(found, cropped=None)
    with pytest.raises(ValueError, match="does not agree"):
        replace(found, found=False)


def test_ids_must_differ_and_masks_and_ct_must_fit() -> None:
    result = overlapping(grid())
    with pytest.raises(ValueError, match="same id"):
        Segmentation(result.geometry, result.segments[:1] * 2)
    with pytest.raises(ValueError, match="not on the grid"):
        Segmentation(grid(shape=(9, 10, 12)), result.segments)
    other: CTVolume = ramp_ct(grid(shape=(4, 5, 6)))
    with pytest.raises(ValueError, match="not on the grid"):
        Segmentation(result.geometry, result.segments, other)


def test_a_wrong_overlap_is_refused_before_anything_is_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="choose from error, first, last"):
        segmentation({"liver": None}, grid()).write(tmp_path / "a.nii", overlap="both")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
