from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from surface_distance import compute_robust_hausdorff, compute_surface_dice_at_tolerance, compute_surface_distances

from openvocabct_training.evaluation.metrics import dice, mask_dice, score, shared_voxels, surface_agreement
from openvocabct_training.evaluation.perturbations import reoriented
from openvocabct_training.evaluation.tolerances import DEFAULT_MM, TOLERANCES_MM, tolerance_mm
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.evaluation.scans import GRID, LEFT, ball, cropped, ct, points_of

SPACING = (2.0, 3.0, 4.0)  # K, J, I


def box(start: tuple[int, int, int], size: int = 10, shape: tuple[int, int, int] = (30, 30, 30)) -> CroppedMask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + size) for a in start)] = True
    return CroppedMask.from_full(mask)


def test_dice_of_arrays() -> None:
    def row(start: int, stop: int) -> np.ndarray:
        return np.isin(np.arange(20), np.arange(start, stop))

    assert dice(row(0, 10), row(0, 10)) == 1.0
    assert dice(row(0, 10), row(10, 20)) == 0.0
    assert dice(row(0, 10), row(5, 15)) == 0.5
    assert dice(row(0, 0), row(0, 1)) == 0.0
    assert math.isnan(dice(row(0, 0), row(0, 0)))


@pytest.mark.parametrize("axis", range(3))
def test_boxes_shifted_by_two_voxels(axis: int) -> None:
    moved = box(tuple(12 if n == axis else 10 for n in range(3)))
    assert mask_dice(box((10, 10, 10)), moved) == pytest.approx(0.8)
    # Two of six faces are off by two voxels, the others lie on the same planes.
    nsd, distance = surface_agreement(box((10, 10, 10)), moved, SPACING, 2 * SPACING[axis])
    assert nsd == 1.0
    assert distance == pytest.approx(2 * SPACING[axis])
    nsd, _ = surface_agreement(box((10, 10, 10)), moved, SPACING, 0.1)
    assert 0.4 < nsd < 0.8


def test_boxes_far_apart() -> None:
    nsd, distance = surface_agreement(box((0, 0, 0), 4), box((20, 0, 0), 4), (1.0, 1.0, 1.0), 3.0)
    assert nsd == 0.0
    assert 19.0 <= distance <= 20.0  # from a face to the nearest one are 17 and to the farthest 20
    assert shared_voxels(box((0, 0, 0), 4), box((20, 0, 0), 4)) == 0


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spacing=st.tuples(*(st.floats(0.7, 5.0),) * 3),
    tolerance=st.floats(0.5, 8.0),
)
@example(seed=0, spacing=(1.0, 1.0, 0.7000000000000001), tolerance=0.6999)
def test_agrees_with_surface_distance(seed: int, spacing: tuple[float, float, float], tolerance: float) -> None:
    generator = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*(np.arange(22),) * 3, indexing="ij"), -1)
    first, second = (
        (((index - generator.uniform(8, 13, 3)) / generator.uniform(2.5, 6, 3)) ** 2).sum(-1) < 1 for _ in range(2)
    )
    nsd, distance = surface_agreement(CroppedMask.from_full(first), CroppedMask.from_full(second), spacing, tolerance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old names of scipy
        distances = compute_surface_distances(first, second, spacing)
    # A distance that is the tolerance but for rounding is within it for the one and beyond it for the other.
    every = np.concatenate([distances["distances_gt_to_pred"], distances["distances_pred_to_gt"]])
    assume((np.abs(every - tolerance) > 1e-5).all())
    assert nsd == pytest.approx(compute_surface_dice_at_tolerance(distances, tolerance), abs=2e-3)
    # The one takes voxels at the border, the other surface elements between voxels, weighted by their area.
    assert distance == pytest.approx(compute_robust_hausdorff(distances, 95), abs=float(np.linalg.norm(spacing)))


def test_a_structure_that_leaves_the_scan_has_a_surface_there() -> None:
    whole = CroppedMask.from_full(np.ones((8, 8, 8), bool))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert surface_agreement(whole, whole, SPACING, 1.0) == (1.0, 0.0)
        nsd, distance = surface_agreement(whole, box((0, 0, 0), 4, (8, 8, 8)), (1.0, 1.0, 1.0), 1.0)
    assert nsd < 0.9
    assert distance >= 4.0


def test_a_distance_is_in_mm_along_the_axis_that_it_has() -> None:
    # Flat grid: 5 mm along K, 1 mm in the slice. Geometry has spacing in the order I, J, K.
    reference, answer = box((10, 10, 10)), box((11, 10, 10))
    flat = type(GRID)((30, 30, 30), (1.0, 1.0, 5.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert score(reference, answer, flat, 3.0)["hd95_mm"] == pytest.approx(5.0)
    assert score(reference, box((10, 10, 11)), flat, 3.0)["hd95_mm"] == pytest.approx(1.0)
    assert score(reference, box((10, 10, 11)), flat, 3.0)["nsd"] == 1.0


def test_empty_masks_are_told_apart_and_never_perfect() -> None:
    nothing = CroppedMask.from_full(np.zeros((30, 30, 30), bool))
    missed = score(box((0, 0, 0)), None, GRID, 3.0)
    assert (missed["outcome"], missed["dice"], missed["nsd"], missed["hd95_mm"]) == ("missed", 0.0, 0.0, None)
    assert score(box((0, 0, 0)), nothing, GRID, 3.0)["outcome"] == "missed"
    invented = score(nothing, box((0, 0, 0)), GRID, 3.0)
    assert (invented["outcome"], invented["dice"], invented["nsd"], invented["hd95_mm"]) == ("invented", *(None,) * 3)
    assert invented["answer_ml"] == pytest.approx(1000 * GRID.voxel_volume_ml)
    empty = score(nothing, None, GRID, 3.0)
    assert (empty["outcome"], empty["dice"], empty["nsd"], empty["hd95_mm"]) == ("empty", *(None,) * 3)


def test_masks_of_different_grids() -> None:
    other = box((0, 0, 0), 4, (8, 8, 8))
    with pytest.raises(ValueError, match="grids of"):
        mask_dice(box((0, 0, 0)), other)
    with pytest.raises(ValueError, match="grids of"):
        surface_agreement(box((0, 0, 0)), other, SPACING, 1.0)


def test_scores_do_not_depend_on_how_the_scan_is_stored() -> None:
    answer = CroppedMask.from_full(ball(33, -13, 15, 17)(points_of(GRID)))
    reference = cropped()[LEFT]
    volume, moved = reoriented(ct(), {"reference": reference, "answer": answer})
    first = score(reference, answer, GRID, 3.0)
    second = score(moved["reference"], moved["answer"], volume.geometry, 3.0)
    assert 0.5 < first["dice"] < 1.0 and first["hd95_mm"] > 0  # type: ignore[operator]
    for key in ("dice", "nsd", "hd95_mm", "reference_ml", "answer_ml"):
        assert second[key] == pytest.approx(first[key], rel=1e-5), key  # type: ignore[literal-required]


def test_tolerances_name_concepts_and_have_a_default() -> None:
    vocabulary = Vocabulary.load()
    assert all(concept in vocabulary for concept in TOLERANCES_MM)
    assert all(
        TOLERANCES_MM[f"left_{organ[5:]}"] == TOLERANCES_MM[f"right_{organ[5:]}"]
        for organ in itertools.chain(TOLERANCES_MM)
        if organ.startswith("left_")
    )
    assert tolerance_mm("mandible") == 1.01
    assert tolerance_mm("left_lung") == DEFAULT_MM
