"""What was drawn in a scan, in the two forms that data sets use: one file of label values, or one file per class."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.files import away_from_namesakes
from OpenVocabCTLib.geometry import Geometry

# Headers are often written in single precision; a label that is further off than this was drawn on another grid.
_TOLERANCE_VOXELS = 0.1
_TOO_MANY_TO_LIST = 5


class Labels(Protocol):
    """What is annotated in one case; reading it costs nothing until `each` is called."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concept ids, in the order in which they are stored."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that must be there."""
        ...

    def each(self, geometry: Geometry) -> Iterator[tuple[str, np.ndarray]]:
        """Yield concept id and mask, bool (K, J, I), one at a time: all at once may not fit into memory.

        Args:
            geometry: the grid of the scan, on which the labels must lie.

        Raises:
            InputError: a file cannot be read, lies on another grid, or holds a value that its data set does not define.
            ResourceError: the labels do not fit into memory.
        """
        ...

    def without(self, concepts: Collection[str]) -> Self:
        """Return the same labels less some concepts; their label values stay known."""
        ...

    def meaning(self) -> Any:
        """What the labels mean, as plain data without places: equal meanings of equal files give equal masks."""
        ...


@dataclass(frozen=True)
class LabelScheme:
    """What the label values of a data set mean.

    Attributes:
        values: concept id -> label values that are drawn as such.
        within: organ -> concepts that are drawn in its place.  A voxel has one label value, so a tumour of the kidney
            leaves a hole in the kidney; the mask of the organ is that of its own values and of those drawn within it.
        left_out: label values that the data set defines and that have no concept.
    """

    values: Mapping[str, tuple[int, ...]]
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[int, ...] = ()

    @property
    def merged(self) -> dict[str, tuple[int, ...]]:
        """Concept id -> label values whose union it is, with what is drawn within an organ added to the organ."""
        return {
            concept: (*own, *(value for inner in self.within.get(concept, ()) for value in self.values[inner]))
            for concept, own in self.values.items()
        }

    @property
    def known(self) -> frozenset[int]:
        """Every label value that may occur; 0 is the background."""
        return frozenset({0, *self.left_out, *(value for values in self.values.values() for value in values)})

    def of(self, path: Path) -> LabelMap:
        """Return the labels of a file that follows this scheme."""
        return LabelMap(path, self.merged, self.known)


@dataclass(frozen=True)
class LabelMap:
    """A file of label values on the grid of a CT.

    Attributes:
        path: the file.
        values: concept id -> label values whose union it is.
        known: every value that may occur, None to accept any.
    """

    path: Path
    values: Mapping[str, tuple[int, ...]]
    known: frozenset[int] | None = None

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concept ids, in the order in which they are stored."""
        return tuple(self.values)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that must be there."""
        return (self.path,)

    def each(self, geometry: Geometry) -> Iterator[tuple[str, np.ndarray]]:
        """Yield concept id and mask; see `Labels`."""
        labels = read_labels(self.path, geometry, self.known)
        for concept, values in self.values.items():
            yield concept, np.isin(labels, values)

    def masks(self, geometry: Geometry) -> dict[str, np.ndarray]:
        """Read the concepts' masks, bool (K, J, I), all at once; errors as for `each`."""
        return dict(self.each(geometry))

    def without(self, concepts: Collection[str]) -> LabelMap:
        """Return the same labels less some concepts."""
        return replace(self, values={name: values for name, values in self.values.items() if name not in concepts})

    def meaning(self) -> Any:
        """Concepts, their values, and what else may occur."""
        known = None if self.known is None else sorted(self.known)
        return [[concept, list(values)] for concept, values in self.values.items()], known


@dataclass(frozen=True)
class MaskFolder:
    """A folder with a file of 0 and 1 for every class.

    Attributes:
        folder: where the files are.
        files: concept id -> names of the files whose union it is.
    """

    folder: Path
    files: Mapping[str, tuple[str, ...]]

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concept ids, in the order in which they are stored."""
        return tuple(self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that must be there."""
        return tuple(self.folder / name for name in dict.fromkeys(n for names in self.files.values() for n in names))

    def each(self, geometry: Geometry) -> Iterator[tuple[str, np.ndarray]]:
        """Yield concept id and mask; see `Labels`."""
        for concept, names in self.files.items():
            mask = np.zeros(geometry.shape, bool)
            for name in names:
                mask |= read_labels(self.folder / name, geometry, frozenset({0, 1})) == 1
            yield concept, mask

    def without(self, concepts: Collection[str]) -> MaskFolder:
        """Return the same labels less some concepts."""
        return replace(self, files={name: files for name, files in self.files.items() if name not in concepts})

    def meaning(self) -> Any:
        """Concepts and the names of their files."""
        return [[concept, list(names)] for concept, names in self.files.items()]


def read_labels(path: Path, geometry: Geometry, known: frozenset[int] | None = None) -> np.ndarray:
    """Read label values, integers (K, J, I), from a file on the grid of its CT.

    Args:
        path: NIfTI, NRRD or MetaImage file.
        geometry: the grid of the CT.
        known: the values that may occur, None to accept any.

    Raises:
        InputError: the file cannot be read, lies on another grid, or holds another value.
        ResourceError: the labels do not fit into memory.
    """
    import SimpleITK as sitk

    try:
        with away_from_namesakes(path) as alone:
            image = sitk.ReadImage(str(alone))
        labels: np.ndarray = sitk.GetArrayFromImage(image)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:200] if str(error).strip() else "no reason given"
        raise InputError(f"{path} cannot be read ({reason})", "download or export the labels again") from error
    except MemoryError as error:
        raise ResourceError(f"{path} does not fit into memory", "free memory or use fewer --jobs") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} is no label map of three dimensions", "give one label value for each voxel")
    _check_grid(path, Geometry.from_sitk(image), geometry)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
            raise InputError(f"{path} holds values that are no whole numbers", "give one label value for each voxel")
        labels = labels.astype(np.int32)
    if known is not None:
        found = {int(value) for plane in labels for value in np.unique(plane)}
        unknown = sorted(found - known)
        if unknown:
            values = ", ".join(map(str, unknown[:_TOO_MANY_TO_LIST])) + (" ..." * (len(unknown) > _TOO_MANY_TO_LIST))
            raise InputError(
                f"{path} holds the label value {values}, which its data set does not define",
                "check the version of the data set",
            )
    return labels


def _check_grid(path: Path, found: Geometry, expected: Geometry) -> None:
    """Refuse labels whose voxels are not those of the CT: all eight corners must coincide."""
    if found.shape != expected.shape:
        sizes = [" x ".join(str(n) for n in reversed(grid.shape)) for grid in (found, expected)]
        raise InputError(
            f"{path} is not on the grid of its CT ({sizes[0]} voxels, the CT has {sizes[1]})",
            "resample the labels to the CT",
        )
    k, j, i = expected.shape
    corners = np.array([(x, y, z, 1) for x in (0, i - 1) for y in (0, j - 1) for z in (0, k - 1)], float).T
    apart = np.linalg.norm(((found.affine_lps() - expected.affine_lps()) @ corners)[:3], axis=0).max()
    if apart > _TOLERANCE_VOXELS * min(expected.spacing):
        raise InputError(
            f"{path} is not on the grid of its CT (its voxels lie up to {apart:.3g} mm away)",
            "resample the labels to the CT, or correct the header that is wrong",
        )
