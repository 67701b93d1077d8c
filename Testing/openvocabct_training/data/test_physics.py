from __future__ import annotations

import numpy as np
import pytest

from openvocabct_training.data import physics
from openvocabct_training.data.prepare import physics_labels

SHAPE = (36, 60, 90)  # (S, A, R), voxels of 3 mm
VOXEL_ML = 0.027
AIR, LUNG, FAT, TISSUE, BONE = -1000, -850, -100, 40, 600


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """(A, R) bool."""
    a, r = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[2]), indexing="ij")
    return ((a - centre[0]) / radii[0]) ** 2 + ((r - centre[1]) / radii[1]) ** 2 <= 1.0


BODY = ellipse((29.5, 44.5), (27, 42))
LEFT_LUNG = ellipse((30, 25), (16, 15))
RIGHT_LUNG = ellipse((30, 65), (18, 17))


def trunk() -> np.ndarray:
    """Tissue that goes through the whole scan, with a rim of fat and a spine."""
    hu = np.full(SHAPE, AIR, np.int16)
    hu[:, BODY] = FAT
    hu[:, ellipse((29.5, 44.5), (22, 37))] = TISSUE
    hu[:, ellipse((12, 44.5), (4, 4))] = BONE
    return hu


def chest(gap: bool = True) -> np.ndarray:
    """A trunk with two lungs that are open at the lower end of the scan; without ``gap`` they touch."""
    hu = trunk()
    hu[:30, LEFT_LUNG] = LUNG
    hu[:30, RIGHT_LUNG] = LUNG
    if not gap:
        hu[12:14, 31, 38:52] = LUNG
    return hu


def lungs(hu: np.ndarray) -> physics.Lungs:
    return physics.lungs(hu, physics.body(hu), VOXEL_ML)


def truth(lung: np.ndarray) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:30, lung] = True
    return mask


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


# Lungs


def test_left_lung_is_at_low_r() -> None:
    found = lungs(chest())
    assert found.left is not None and found.right is not None
    np.testing.assert_array_equal(found.left, truth(LEFT_LUNG))
    np.testing.assert_array_equal(found.right, truth(RIGHT_LUNG))


def test_a_mirrored_patient_has_mirrored_lungs() -> None:
    found, mirrored = lungs(chest()), lungs(chest()[..., ::-1])
    np.testing.assert_array_equal(mirrored.left, found.right[..., ::-1])
    np.testing.assert_array_equal(mirrored.right, found.left[..., ::-1])


def test_lungs_that_touch_are_parted() -> None:
    found = lungs(chest(gap=False))
    assert found.left is not None and found.right is not None
    assert dice(found.left, truth(LEFT_LUNG)) > 0.98
    assert dice(found.right, truth(RIGHT_LUNG)) > 0.98
    assert not (found.left & found.right).any()


def test_vessels_inside_a_lung_belong_to_it() -> None:
    hu = chest()
    hu[15, 30, 20:30] = TISSUE
    found = lungs(hu)
    assert found.left is not None
    assert found.left[15, 30, 22:28].all()


@pytest.mark.parametrize("gap", [True, False])
def test_left_and_right_lung_share_no_voxel(gap: bool) -> None:
    hu = chest(gap)
    hu[:30, 22:38, 41:48] = LUNG  # a wide bridge
    found = lungs(hu)
    if found.left is not None and found.right is not None:
        assert not (found.left & found.right).any()


def test_filling_a_lung_takes_nothing_from_the_other() -> None:
    air = np.ones((9, 9, 20), bool)
    labels = np.ones(air.shape, int)
    labels[..., 10:] = 2
    labels[4, 4, 8:10] = 2  # pokes into the left lung, no wider than a vessel
    found = physics._regrow(air, labels, 1, 2, 0, voxel_ml=1.0)
    np.testing.assert_array_equal(found.left, labels == 1)
    np.testing.assert_array_equal(found.right, labels == 2)


def test_no_air_means_no_lungs() -> None:
    found = lungs(trunk())
    assert found.left is not None and not found.left.any()
    assert found.right is not None and not found.right.any()
    labels = physics_labels(trunk(), VOXEL_ML, ("left_lung", "right_lung"))
    assert {concept: mask.any() for concept, mask in labels.items()} == {"left_lung": False, "right_lung": False}


