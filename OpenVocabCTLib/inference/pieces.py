"""Connected pieces of a mask, found from its runs.

The runs are the nodes of a graph, those that share a face its edges; its components are found by hooking roots onto
smaller roots and shortening the paths (Shiloach and Vishkin, Journal of Algorithms, 1982).
"""

from __future__ import annotations

import numpy as np

from OpenVocabCTLib.output.runs import Runs


def piece_of_runs(runs: Runs) -> np.ndarray:
    """Number the connected pieces; voxels that share a face belong together.

    Args:
        runs: n runs of a mask.

    Returns:
        (n,) for each run the index of the first run of its piece.
    """
    root = np.arange(len(runs))
    one, other = _touching(runs)
    while len(one):
        root_of_one, root_of_other = root[one], root[other]
        apart = root_of_one != root_of_other
        one, other = one[apart], other[apart]
        high = np.maximum(root_of_one[apart], root_of_other[apart])
        np.minimum.at(root, high, np.minimum(root_of_one[apart], root_of_other[apart]))
        root = _shortened(root)
    return root


def without_islands(runs: Runs, least: float) -> np.ndarray:
    """Say which runs belong to pieces of some size.

    Args:
        runs: n runs of a mask.
        least: share of the largest piece's voxels below which a piece is an island.

    Returns:
        (n,) bool.
    """
    if not len(runs):
        return np.zeros(0, bool)
    root = piece_of_runs(runs)
    sizes = np.bincount(root, weights=runs.lengths)
    return sizes[root] >= least * sizes.max()


def _touching(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs that share a face: those of the next row of a slice, and of the same row of the next slice."""
    height, wide = runs.shape[1], runs.shape[2] + 1
    rows = runs.rows.astype(np.int64)
    starts, stops = rows * wide + runs.starts, rows * wide + runs.stops
    not_last = np.flatnonzero(runs.rows % height != height - 1)
    pairs = []
    for step, asked in ((1, not_last), (height, np.arange(len(runs)))):
        first = np.searchsorted(stops, starts[asked] + step * wide, side="right")
        last = np.searchsorted(starts, stops[asked] + step * wide, side="left")
        number = np.maximum(last - first, 0)
        before = np.cumsum(number) - number
        pairs.append((np.repeat(asked, number), np.repeat(first - before, number) + np.arange(number.sum())))
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])


def _shortened(root: np.ndarray) -> np.ndarray:
    """Let every run point at the end of its path."""
    while True:
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further
