from __future__ import annotations

import numpy as np
import pytest
import torch

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.inference.answers import settle, union
from OpenVocabCTLib.inference.devices import choose_compute, memory_errors
from OpenVocabCTLib.output.masks import CroppedMask


def blob(*boxes: tuple[slice, slice, slice], value: float = 4.0) -> torch.Tensor:
    logits = torch.full((20, 20, 20), -4.0)
    for box in boxes:
        logits[box] = value
    return logits


BIG = (slice(2, 10), slice(2, 10), slice(2, 10))
SPECK = (slice(15, 17), slice(15, 17), slice(15, 17))
SECOND = (slice(12, 18), slice(2, 8), slice(2, 8))


def test_islands_are_dropped_and_the_box_is_tight() -> None:
    answer = settle(blob(BIG, SPECK), None, 0.0, 0.9)
    assert answer.positive
    assert (answer.box, answer.voxels) == (BIG, 8**3)
    everywhere = settle(blob(BIG, SPECK), None, 0.0, 0.9, everywhere=True)
    assert everywhere.box == BIG
    assert not (everywhere.logits[SPECK] > 0).any()


def test_an_island_in_the_box_is_taken_out() -> None:
    frame = blob((slice(2, 18), slice(2, 18), slice(2, 4)), (slice(2, 4), slice(2, 18), slice(2, 18)), SPECK)
    answer = settle(frame, None, 0.0, 0.9)
    assert answer.box == (slice(2, 18), slice(2, 18), slice(2, 18))
    assert int((answer.logits > 0).sum()) == answer.voxels == int((frame > 0).sum()) - 2**3


def test_an_answer_keeps_what_is_around_it_only() -> None:
    answer = settle(blob(SPECK), None, 0.0, 0.9)
    assert answer.logits.shape == (6, 6, 6)
    assert answer.start == (13, 13, 13)


def test_a_second_large_piece_stays() -> None:
    assert settle(blob(BIG, SECOND), None, 0.0, 0.9).voxels == 8**3 + 6**3


def test_a_voxel_goes_to_the_better_side() -> None:
    own, rival = blob(BIG, value=2.0), torch.full((20, 20, 20), -4.0)
    rival[2:6] = 5.0
    answer = settle(own, rival, 0.0, 0.9)
    assert answer.box == (slice(6, 10), *BIG[1:])


def test_rivals_never_both_win_even_with_a_low_threshold() -> None:
    first, second = torch.randn(8, 8, 8), torch.randn(8, 8, 8)
    for threshold in (-2.0, 0.0, 1.5):
        a = settle(first, second, threshold, 1.0, everywhere=True).logits > threshold
        b = settle(second, first, threshold, 1.0, everywhere=True).logits > threshold
        assert not (a & b).any()


def test_nothing_positive() -> None:
    assert not settle(blob(), None, 0.0, 0.9).positive


def test_the_input_is_not_changed() -> None:
    logits = blob(BIG, SPECK)
    before = logits.clone()
    settle(logits, None, 0.0, 0.9)
    assert torch.equal(logits, before)


def test_union_of_masks() -> None:
    generator = np.random.default_rng(0)
    masks = [generator.random((6, 7, 8)) > 0.9 for _ in range(3)]
    joined = union([CroppedMask.from_full(mask) for mask in masks])
    assert np.array_equal(joined.full(), masks[0] | masks[1] | masks[2])


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", ""])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(InputError, match="device"):
        choose_compute(device)


def test_running_out_of_memory_is_one_error() -> None:
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ):
        with pytest.raises(ResourceError, match="out of memory"), memory_errors():
            raise error
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        raise RuntimeError("shape mismatch")
