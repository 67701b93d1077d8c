from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.inference.tiling import blending_weight, padded_size, tile_regions, tile_size

sides = st.integers(1, 200)


@given(shape=st.tuples(sides, sides, sides), overlap=st.floats(0.0, 0.75))
def test_tiles_cover_every_voxel_and_overlap_as_asked(shape: tuple[int, int, int], overlap: float) -> None:
    largest, stride = (64, 96, 32), 32
    tile, padded = tile_size(shape, largest, stride), padded_size(shape, largest, stride)
    assert all(full >= side for full, side in zip(padded, shape, strict=True))
    assert all(side % stride == 0 and side <= most + stride for side, most in zip(tile, largest, strict=True))
    for axis in range(3):
        starts = sorted({region[axis].start for region in tile_regions(padded, tile, overlap)})
        assert starts[0] == 0
        assert starts[-1] + tile[axis] == padded[axis]
        assert all(b - a <= np.ceil(tile[axis] * (1 - overlap)) for a, b in itertools.pairwise(starts))


def test_a_small_volume_is_one_tile() -> None:
    assert tile_size((10, 33, 90), (64, 96, 96), 32) == (64, 64, 96)
    assert len(tile_regions(padded_size((10, 33, 90), (64, 96, 96), 32), (64, 64, 96), 0.5)) == 1


def test_one_tile_that_is_a_little_longer_takes_the_place_of_two() -> None:
    assert tile_size((136, 87, 100), (64, 96, 96), 32) == (64, 96, 128)
    assert tile_size((65, 129, 97), (64, 96, 96), 32) == (96, 96, 128)
    assert tile_size((64, 64, 64), (32, 32, 64), 32) == (32, 32, 64)  # twice as long is not a little longer


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_impossible_overlaps_are_refused(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        tile_regions((64, 64, 64), (32, 32, 32), overlap)


def test_weights_are_symmetric_positive_and_largest_in_the_middle() -> None:
    weight = blending_weight((32, 64, 32))
    assert torch.allclose(weight, weight.flip(0, 1, 2))
    assert weight.min() >= 1e-3
    assert weight.argmax() in (weight == 1).flatten().nonzero().flatten()
