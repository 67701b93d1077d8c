from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.answers import mean_inside, native_mask, settle
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import WorkingGrid, whole, working_grid
from OpenVocabCTLib.inference.native_masks import native_mask as mask_of_values
from OpenVocabCTLib.inference.threads import in_threads
from OpenVocabCTLib.output.masks import CroppedMask, RunMask
from Testing.openvocabct_lib.inference import phantoms, simple_answers

FLIPPED_AND_TURNED = phantoms.all_axis_geometries()
OBLIQUE = phantoms.oblique_geometry((5, 30, -25), (-1, 1, -1))


def field(shape: tuple[int, int, int], smooth: float = 1.5, seed: int = 0) -> torch.Tensor:
    """Random logits with structures of some voxels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    values = ndimage.gaussian_filter(noise, smooth) if smooth else noise
    return torch.from_numpy((4.0 * values / values.std()).astype(np.float32))


def agree(ours: np.ndarray, values: np.ndarray, threshold: float) -> None:
    """The masks are the same but where rounding decides."""
    differ = ours != (values > threshold)
    assert np.all(np.abs(values[differ] - threshold) < 1e-4)
    assert differ.mean() < 1e-4
    assert ours.any() and not ours.all()


@pytest.mark.parametrize("geometry", FLIPPED_AND_TURNED, ids=lambda g: g.axis_codes())
def test_every_orientation_agrees_with_interpolating_every_voxel(geometry: Geometry) -> None:
    grid = working_grid(geometry, (2.0, 3.1, 4.3))
    values = field(grid.shape)
    ours = mask_of_values(values, (0, 0, 0), grid, whole(geometry.shape), 0.3).full()
    agree(ours, simple_answers.native_values(values, (0, 0, 0), grid, whole(geometry.shape)), 0.3)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 30)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 8.0)] * 3),
    target=st.tuples(*[st.floats(0.5, 6.0)] * 3),
    smooth=st.sampled_from([0.0, 1.0, 3.0]),
    threshold=st.floats(-3.0, 3.0),
    seed=st.integers(0, 100),
)
def test_finer_and_coarser_grids_agree(shape: Any, spacing: Any, target: Any, **rest: Any) -> None:
    geometry = Geometry(shape, spacing, (3.0, -7.0, 11.0), (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    grid = working_grid(geometry, target)
    values = field(grid.shape, rest["smooth"], rest["seed"])
    ours = mask_of_values(values, (0, 0, 0), grid, whole(shape), rest["threshold"]).full()
    theirs = simple_answers.native_values(values, (0, 0, 0), grid, whole(shape))
    differ = ours != (theirs > rest["threshold"])
    assert np.all(np.abs(theirs[differ] - rest["threshold"]) < 1e-4)


def test_constant_values_are_all_or_nothing() -> None:
    grid = working_grid(FLIPPED_AND_TURNED[5], 3.0)
    everything = whole(grid.native.shape)
    for value, expected in ((1.0, grid.native.shape[0] * grid.native.shape[1] * grid.native.shape[2]), (-1.0, 0)):
        mask = mask_of_values(torch.full(grid.shape, value), (0, 0, 0), grid, everything, 0.0)
        assert mask.count == expected


@pytest.mark.parametrize("geometry", [*FLIPPED_AND_TURNED[::9], OBLIQUE], ids=lambda g: g.axis_codes())
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 2.5])
@pytest.mark.parametrize("sided", [False, True])
def test_answers_are_those_of_the_simple_way(geometry: Geometry, threshold: float, sided: bool) -> None:
    grid = working_grid(geometry, (2.5, 3.1, 3.6))
    shape = (grid.shape[0] - 3, grid.shape[1] - 5, grid.shape[2] - 2)
    embedding = embedding_on(grid, shape)
    # Coarse structures and specks, some of them islands.
    logits = field(shape, 3.0) + 0.7 * field(shape, 0.6, 1) - 2.0
    rival = field(shape, 3.0, 2) if sided else None
    answer = settle(logits, rival, threshold, 0.5)
    simple = simple_answers.settled(logits, rival, threshold)
    assert answer.voxels == int((simple > threshold).sum()) > 0
    assert answer.box == simple_answers.bounding_box((simple > threshold).numpy())
    everywhere = settle(logits, rival, threshold, 0.5, everywhere=True)
    assert torch.equal(everywhere.logits, simple)
    ours, theirs = native_mask(answer, embedding, threshold), simple_answers.native_mask(simple, embedding, threshold)
    assert isinstance(ours, RunMask)
    differ = ours.full() != theirs
    assert differ.sum() <= 1e-5 * theirs.sum()
    assert 2 * (ours.full() & theirs).sum() / (ours.count + theirs.sum()) >= 0.9999


def embedding_on(grid: WorkingGrid, shape: tuple[int, int, int]) -> VoxelEmbedding:
    nothing = torch.zeros(1, 1)
    return VoxelEmbedding(torch.zeros(1, *shape), (2, 4, 1), grid, nothing, torch.zeros(1, 3), (32, 32, 32), 0.0)


def test_the_same_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = FLIPPED_AND_TURNED[11]
    grid = working_grid(geometry, 2.0)
    values, everything = field(grid.shape), whole(geometry.shape)
    alone = mask_of_values(values, (0, 0, 0), grid, everything, 0.0)
    monkeypatch.setattr("OpenVocabCTLib.inference.native_masks._BLOCK_CORNERS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for mask in (
        mask_of_values(values, (0, 0, 0), grid, everything, 0.0),
        *in_threads(lambda limit: mask_of_values(values, (0, 0, 0), grid, everything, limit), [0.0, 0.0]),
    ):
        assert np.array_equal(mask.full(), alone.full())


def test_mean_inside_is_the_mean() -> None:
    geometry = FLIPPED_AND_TURNED[7]
    array = phantoms.volume_on(geometry).array
    inside = np.random.default_rng(0).random(array.shape) > 0.7
    inside[:5] = False
    for mask in (CroppedMask.from_full(inside), RunMask.of(CroppedMask.from_full(inside))):
        assert mean_inside(array, mask) == pytest.approx(float(array[inside].mean()), rel=1e-12)
        assert mean_inside(array.astype(np.float32) / 7, mask) == pytest.approx(float(array[inside].mean()) / 7)
