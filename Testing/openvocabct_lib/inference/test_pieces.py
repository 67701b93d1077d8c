from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from OpenVocabCTLib.inference.pieces import piece_of_runs, without_islands
from OpenVocabCTLib.output.runs import Runs

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


def check(mask: np.ndarray) -> None:
    """Compare with another implementation: the same voxels belong together."""
    runs = Runs.from_mask(mask)
    theirs, count = ndimage.label(mask)
    ours = np.repeat(piece_of_runs(runs), runs.lengths)
    pairs = set(zip(ours.tolist(), theirs.ravel()[runs.indices()].tolist(), strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == count


@given(SHAPES.flatmap(lambda shape: hnp.arrays(np.bool_, shape)))
def test_pieces_are_those_of_another_implementation(mask: np.ndarray) -> None:
    check(mask)


@pytest.mark.parametrize("share", [0.1, 0.31, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(20, 30, 40), (1, 60, 50), (60, 1, 50), (50, 60, 1)])
def test_larger_masks(share: float, shape: tuple[int, int, int]) -> None:
    check(np.random.default_rng(0).random(shape) < share)


def test_a_long_winding_piece_is_one() -> None:
    snake = np.zeros((3, 101, 60), bool)
    snake[1, ::2] = True
    snake[1, 1::4, -1] = snake[1, 3::4, 0] = True
    assert len(set(piece_of_runs(Runs.from_mask(snake)).tolist())) == 1


def test_islands_are_told_from_large_pieces() -> None:
    mask = np.zeros((10, 10, 30), bool)
    mask[:, :, :10] = True
    mask[0, :, 12:22] = True  # a tenth: no island
    mask[5, 5, 25] = True
    runs = Runs.from_mask(mask)
    kept = runs.chosen(without_islands(runs, 0.1)).filled()
    mask[5, 5, 25] = False
    assert np.array_equal(kept, mask)
    assert without_islands(Runs.from_mask(np.zeros((2, 2, 2), bool)), 0.1).size == 0
