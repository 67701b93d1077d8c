from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.inference.grid import native_box, to_native, to_working, whole, working_grid
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference import phantoms

OBLIQUE = [
    phantoms.oblique_geometry((20, 0, 0)),
    phantoms.oblique_geometry((0, -15, 10)),
    phantoms.oblique_geometry((5, 30, -25), (-1, 1, -1)),
]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    assert first.any() or second.any()
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def centre_of(mask: torch.Tensor) -> np.ndarray:
    return torch.nonzero(mask).float().mean(0).numpy()


@pytest.mark.parametrize("geometry", phantoms.all_axis_geometries(), ids=lambda g: g.axis_codes())
def test_the_working_grid_looks_the_same_whatever_the_storage(geometry: Geometry) -> None:
    reference = phantoms.axis_geometry((0, 1, 2), (1, 1, 1))
    expected = to_working(phantoms.volume_on(reference).array, working_grid(reference, 3.0))
    hu = to_working(phantoms.volume_on(geometry).array, working_grid(geometry, 3.0))
    assert torch.allclose(hu, expected, atol=1e-2)
    left, right = centre_of(hu > 500), centre_of((hu > 200) & (hu < 400))
    assert left[2] < hu.shape[2] / 2 < right[2]  # last axis grows to the patient's right
    assert left[0] > right[0]  # first axis grows to the head
    assert centre_of(hu > -500)[1] > centre_of((hu > 20) & (hu < 60))[1]  # second axis grows to the front


@pytest.mark.parametrize("geometry", OBLIQUE)
def test_oblique_scans_are_turned_to_the_patient(geometry: Geometry) -> None:
    grid = working_grid(geometry, 3.0)
    hu = to_working(phantoms.volume_on(geometry).array, grid)
    spot = torch.nonzero(hu > 500).double().mean(0)
    native = np.linalg.inv(grid.native_to_working) @ np.append(spot.numpy(), 1.0)
    k, j, i = native[:3]
    world = np.asarray(geometry.affine_lps()) @ np.array([i, j, k, 1.0])
    assert np.allclose(world[:3], (30, -10, 15), atol=1.5)  # the left ball's centre in LPS mm


@pytest.mark.parametrize("geometry", OBLIQUE)
def test_oblique_resampling_agrees_with_simpleitk(geometry: Geometry) -> None:
    grid = working_grid(geometry, 2.5)
    volume = phantoms.volume_on(geometry)
    ours = to_working(volume.array, grid).numpy()
    to_world = np.asarray(geometry.affine_lps())[:, [2, 1, 0, 3]] @ np.linalg.inv(grid.native_to_working)
    target = sitk.Image([grid.shape[2], grid.shape[1], grid.shape[0]], sitk.sitkFloat32)
    target.SetSpacing(grid.spacing[::-1])
    target.SetDirection((to_world[:3, [2, 1, 0]] / grid.spacing[0]).ravel().tolist())
    target.SetOrigin(to_world[:3, 3].tolist())
    theirs = sitk.GetArrayFromImage(sitk.Resample(volume.to_sitk(), target, sitk.Transform(), sitk.sitkLinear, -1024.0))
    # Ours averages first where it shrinks, so edges differ; the volumes must not.
    agree = np.abs(ours - theirs) < 100
    assert agree.mean() > 0.9
    for low in (350, -500):  # about half way up the edges of the left ball and of the body
        assert dice(ours > low, theirs > low) > 0.95


@pytest.mark.parametrize("geometry", [*phantoms.all_axis_geometries()[::5], *OBLIQUE], ids=lambda g: g.axis_codes())
def test_there_and_back_gives_the_same_mask(geometry: Geometry) -> None:
    volume = phantoms.volume_on(geometry)
    grid = working_grid(geometry, 2.0)
    back = to_native(to_working(volume.array, grid), (0, 0, 0), grid, whole(geometry.shape)).numpy()
    for low in (350, -500):  # about half way up the edges of the left ball and of the body
        assert dice(volume.array > low, back > low) > 0.96