def test_one_cavity_is_ambiguous() -> None:
    hu = trunk()
    hu[:30, ellipse((30, 40), (14, 14))] = LUNG
    assert lungs(hu) == physics.Lungs(None, None)
    assert physics_labels(hu, VOXEL_ML, ("left_lung", "right_lung", "body")).keys() == {"body"}


def test_two_cavities_on_one_side_are_ambiguous() -> None:
    hu = trunk()
    hu[:12, ellipse((30, 65), (14, 14))] = LUNG
    hu[20:32, ellipse((30, 65), (14, 14))] = LUNG
    assert lungs(hu) == physics.Lungs(None, None)


def test_lung_tips_are_ambiguous() -> None:
    hu = trunk()
    hu[:2, LEFT_LUNG] = LUNG
    hu[:2, RIGHT_LUNG] = LUNG
    assert lungs(hu) == physics.Lungs(None, None)


def test_air_beside_the_patient_is_no_lung() -> None:
    hu = np.full(SHAPE, AIR, np.int16)
    hu[:, :, 30:60] = TISSUE
    found = lungs(hu)
    assert found.left is not None and not found.left.any()


# Body


def test_body_is_filled_although_the_lungs_leave_the_scan() -> None:
    hu = trunk()
    hu[:, LEFT_LUNG] = LUNG
    hu[:, RIGHT_LUNG] = LUNG
    np.testing.assert_array_equal(physics.body(hu), np.broadcast_to(BODY, SHAPE))


def test_the_table_is_not_part_of_the_body() -> None:
    hu = trunk()
    hu[:, 0, :] = TISSUE
    assert not physics.body(hu)[:, 0].any()


def test_body_reaches_the_border_of_a_crop() -> None:
    assert physics.body(np.full((20, 20, 20), TISSUE, np.int16)).all()


def test_nothing_but_air() -> None:
    hu = np.full((8, 8, 8), AIR, np.int16)
    labels = physics_labels(hu, VOXEL_ML, ("body", "bones", "adipose_tissue", "left_lung", "right_lung"))
    assert set(labels) == {"body", "bones", "adipose_tissue", "left_lung", "right_lung"}
    assert not any(mask.any() for mask in labels.values())


# Bones and fat


def test_bones_go_through_the_first_and_last_slice() -> None:
    hu = trunk()
    expected = np.broadcast_to(ellipse((12, 44.5), (4, 4)), SHAPE)
    np.testing.assert_array_equal(physics.bones(hu, physics.body(hu), VOXEL_ML), expected)


def test_specks_and_what_is_outside_are_no_bone() -> None:
    hu = trunk()
    hu[18, 40, 60] = BONE
    hu[10:20, 0:2, 0:12] = BONE
    found = physics.bones(hu, physics.body(hu), VOXEL_ML)
    assert not found[18, 40, 60]
    assert not found[:, 0:2, 0:12].any()


def test_small_gaps_in_bone_are_filled() -> None:
    hu = trunk()
    hu[18, 12, 44] = TISSUE
    assert physics.bones(hu, physics.body(hu), VOXEL_ML)[18, 12, 44]


def test_fat_away_from_skin_and_lung() -> None:
    hu = chest()
    hu[:30, 28:32, 4:12] = LUNG  # the lung reaches into the fat
    found = physics.adipose_tissue(hu, physics.body(hu))
    assert (found <= (hu == FAT)).all()
    assert found.sum() > 10_000
    for axis in (1, 2):
        for step in (1, -1):
            assert not (np.roll(hu, step, axis) < physics.LUNG_HU)[found].any()


def test_fat_is_judged_alike_in_the_outermost_slices() -> None:
    found = physics.adipose_tissue(chest(), physics.body(chest()))
    assert found[0].sum() > 300
    np.testing.assert_array_equal(found[0], found[5])
    np.testing.assert_array_equal(found[-1], found[-3])


def test_only_what_is_wanted() -> None:
    assert set(physics_labels(chest(), VOXEL_ML, ("bones",))) == {"bones"}
    assert set(physics_labels(chest(), VOXEL_ML, ("right_lung",))) == {"right_lung"}
