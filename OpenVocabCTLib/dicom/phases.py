"""Telling the acquisitions in one series apart that are phases of the same body part from those that are its parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.dicom.frames import Frame

SAME_POSITION_MM = 0.01
_FEWEST_SLICES = 4  # fewer are no stack of their own
_REGULAR_SHARE, _REGULAR_TOLERANCE = 0.8, 0.1  # of the steps from slice to slice
_GAP = 1.5  # steps; where a stack has a larger gap, others may fill it


def one_phase(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Leave out what another acquisition has among the slices of the largest one, and say so.

    Interleaved, two phases of a contrast study would pass for one volume with twice the slices. Acquisitions that
    follow each other along the patient, one for every table position or block, are parts of one volume and stay; so do
    images whose acquisition numbers single out no regular stack.

    Args:
        frames: images that fit into one volume by orientation and size.

    Returns:
        What is left, and notes.
    """
    normal = np.cross(*frames[0].axes)
    stacks: dict[tuple[int, int], list[Frame]] = {}
    for frame in frames:
        stacks.setdefault(frame.acquisition, []).append(frame)
    places = {key: _places(stack, normal) for key, stack in stacks.items()}
    regular = [key for key, place in places.items() if _is_regular(place)]
    if len(regular) < 2:
        return frames, ()
    largest = min(regular, key=lambda key: (-len(places[key]), key))
    dropped: list[Frame] = []
    for key in regular:
        if key != largest:
            among = [one for one in stacks[key] if _lies_among(float(one.position @ normal), places[largest])]
            # The rest of a phase is none of the volume either; the rest of a block that overlaps the next one is.
            dropped += stacks[key] if 2 * len(among) >= len(stacks[key]) else among
    left_out = set(map(id, dropped))
    return [one for one in frames if id(one) not in left_out], _notes(dropped, places[largest], normal)


def _places(stack: Sequence[Frame], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the different positions along the normal in mm, in order."""
    ordered = np.sort([float(one.position @ normal) for one in stack])
    return ordered[np.append(True, np.diff(ordered) > SAME_POSITION_MM)]


def _is_regular(places: NDArray[np.float64]) -> bool:
    """Whether slices could be a volume on their own."""
    if len(places) < _FEWEST_SLICES:
        return False
    steps = np.diff(places)
    usual = float(np.median(steps))
    return float(np.mean(np.abs(steps - usual) <= _REGULAR_TOLERANCE * usual)) >= _REGULAR_SHARE


def _lies_among(place: float, places: NDArray[np.float64]) -> bool:
    """Whether a position is that of a slice, or between two that follow each other without a gap."""
    if np.abs(places - place).min() <= SAME_POSITION_MM:
        return True
    after = int(np.searchsorted(places, place))
    if not 0 < after < len(places):
        return False
    return bool(places[after] - places[after - 1] <= _GAP * np.median(np.diff(places)))


def _notes(dropped: Sequence[Frame], places: NDArray[np.float64], normal: NDArray[np.float64]) -> tuple[str, ...]:
    same = sum(bool(np.abs(places - float(one.position @ normal)).min() <= SAME_POSITION_MM) for one in dropped)
    counts = {"at the same positions": same, "of another acquisition between the slices": len(dropped) - same}
    return tuple(
        f"{number} other image{'s' * (number > 1)} {where} dropped (another phase?)"
        for where, number in counts.items()
        if number
    )