@pytest.mark.parametrize("geometry", [phantoms.axis_geometry((2, 0, 1), (-1, 1, -1)), OBLIQUE[2]])
def test_a_box_comes_back_as_part_of_the_whole(geometry: Geometry) -> None:
    volume, grid = phantoms.volume_on(geometry), working_grid(geometry, 3.0)
    hu = to_working(volume.array, grid)
    everything = to_native(hu, (0, 0, 0), grid, whole(geometry.shape))
    inside = torch.nonzero(hu > 500)
    low, high = inside.min(0).values, inside.max(0).values + 1
    working = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    box = native_box(grid, working)  # type: ignore[arg-type]
    padded = tuple(slice(max(0, p.start - 3), p.stop + 3) for p in working)
    part = to_native(hu[padded], [p.start for p in padded], grid, box)
    assert torch.equal(part > 500, everything[box] > 500)
    hot = torch.nonzero(everything > 500)
    assert (hot.min(0).values >= torch.tensor([p.start for p in box])).all()
    assert (hot.max(0).values < torch.tensor([p.stop for p in box])).all()


@pytest.mark.parametrize("geometry", phantoms.all_axis_geometries()[::7], ids=lambda g: g.axis_codes())
def test_anisotropic_working_voxels_follow_the_patient_and_not_the_storage(geometry: Geometry) -> None:
    reference = phantoms.axis_geometry((0, 1, 2), (1, 1, 1))
    wanted = (2.0, 3.0, 5.0)
    grid = working_grid(geometry, wanted)
    expected = working_grid(reference, wanted)
    assert grid.shape == expected.shape
    assert np.allclose(grid.spacing, expected.spacing)
    assert np.allclose(grid.spacing, wanted, rtol=0.15)
    hu = to_working(phantoms.volume_on(geometry).array, grid)
    assert torch.allclose(hu, to_working(phantoms.volume_on(reference).array, expected), atol=1e-2)


@pytest.mark.parametrize("geometry", OBLIQUE)
def test_anisotropic_working_voxels_on_oblique_scans(geometry: Geometry) -> None:
    grid = working_grid(geometry, (2.5, 3.9, 4.4))
    assert grid.spacing == (2.5, 3.9, 4.4)
    volume = phantoms.volume_on(geometry)
    hu = to_working(volume.array, grid)
    spot = torch.nonzero(hu > 500).double().mean(0)
    k, j, i = (np.linalg.inv(grid.native_to_working) @ np.append(spot.numpy(), 1.0))[:3]
    world = np.asarray(geometry.affine_lps()) @ np.array([i, j, k, 1.0])
    assert np.allclose(world[:3], (30, -10, 15), atol=2.0)
    back = to_native(hu, (0, 0, 0), grid, whole(geometry.shape)).numpy()
    assert dice(volume.array > -500, back > -500) > 0.94


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 24)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 8.0)] * 3),
    target=st.floats(1.0, 5.0) | st.tuples(*[st.floats(1.0, 5.0)] * 3),
)
def test_both_grids_cover_the_same_extent(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    target: float | tuple[float, float, float],
) -> None:
    geometry = Geometry(shape, spacing, (3.0, -7.0, 11.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    grid = working_grid(geometry, target)
    native_mm = np.array(shape) * np.array(spacing[::-1])
    assert np.allclose(np.array(grid.shape) * np.array(grid.spacing), native_mm)
    corner = grid.native_to_working @ np.array([-0.5, -0.5, -0.5, 1.0])
    other = grid.native_to_working @ np.array([*(np.array(shape) - 0.5), 1.0])
    ends = np.sort(np.stack([corner[:3], other[:3]]), axis=0)
    assert np.allclose(ends, [[-0.5] * 3, np.array(grid.shape) - 0.5])


def test_scanner_padding_is_limited_to_air() -> None:
    geometry = phantoms.axis_geometry((0, 1, 2), (1, 1, 1))
    array = phantoms.volume_on(geometry).array.copy()
    array[:, :, :12] = -3024
    hu = to_working(CTVolume.from_array(array, geometry).array, working_grid(geometry, 3.0))
    assert float(hu.min()) == pytest.approx(-1024.0, abs=0.01)


def test_resampling_leaves_the_scan_alone() -> None:
    geometry = phantoms.axis_geometry((0, 1, 2), (1, 1, 1))
    array = phantoms.volume_on(geometry).array.astype(np.float32)
    array[array == -1000] = -3024
    before = array.copy()
    to_working(array, working_grid(geometry, 3.0))
    assert np.array_equal(array, before)
