from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIGNED_PERMUTATIONS = [
    (rows, signs) for rows in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def grid(**changes: object) -> Geometry:
    values = {"shape": (4, 5, 6), "spacing": (0.7, 0.8, 2.5), "origin": (1.0, -2.0, 30.0), "direction": IDENTITY}
    return Geometry(**{**values, **changes})  # type: ignore[arg-type]


def signed_permutation(rows: tuple[int, ...], signs: tuple[int, ...]) -> NDArray[np.float64]:
    matrix = np.zeros((3, 3))
    matrix[rows, range(3)] = signs
    return matrix


@st.composite
def rotations(draw: st.DrawFn) -> NDArray[np.float64]:
    """Any orthogonal matrix, left-handed ones too."""
    q = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.1)))
    a, b, c, d = q / np.linalg.norm(q)
    matrix = np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )
    return matrix * draw(st.tuples(*[st.sampled_from((1, -1))] * 3))


geometries = st.builds(
    lambda shape, spacing, origin, rotation: Geometry(shape, spacing, origin, tuple(rotation.ravel())),
    st.tuples(*[st.integers(2, 40)] * 3),
    st.tuples(*[st.floats(0.05, 20)] * 3),
    st.tuples(*[st.floats(-2000, 2000)] * 3),
    rotations(),
)


@given(geometries)
def test_affine_round_trip(geometry: Geometry) -> None:
    again = Geometry.from_affine_lps(geometry.affine_lps(), geometry.shape)
    assert again.shape == geometry.shape
    np.testing.assert_allclose(again.affine_lps(), geometry.affine_lps(), atol=1e-12)
    np.testing.assert_allclose(again.direction, geometry.direction, atol=1e-12)


@given(geometries, st.tuples(*[st.integers(0, 39)] * 3))
def test_affine_is_that_of_simpleitk(geometry: Geometry, index: tuple[int, int, int]) -> None:
    image = sitk.Image(geometry.shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    assert Geometry.from_sitk(image) == geometry
    expected = image.TransformContinuousIndexToPhysicalPoint([float(n) for n in index])
    np.testing.assert_allclose((geometry.affine_lps() @ [*index, 1])[:3], expected, atol=1e-9)


@given(geometries)
def test_ras_is_lps_with_x_and_y_negated(geometry: Geometry) -> None:
    np.testing.assert_array_equal(geometry.affine_ras()[:2], -geometry.affine_lps()[:2])
    np.testing.assert_array_equal(geometry.affine_ras()[2:], geometry.affine_lps()[2:])


@given(geometries)
def test_axis_codes_name_each_anatomical_axis_once(geometry: Geometry) -> None:
    pairs = {frozenset("LR"), frozenset("PA"), frozenset("SI")}
    assert {next(p for p in pairs if code in p) for code in geometry.axis_codes()} == pairs


@pytest.mark.parametrize(("rows", "signs"), SIGNED_PERMUTATIONS)
def test_axis_codes_and_handedness_of_all_48_orientations(rows: tuple[int, ...], signs: tuple[int, ...]) -> None:
    matrix = signed_permutation(rows, signs)
    geometry = grid(direction=tuple(matrix.ravel()))
    assert geometry.axis_codes() == "".join("LPS"[r] if s > 0 else "RAI"[r] for r, s in zip(rows, signs, strict=True))
    assert geometry.is_right_handed == (np.linalg.det(matrix) > 0)
    assert not geometry.is_oblique


@given(st.sampled_from(SIGNED_PERMUTATIONS), st.floats(-0.7, 0.7), st.integers(0, 2))
def test_a_rotation_below_45_degrees_keeps_the_codes(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], angle: float, axis: int
) -> None:
    first, second = [n for n in range(3) if n != axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle)
    rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
    straight = signed_permutation(*orientation)
    turned = grid(direction=tuple((rotation @ straight).ravel()))
    assert turned.axis_codes() == grid(direction=tuple(straight.ravel())).axis_codes()
    if abs(abs(angle) - 0.01) > 1e-6:
        assert turned.is_oblique == (abs(angle) > 0.01)


def test_identity_points_to_left_posterior_superior() -> None:
    geometry = grid()
    assert geometry.axis_codes() == "LPS"
    assert (geometry.affine_lps() @ [5, 0, 0, 1])[0] > (geometry.affine_lps() @ [0, 0, 0, 1])[0]
    assert geometry.voxel_volume_ml == pytest.approx(0.7 * 0.8 * 2.5 / 1000)


def test_values_are_plain_and_comparable() -> None:
    made = grid(shape=np.array((4, 5, 6)), spacing=np.array((0.7, 0.8, 2.5)), direction=np.eye(3).ravel())
    negative_zero = grid(direction=(1.0, -0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    assert made == grid() == negative_zero
    assert len({made, grid(), negative_zero}) == 1
    assert {type(n) for n in made.shape} == {int}
    assert math.copysign(1, negative_zero.direction[1]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1, 5, 6)}, "only 6 x 5 x 1 voxels: give a CT with at least 2"),
        ({"shape": (4, 0, 6)}, "only 6 x 0 x 4 voxels"),
        ({"spacing": (0.7, 0.0, 1.0)}, "voxel size of 0 mm: write it again"),
        ({"spacing": (0.7, -0.5, 1.0)}, "voxel size of -0.5 mm"),
        ({"spacing": (0.7, 0.7, 1e9)}, "voxel size of 1e[+]09 mm, which no CT has"),
        ({"spacing": (0.0007, 0.0007, 0.001)}, "voxel size of 0.0007 mm, which no CT has: .* in mm"),
        ({"spacing": (math.nan, 1.0, 1.0)}, "not a number"),
        ({"origin": (math.inf, 1.0, 1.0)}, "not a number"),
        ({"direction": (math.nan, *IDENTITY[1:])}, "not a number"),
        ({"direction": (1, 0, 0, 1, 0, 0, 0, 0, 1)}, "do not span space"),
        ({"direction": (0,) * 9}, "do not span space"),
        ({"direction": (2, 0, 0, 0, 2, 0, 0, 0, 2)}, "not of length 1"),
        ({"direction": (1, 0.2, 0, 0, math.sqrt(0.96), 0, 0, 0, 1)}, "sheared by 12 degrees: resample"),
    ],
)
def test_impossible_grids_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^the volume has .*{message}"):
        grid(**changes)


def test_wrong_number_of_values_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="direction has 9"):
        grid(direction=(1.0, 0.0, 0.0))
