from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvocabct_training.evaluation.perturbations import PERTURBATIONS, middle_half, noisy, reoriented, thick_slices
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_training.evaluation.scans import GRID, LEFT, SHAPES, cropped, ct, grid, points_of

GRIDS = st.builds(
    grid,
    shape=st.permutations((14, 17, 20)).map(tuple),
    spacing=st.permutations((7.0, 8.0, 9.0)).map(tuple),
    degrees=st.tuples(*(st.sampled_from((-20.0, 0.0, 15.0, 90.0)),) * 3),
    signs=st.tuples(*(st.sampled_from((-1, 1)),) * 3),
)


def middle_of(mask: CroppedMask, geometry: Geometry) -> np.ndarray:
    return points_of(geometry)[mask.full()].mean(axis=0)


@settings(max_examples=25, deadline=None)
@given(geometry=GRIDS)
def test_reoriented_voxels_stay_where_they_are(geometry: Geometry) -> None:
    volume = ct(geometry)
    moved, masks = reoriented(volume, cropped(geometry))
    assert moved.geometry.shape != geometry.shape

    def by_place(one: CTVolume) -> dict[tuple[int, ...], int]:
        places = np.rint(points_of(one.geometry).reshape(-1, 3) * 100).astype(int)
        return dict(zip(map(tuple, places.tolist()), one.array.ravel().tolist(), strict=True))

    assert by_place(moved) == by_place(volume)
    for concept, mask in masks.items():
        assert np.array_equal(mask.full(), SHAPES[concept](points_of(moved.geometry)))


@settings(max_examples=25, deadline=None)
@given(geometry=GRIDS)
def test_thick_slices_keep_structures_in_place(geometry: Geometry) -> None:
    changed = thick_slices(ct(geometry), cropped(geometry))
    assert changed is not None
    volume, masks = changed
    assert sorted(volume.geometry.shape) != sorted(geometry.shape)
    assert volume.geometry.voxel_volume_ml == pytest.approx(2 * geometry.voxel_volume_ml)
    step = max(volume.geometry.spacing)
    for concept, mask in cropped(geometry).items():
        if masks[concept].count > 8 and mask.count > 16:
            assert np.linalg.norm(middle_of(masks[concept], volume.geometry) - middle_of(mask, geometry)) < step
    length = {"S", "I"}
    thick = [new / old for new, old in zip(volume.geometry.spacing, geometry.spacing, strict=True)]
    assert [letter in length for letter in geometry.axis_codes()] == [ratio == pytest.approx(2) for ratio in thick]


def test_thick_slices_are_means_of_pairs() -> None:
    changed = thick_slices(ct(), {})
    assert changed is not None
    expected = (ct().array[0::2].astype(float) + ct().array[1::2]) / 2
    assert np.abs(changed[0].array - expected).max() <= 0.5
    assert changed[0].geometry.origin == pytest.approx(points_of(GRID)[0:2, 0, 0].mean(axis=0))


@settings(max_examples=25, deadline=None)
@given(geometry=GRIDS)
def test_the_middle_half_is_cut_out(geometry: Geometry) -> None:
    changed = middle_half(ct(geometry), cropped(geometry))
    assert changed is not None
    volume, masks = changed
    places = {tuple(place) for place in np.rint(points_of(geometry).reshape(-1, 3) * 100).astype(int).tolist()}
    assert {
        tuple(place) for place in np.rint(points_of(volume.geometry).reshape(-1, 3) * 100).astype(int).tolist()
    } < places
    for concept, mask in masks.items():
        assert np.array_equal(mask.full(), SHAPES[concept](points_of(volume.geometry)))


def test_noise_is_the_same_every_time_and_moves_nothing() -> None:
    volume, masks = noisy(ct(), cropped())
    again, _ = noisy(ct(), cropped())
    assert np.array_equal(volume.array, again.array)
    assert volume.geometry == GRID
    assert masks[LEFT].count == cropped()[LEFT].count
    difference = (volume.array.astype(int) - ct().array)[ct().array == -100]
    assert 25 < difference.std() < 35
    assert volume.array.dtype == ct().array.dtype


def test_too_few_slices_to_take_any_away() -> None:
    thin = grid((2, 24, 24), (5.0, 5.0, 20.0), (0.0, 0.0, 0.0), (1, 1, 1))
    assert thick_slices(ct(thin), {}) is None
    assert set(PERTURBATIONS) == {"orientation", "spacing", "noise", "crop"}
