from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from OpenVocabCTLib.output.masks import CroppedMask, RunMask, bounding_box
from OpenVocabCTLib.output.runs import Runs

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 140))
MASKS = SHAPES.flatmap(lambda shape: hnp.arrays(np.bool_, shape))


@given(MASKS)
def test_runs_are_the_mask(mask: np.ndarray) -> None:
    runs = Runs.from_mask(mask)
    np.testing.assert_array_equal(runs.filled(), mask)
    assert runs.count == mask.sum()
    assert runs.box() == bounding_box(mask)
    np.testing.assert_array_equal(runs.indices(), np.flatnonzero(mask))
    assert np.all(runs.lengths > 0)


@given(MASKS, st.data())
def test_parts_of_runs_are_parts_of_the_mask(mask: np.ndarray, data: st.DataObject) -> None:
    runs = Runs.from_mask(mask)
    first = data.draw(st.integers(0, mask.shape[0]))
    last = data.draw(st.integers(first, mask.shape[0]))
    np.testing.assert_array_equal(runs.slices(first, last).filled(), mask[first:last])
    np.testing.assert_array_equal(runs.within(runs.box()).filled(), mask[runs.box()])


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
@given(mask=MASKS)
def test_the_sum_inside(mask: np.ndarray, dtype: type) -> None:
    values = (np.random.default_rng(mask.size).normal(size=mask.shape) * 1000).clip(0).astype(dtype)
    total = Runs.from_mask(mask).total(values)
    assert total == pytest.approx(float(values[mask].sum(dtype=np.float64)), rel=1e-9, abs=1e-6)


def test_the_sum_of_many_slices_is_exact() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(-1024, 3071, (40, 90, 100)).astype(np.int16)
    mask = generator.random(values.shape) > 0.3
    assert Runs.from_mask(mask).total(values[:, :, ::1]) == float(values[mask].sum(dtype=np.int64))
    assert Runs.from_mask(mask[:, ::2, 5:80]).total(values[:, ::2, 5:80]) == values[:, ::2, 5:80][
        mask[:, ::2, 5:80]
    ].sum(dtype=np.int64)


@given(st.data())
def test_overlap_agrees_with_whole_masks(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    one, other = (data.draw(hnp.arrays(np.bool_, shape, elements=st.booleans())) for _ in range(2))
    expected = bool((one & other).any())
    assert Runs.from_mask(one).overlaps(Runs.from_mask(other)) is expected
    cropped = CroppedMask.from_full(one), CroppedMask.from_full(other)
    assert RunMask.of(cropped[0]).overlaps(RunMask.of(cropped[1])) is expected
    assert RunMask.of(cropped[0]).overlaps(cropped[1]) is expected
    assert cropped[0].overlaps(RunMask.of(cropped[1])) is expected


@given(MASKS)
def test_a_mask_of_runs_is_the_cropped_mask(mask: np.ndarray) -> None:
    cropped = CroppedMask.from_full(mask)
    for runs in (RunMask.of(cropped), RunMask.cropped_to(Runs.from_mask(mask), (0, 0, 0), cropped.shape)):
        np.testing.assert_array_equal(runs.full(), mask)
        assert (runs.count, runs.box, runs.size) == (cropped.count, cropped.box, cropped.size)
        np.testing.assert_array_equal(runs.planes(0, 1), cropped.planes(0, 1))
        assert RunMask.of(runs) is runs
        with pytest.raises(ValueError, match="read-only"):
            runs.array[...] = True


def test_a_mask_of_runs_takes_little_memory() -> None:
    ball = np.sum((np.indices((90, 90, 90)) - 45) ** 2, axis=0) < 40**2
    runs = RunMask.of(CroppedMask.from_full(ball)).runs
    assert runs.rows.nbytes + runs.starts.nbytes + runs.stops.nbytes < 0.5 * ball.nbytes


def test_a_box_that_leaves_the_grid_is_refused() -> None:
    runs = Runs.from_mask(np.ones((2, 2, 2), bool))
    with pytest.raises(ValueError, match="leaves the grid"):
        RunMask((0, 0, 3), runs, (4, 4, 4))
