from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from openvocabct_training.data.augment import (
    MAX_PACKED_LABELS,
    AugmentationConfig,
    change_intensity,
    on_voxels,
    patch_positions,
    random_displacement,
    random_matrix,
    rotation_matrix,
    sample_patch,
    thick_slices,
)
from OpenVocabCTLib.inference.grid import AIR_HU, MAX_HU

IDENTITY = np.eye(3)


def block(shape: tuple[int, int, int] = (20, 24, 28), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    image = generator.integers(-1000, 2000, shape).astype(np.int16)
    return image, generator.integers(0, 2, (3, *shape)).astype(np.uint8)


def ball(side: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A block with a bright ball of 7 voxels radius somewhere in its middle third, and the ball's label."""
    middle = generator.uniform(side / 3, side * 2 / 3, 3)
    inside = sum((axis - c) ** 2 for axis, c in zip(np.indices((side, side, side)), middle, strict=True)) < 49
    return np.where(inside, 1000, -1000).astype(np.int16), inside[None].astype(np.uint8)


def assert_together(hu: torch.Tensor, target: torch.Tensor) -> None:
    """Where the interpolated image of a ball is clearly in or out, the label agrees."""
    assert target[0][hu > 900].all()
    assert not target[0][hu < -900].any()
    assert target[0].any()


# Geometry


@pytest.mark.parametrize("size", [(8, 8, 8), (8, 10, 12), (7, 9, 5)])
def test_identity_is_the_slice(size: tuple[int, int, int]) -> None:
    image, labels = block()
    start = np.array([3, 5, 7])
    centre = start + (np.array(size) - 1) / 2
    hu, target = sample_patch(image, labels, centre, IDENTITY, size)
    region = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    np.testing.assert_allclose(hu, image[region], atol=0.05)
    np.testing.assert_array_equal(target, labels[(slice(None), *region)].astype(bool))


@given(st.tuples(*[st.floats(5, 12)] * 3), st.tuples(*[st.integers(2, 9)] * 3))
@settings(max_examples=25, deadline=None)
def test_snapped_centres_take_voxels_as_they_are(centre: tuple[float, ...], size: tuple[int, int, int]) -> None:
    image, labels = block()
    snapped = on_voxels(np.array(centre), size)
    assert np.abs(snapped - centre).max() <= 0.5
    start = np.round(snapped - (np.array(size) - 1) / 2).astype(int)
    hu, target = sample_patch(image, labels, snapped, IDENTITY, size)
    region = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    np.testing.assert_allclose(hu, image[region], atol=0.05)
    np.testing.assert_array_equal(target, labels[(slice(None), *region)].astype(bool))


def test_outside_of_the_block_is_air() -> None:
    image, labels = block((6, 6, 6))
    hu, target = sample_patch(image, labels, np.array([2.5, 2.5, 2.5]), IDENTITY, (10, 10, 10))
    np.testing.assert_allclose(hu[2:8, 2:8, 2:8], image, atol=0.05)
    hu[2:8, 2:8, 2:8] = AIR_HU
    np.testing.assert_allclose(hu, AIR_HU, atol=0.05)
    assert target.sum() == labels.sum()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(axis: int, turns: int) -> None:
    image, labels = block((12, 12, 12))
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 90.0 * turns
    centre = np.array([5.5, 5.5, 5.5])
    hu, target = sample_patch(image, labels, centre, rotation_matrix(degrees), (12, 12, 12))
    plane = tuple(other for other in range(3) if other != axis)
    expected = np.rot90(image, -turns, plane)
    np.testing.assert_allclose(hu, expected, atol=0.5)
    np.testing.assert_array_equal(target, np.rot90(labels, -turns, tuple(a + 1 for a in plane)).astype(bool))


def test_any_matrix_agrees_with_scipy() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 3000, (24, 26, 28)), 2).astype(np.int16)
    matrix = rotation_matrix([12.0, -8.0, 10.0]) @ np.diag([0.9, 1.1, 1.0])
    centre, size = np.array([11.3, 12.6, 13.1]), (10, 12, 8)
    hu, _ = sample_patch(image, np.zeros((0, *image.shape), np.uint8), centre, matrix, size)
    offset = centre - matrix @ ((np.array(size) - 1) / 2)
    expected = ndimage.affine_transform(image.astype(float), matrix, offset, output_shape=size, order=1)
    np.testing.assert_allclose(hu, expected, atol=0.5)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_labels_and_image_move_together(seed: int) -> None:
    generator = np.random.default_rng(seed)
    image, label = ball(30, generator)
    matrix = random_matrix(AugmentationConfig(spatial_probability=1.0), generator)
    assert_together(*sample_patch(image, label, generator.uniform(12, 18, 3), matrix, (24, 24, 24)))


