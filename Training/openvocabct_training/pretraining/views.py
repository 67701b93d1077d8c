"""The part of a scan that pretraining sees: a box of fixed size about the middle, with air around small scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openvocabct_training.data.store import CaseRecord, CaseStore
from OpenVocabCTLib.inference.grid import AIR_HU
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

Shift = tuple[int, int, int]


def _slices(shape: Sequence[int], view: Sequence[int], shift: Shift) -> tuple[list[slice], list[slice]]:
    """Where to read in a scan, and where to put it in the view."""
    read, put = [], []
    for size, side, by in zip(shape, view, shift, strict=True):
        first = (size - side) // 2 + by
        low, high = max(first, 0), min(first + side, size)
        read.append(slice(low, max(high, low)))
        put.append(slice(low - first, max(high, low) - first))
    return read, put


def view_of(array: np.ndarray, view: Sequence[int], outside: float, shift: Shift = (0, 0, 0)) -> np.ndarray:
    """Cut or pad the last three axes of an array to a view.

    Args:
        array: (..., S, A, R), or something that slices to one.
        view: (S, A, R) voxels.
        outside: what lies outside the scan.
        shift: of the view's middle from the scan's, in voxels.
    """
    read, put = _slices(array.shape[-3:], view, shift)
    lead = array.shape[:-3]
    result: Any = np.full((*lead, *view), outside, array.dtype)
    source: Any = array
    result[(..., *put)] = source[(*(slice(None) for _ in lead), *read)]
    cut: np.ndarray = result
    return cut


def view_image(store: CaseStore, record: CaseRecord, view: Sequence[int], shift: Shift = (0, 0, 0)) -> np.ndarray:
    """(S, A, R) int16 HU; only what is seen is read."""
    return view_of(store.image(record), view, AIR_HU, shift)


def view_masks(
    store: CaseStore,
    record: CaseRecord,
    concepts: Sequence[str],
    vocabulary: Vocabulary,
    view: Sequence[int],
    shift: Shift = (0, 0, 0),
) -> list[np.ndarray | None]:
    """Masks of concepts, bool (S, A, R); None where nobody drew one, or only a part of one.

    A concept that is a group has a mask where all its members have.
    """
    order, labels = list(record.present), store.labels(record)

    def plane(concept: str) -> np.ndarray:
        return view_of(_Plane(labels, order.index(concept)), view, 0, shift).astype(bool)  # type: ignore[arg-type]

    masks: list[np.ndarray | None] = []
    for concept in concepts:
        leaves = [leaf.id for leaf in vocabulary.leaves(vocabulary.get(concept))]
        names = [concept] if concept in record.present else leaves
        if all(name in record.present for name in names):
            masks.append(np.logical_or.reduce([plane(name) for name in names]))
        else:
            masks.append(None)
    return masks


class _Plane:
    """One label plane of a stored case, of which only what is asked for is read."""

    def __init__(self, labels: np.ndarray, index: int) -> None:
        self.labels, self.index = labels, index
        self.shape, self.dtype = labels.shape[1:], labels.dtype

    def __getitem__(self, place: tuple[slice, ...]) -> np.ndarray:
        labels: Any = self.labels
        plane: np.ndarray = labels[(self.index, *place)]
        return plane
