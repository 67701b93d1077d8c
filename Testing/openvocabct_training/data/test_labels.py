"""Label files: their grids and their values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from openvocabct_training.data.adapters.headers import TrueHeader
from openvocabct_training.data.adapters.labels import LabelMap, MaskFolder, read_labels
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry

SHAPE = (4, 5, 6)


def image(labels: np.ndarray, geometry: Geometry) -> sitk.Image:
    made = sitk.GetImageFromArray(labels)
    made.SetSpacing(geometry.spacing)
    made.SetOrigin(geometry.origin)
    made.SetDirection(geometry.direction)
    return made


def grid(
    spacing: tuple[float, float, float] = (0.8, 0.9, 2.5),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    direction: np.ndarray | None = None,
) -> Geometry:
    return Geometry(SHAPE, spacing, origin, tuple((np.eye(3) if direction is None else direction).ravel()))


def labels() -> np.ndarray:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8) % 4


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """Anisotropic, flipped and oblique grids."""
    length = st.floats(0.3, 6.0)
    place = st.floats(-500.0, 500.0)
    angles = [draw(st.floats(-180.0, 180.0)) for _ in range(3)]
    flips = np.diag([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    spacing = (draw(length), draw(length), draw(length))
    origin = (draw(place), draw(place), draw(place))
    return grid(spacing, origin, Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ flips)


@settings(max_examples=30, deadline=None)
@given(grids(), st.sampled_from([".nii.gz", ".nrrd", ".mha"]))
def test_labels_on_the_grid_of_their_ct_are_read_whatever_its_orientation(geometry: Geometry, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"labels{suffix}"
        sitk.WriteImage(image(labels(), geometry), str(path))
        masks = LabelMap(path, {"liver": (1,), "both": (1, 3)}, frozenset(range(4))).masks(geometry)
    np.testing.assert_array_equal(masks["liver"], labels() == 1)
    np.testing.assert_array_equal(masks["both"], labels() % 2 == 1)


@settings(max_examples=30, deadline=None)
@given(grids(), st.integers(0, 2), st.sampled_from([-1.0, 1.0]), st.floats(0.3, 50.0))
def test_labels_elsewhere_are_refused(geometry: Geometry, axis: int, sign: float, voxels: float) -> None:
    origin = np.array(geometry.origin)
    origin[axis] += sign * voxels * max(geometry.spacing)
    moved = Geometry(SHAPE, geometry.spacing, (origin[0], origin[1], origin[2]), geometry.direction)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.nrrd"
        sitk.WriteImage(image(labels(), moved), str(path))
        with pytest.raises(InputError, match="is not on the grid of its CT"):
            read_labels(path, geometry)


@pytest.mark.parametrize(
    "other",
    [
        grid(spacing=(0.8, 0.9, 2.4)),
        grid(direction=np.diag([-1.0, 1.0, 1.0])),
        grid(direction=Rotation.from_euler("x", 5, degrees=True).as_matrix()),
    ],
    ids=["spacing", "flipped", "tilted"],
)
def test_another_grid_of_the_same_size_is_refused(tmp_path: Path, other: Geometry) -> None:
    path = tmp_path / "labels.nrrd"
    sitk.WriteImage(image(labels(), other), str(path))
    with pytest.raises(InputError, match=r"its voxels lie up to .* mm away"):
        read_labels(path, grid())


def test_headers_in_single_precision_are_accepted(tmp_path: Path) -> None:
    origin = tuple(float(np.float32(x)) for x in (-171.23456789, 205.98765432, -1013.1234567))
    written = Geometry(SHAPE, (0.7031999826, 0.7031999826, 2.5), origin, tuple(np.eye(3).ravel()))  # type: ignore[arg-type]
    path = tmp_path / "labels.nrrd"
    sitk.WriteImage(image(labels(), written), str(path))
    exact = Geometry(SHAPE, (0.7032, 0.7032, 2.5), (-171.23456789, 205.98765432, -1013.1234567), written.direction)
    np.testing.assert_array_equal(read_labels(path, exact), labels())


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.uint16, np.int32])
def test_every_kind_of_number_that_is_whole(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(image(labels().astype(kind), grid()), str(path))
    found = read_labels(path, grid(), frozenset(range(4)))
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, labels())


def test_a_compressed_file_is_not_read_from_its_uncompressed_namesake(tmp_path: Path) -> None:
    """ITK reads the header of labels.nii.gz, and the voxels of labels.nii beside it."""
    for name, array in (("labels.nii.gz", labels()), ("labels.nii", 3 - labels())):
        sitk.WriteImage(image(array, grid()), str(tmp_path / name))
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii.gz", grid()), labels())
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii", grid()), 3 - labels())


def test_a_scan_with_another_header_is_not_read_from_its_uncompressed_namesake(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    for name, array in (("ct.nii.gz", stored), ("ct.nii", stored + 7)):
        sitk.WriteImage(image(array, grid()), str(tmp_path / name))
    header = TrueHeader(spacing=(0.8, 0.9, 2.5))
    np.testing.assert_array_equal(header.read(tmp_path / "ct.nii.gz").array, stored)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_values_that_are_no_whole_numbers(tmp_path: Path, value: float) -> None:
    array = labels().astype(np.float32)
    array[0, 0, 0] = value
    sitk.WriteImage(image(array, grid()), str(tmp_path / "labels.nrrd"))
    with pytest.raises(InputError, match="no whole numbers"):
        read_labels(tmp_path / "labels.nrrd", grid())


def test_unknown_values_are_listed(tmp_path: Path) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) - 1
    sitk.WriteImage(image(array, grid()), str(tmp_path / "labels.nii.gz"))
    with pytest.raises(InputError, match=r"holds the label value -1, 7, 8, 9, 10 \.\.\., which"):
        read_labels(tmp_path / "labels.nii.gz", grid(), frozenset(range(7)))
    assert read_labels(tmp_path / "labels.nii.gz", grid()).max() == array.max()


def test_four_dimensions_and_colours_are_refused(tmp_path: Path) -> None:
    series = sitk.JoinSeries([image(labels(), grid())] * 2)
    sitk.WriteImage(series, str(tmp_path / "series.nii.gz"))
    colours = sitk.GetImageFromArray(np.stack([labels()] * 3, axis=-1), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "colours.mha"))
    for name in ("series.nii.gz", "colours.mha"):
        with pytest.raises(InputError, match="is no label map of three dimensions"):
            read_labels(tmp_path / name, grid())


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x1f\x8b" + bytes(50)])
def test_files_that_are_no_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.nii\.gz cannot be read"):
        read_labels(tmp_path / "labels.nii.gz", grid())


def test_a_folder_of_masks_gives_unions_and_takes_only_0_and_1(tmp_path: Path) -> None:
    for name, mask in (("a", labels() == 1), ("b", labels() == 2)):
        sitk.WriteImage(image(mask.astype(np.uint8), grid()), str(tmp_path / f"{name}.nii.gz"))
    folder = MaskFolder(tmp_path, {"liver": ("a.nii.gz",), "both": ("a.nii.gz", "b.nii.gz")})
    assert folder.paths == (tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    masks = dict(folder.each(grid()))
    np.testing.assert_array_equal(masks["liver"], labels() == 1)
    np.testing.assert_array_equal(masks["both"], np.isin(labels(), (1, 2)))
    assert folder.without(["liver"]).concepts == ("both",)
    sitk.WriteImage(image(labels(), grid()), str(tmp_path / "b.nii.gz"))
    with pytest.raises(InputError, match=r"b\.nii\.gz holds the label value 2, 3, which"):
        dict(folder.each(grid()))