def test_positions_are_those_that_the_patch_is_cut_from() -> None:
    image = np.broadcast_to(np.arange(40, dtype=np.int16), (40, 40, 40)) * 10
    matrix = rotation_matrix([12.0, -8.0, 10.0]) @ np.diag([0.9, 1.1, 1.0])
    centre, size = np.array([19.3, 20.6, 18.1]), (10, 12, 8)
    hu, _ = sample_patch(image, np.zeros((0, *image.shape), np.uint8), centre, matrix, size)
    np.testing.assert_allclose(patch_positions(centre, matrix, size) * 10, hu, atol=0.05)


def test_zoom_of_two_halves_the_structure() -> None:
    inside = np.zeros((40, 40, 40), np.uint8)
    inside[10:30, 10:30, 10:30] = 1
    image = inside.astype(np.int16)
    _, target = sample_patch(image, inside[None], np.full(3, 19.5), np.diag([2.0, 2.0, 2.0]), (20, 20, 20))
    assert target.sum() == 1000


def test_no_change_is_the_identity() -> None:
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(random_matrix(AugmentationConfig(spatial_probability=0.0), generator), IDENTITY)


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_random_matrices_never_mirror(seed: int) -> None:
    config = AugmentationConfig(spatial_probability=1.0)
    matrix = random_matrix(config, np.random.default_rng(seed))
    scales = np.linalg.svd(matrix, compute_uv=False)
    assert np.linalg.det(matrix) > 0
    assert config.scale[0] * np.exp(-0.05) <= scales.min()
    assert scales.max() <= config.scale[1] * np.exp(0.05)
    # No rotation comes near to exchanging left and right.
    assert matrix[2, 2] > 0.7


# Elastic deformation

ELASTIC = AugmentationConfig(elastic_mm=4.0, elastic_cell_mm=50.0, elastic_probability=1.0)


def displacement_of(config: AugmentationConfig, seed: int, size: tuple[int, int, int] = (24, 20, 16)) -> torch.Tensor:
    field = random_displacement(config, np.random.default_rng(seed), size, (2.5, 3.9, 3.9))
    assert field is not None
    return field


def test_no_deformation_asks_for_no_randomness() -> None:
    generator = np.random.default_rng(0)
    assert random_displacement(AugmentationConfig(), generator, (8, 8, 8)) is None
    assert generator.random() == np.random.default_rng(0).random()


def test_deformation_has_its_chance() -> None:
    config = AugmentationConfig(elastic_mm=4.0, elastic_probability=0.3)
    generator = np.random.default_rng(0)
    drawn = [random_displacement(config, generator, (4, 4, 4)) is not None for _ in range(500)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_displacement_along_one_axis_shifts_along_it(axis: int) -> None:
    image, labels = block((12, 12, 12))
    shift = torch.zeros(3, 6, 6, 6)
    shift[axis] = 2.0
    hu, target = sample_patch(image, labels, np.full(3, 4.5), IDENTITY, (6, 6, 6), shift)
    start = [2, 2, 2]
    start[axis] += 2
    region = tuple(slice(s, s + 6) for s in start)
    np.testing.assert_allclose(hu, image[region], atol=0.05)
    np.testing.assert_array_equal(target, labels[(slice(None), *region)].astype(bool))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_deformed_positions_are_those_that_the_patch_is_cut_from(axis: int) -> None:
    shape = (60, 64, 68)
    ramp = (np.indices(shape)[axis] * 10).astype(np.int16)
    size, centre = (24, 20, 16), np.array([30.3, 31.6, 33.1])
    matrix = rotation_matrix([12.0, -8.0, 10.0]) @ np.diag([0.9, 1.1, 1.0])
    field = displacement_of(ELASTIC, 3, size)
    hu, _ = sample_patch(ramp, np.zeros((0, *shape), np.uint8), centre, matrix, size, field)
    offsets = np.indices(size) - (np.array(size)[:, None, None, None] - 1) / 2
    expected = centre[axis] + np.einsum("b,bdhw->dhw", matrix[axis], offsets) + field[axis].numpy()
    np.testing.assert_allclose(hu / 10, expected, atol=0.01)
    if axis == 2:
        np.testing.assert_allclose(patch_positions(centre, matrix, size, field), expected, atol=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_deformed_labels_and_image_move_together(seed: int) -> None:
    generator = np.random.default_rng(seed)
    image, label = ball(40, generator)
    matrix = random_matrix(AugmentationConfig(spatial_probability=1.0), generator)
    field = displacement_of(ELASTIC, seed, (24, 24, 24))
    assert_together(*sample_patch(image, label, np.full(3, 19.5), matrix, (24, 24, 24), field))


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_gentle_deformations_never_fold_and_are_as_large_as_said(seed: int) -> None:
    voxel = np.array([2.5, 3.9, 3.9])
    field = displacement_of(ELASTIC, seed, (40, 26, 26)).numpy() * voxel[:, None, None, None]
    assert np.abs(field).max() <= 2 * ELASTIC.elastic_mm + 1e-4
    assert np.abs(field).max() > 0.5 * ELASTIC.elastic_mm
    steps = [np.diff(field, axis=axis + 1)[:, :39, :25, :25] / voxel[axis] for axis in range(3)]
    jacobian = np.eye(3) + np.moveaxis(np.stack(steps, 1), (0, 1), (-2, -1))
    assert np.linalg.det(jacobian).min() > 0


# Labels


def test_as_many_labels_as_can_be_packed_stay_apart() -> None:
    image, _ = block((6, 6, 6))
    labels = np.random.default_rng(0).integers(0, 2, (MAX_PACKED_LABELS, 6, 6, 6)).astype(np.uint8)
    _, target = sample_patch(image, labels, np.full(3, 2.5), IDENTITY, (6, 6, 6))
    np.testing.assert_array_equal(target, labels.astype(bool))


def test_more_labels_are_refused() -> None:
    assert MAX_PACKED_LABELS == 24
    labels = np.zeros((MAX_PACKED_LABELS + 1, 6, 6, 6), np.uint8)
    with pytest.raises(ValueError, match="at most 24 labels"):
        sample_patch(block((6, 6, 6))[0], labels, np.full(3, 2.5), IDENTITY, (6, 6, 6))


def test_no_labels() -> None:
    _, target = sample_patch(
        block((6, 6, 6))[0], np.zeros((0, 6, 6, 6), np.uint8), np.full(3, 2.5), IDENTITY, (4, 4, 4)
    )
    assert (target.shape, target.dtype) == ((0, 4, 4, 4), torch.bool)


# Intensities


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_average_along_one_axis(axis: int) -> None:
    line = torch.tensor([0.0, 100.0] * 6)
    shape = [1, 1, 1]
    shape[axis] = 12
    hu = line.reshape(shape).expand(12, 12, 12)
    thick = thick_slices(hu, axis, 2.0)
    assert thick.shape == hu.shape
    torch.testing.assert_close(thick, torch.full_like(thick, 50.0))
    other = thick_slices(hu, (axis + 1) % 3, 4.0)
    torch.testing.assert_close(other, hu.contiguous(), atol=1e-3, rtol=0)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_intensities_stay_within_what_a_ct_can_mean(seed: int) -> None:
    generator = np.random.default_rng(seed)
    hu = torch.from_numpy(generator.uniform(AIR_HU, MAX_HU, (8, 10, 12)).astype(np.float32))
    config = AugmentationConfig(anisotropy_probability=0.5, noise_hu=300.0, shift_hu=200.0, contrast=(0.5, 2.0))
    changed = change_intensity(hu, config, generator)
    assert (changed.shape, changed.dtype) == (hu.shape, torch.float32)
    assert changed.isfinite().all()
    assert changed.min() >= AIR_HU and changed.max() <= MAX_HU


def test_changes_are_as_large_as_configured() -> None:
    config = AugmentationConfig(anisotropy_probability=0.0, noise_hu=0.0, shift_hu=20.0, contrast=(0.9, 1.1))
    hu = torch.full((4, 4, 4), 100.0)
    values = {round(float(change_intensity(hu, config, np.random.default_rng(s))[0, 0, 0]), 3) for s in range(60)}
    assert min(values) >= 70.0 and max(values) <= 130.0
    assert 100.0 in values and len(values) > 20


def test_the_same_generator_gives_the_same_patch() -> None:
    hu = torch.randn(8, 8, 8) * 100
    first, second = (change_intensity(hu, AugmentationConfig(), np.random.default_rng(7)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_patient_is_turned_and_not_sheared_on_long_voxels() -> None:
    config = AugmentationConfig(spatial_probability=1.0, scale=(1.0, 1.0))
    size = np.array([2.5, 3.9, 1.7])
    for seed in range(5):
        in_mm = random_matrix(config, np.random.default_rng(seed))
        in_voxels = random_matrix(config, np.random.default_rng(seed), size.tolist())
        offset = np.array([1.0, -2.0, 3.0])  # voxels
        np.testing.assert_allclose((in_voxels @ offset) * size, in_mm @ (offset * size), atol=1e-9)
