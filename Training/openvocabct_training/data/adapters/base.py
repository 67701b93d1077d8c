"""Raw cases and the data sets that they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openvocabct_training.data.adapters.headers import TrueHeader
from openvocabct_training.data.adapters.labels import Labels
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.volume import CTVolume

# What Hounsfield units label for free where no reader did (see ``physics``).
TISSUES = ("body", "bones", "adipose_tissue")
LUNGS = ("left_lung", "right_lung")
# Contrast-filled vessels, kidneys and bladders would count as bone.
WITH_CONTRAST = ("body", "adipose_tissue")
# One patient in ten validates where a data set has no split of its own.
VALIDATION_SHARE = 10


@dataclass(frozen=True)
class RawCase:
    """A scan and what is known about it.

    Attributes:
        case: id within the data set.
        dataset: name of the data set.
        split: "train" or "validation".
        licence: as the source states it.
        ct: file of the scan.
        labels: what is annotated, if anything is.
        absent: concepts that were looked for and are not there.
        rules_out: body regions that cannot be in this scan; concepts that lie only there are absent.
        symmetric: a mirrored copy is anatomically plausible.
        physics: which Hounsfield-unit labels to add.
        patient: who was scanned, the same for all scans of one person in all data sets; empty: nobody else's scan.
        header: what counts in place of the file's own header.
    """

    case: str
    dataset: str
    split: str
    licence: str
    ct: Path
    labels: Labels | None = None
    absent: tuple[str, ...] = ()
    rules_out: tuple[str, ...] = ()
    symmetric: bool = False
    physics: tuple[str, ...] = (*TISSUES, *LUNGS)
    patient: str = ""
    header: TrueHeader | None = None

    @property
    def id(self) -> str:
        """Id that is unique in a store."""
        return f"{self.dataset}/{self.case}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that must be there."""
        return (self.ct,) if self.labels is None else (self.ct, *self.labels.paths)

    def read(self) -> CTVolume:
        """Read the scan.

        Raises:
            InputError: it cannot be read, or is no CT in HU.
            ResourceError: it does not fit into memory.
        """
        return CTVolume.read(self.ct) if self.header is None else self.header.read(self.ct)

    def each_mask(self, geometry: Geometry) -> Iterator[tuple[str, np.ndarray]]:
        """Yield what is annotated, one concept at a time: concept id, bool (K, J, I) on the scan's own grid.

        Raises:
            InputError: a file cannot be read, lies on another grid, or holds a value that its data set does not define.
        """
        if self.labels is not None:
            yield from self.labels.each(geometry)

    def masks(self, geometry: Geometry) -> dict[str, np.ndarray]:
        """Read what is annotated, all at once; errors as for `each_mask`."""
        return dict(self.each_mask(geometry))


Adapter = Callable[[Path], Iterator[RawCase]]


class Found(NamedTuple):
    """A case as it lies in the folder of its data set.

    Attributes:
        case: id within the data set.
        ct: file of the scan.
        labels: what is annotated.
        split: "train" or "validation" where the data set says so; empty: by `split_of` the patient.
        patient: who was scanned, see `RawCase`.
        licence: where the data set's own files state it.
    """

    case: str
    ct: Path
    labels: Labels
    split: str = ""
    patient: str = ""
    licence: str = ""


def split_of(patient: str) -> str:
    """Say in which split a patient is: a function of the name alone, so that it never depends on who else is there."""
    digest = hashlib.sha256(patient.encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") % VALIDATION_SHARE == 0 else "train"


@dataclass(frozen=True)
class DataSet:
    """A public data set; calling it with the folder that holds one folder per data set yields its cases.

    Attributes:
        name: as ``--dataset`` and ``dataset_weights`` have it.
        title: as its makers call it.
        licence: as the source states it.
        page: where to get it.
        folders: names that its folder may have.
        find: yields the cases in that folder.
        rules_out: body regions that no scan shows.
        physics: which Hounsfield-unit labels to add.
    """

    name: str
    title: str
    licence: str
    page: str
    folders: tuple[str, ...]
    find: Callable[[Path], Iterator[Found]]
    rules_out: tuple[str, ...] = ()
    physics: tuple[str, ...] = WITH_CONTRAST

    def root(self, source: Path) -> Path:
        """Find the folder of the data set; `source` may be that folder itself.

        Raises:
            InputError: it is not there.
        """
        for name in self.folders:
            if (source / name).is_dir():
                return source / name
        if source.is_dir() and source.resolve().name in self.folders:
            return source
        raise InputError(
            f"{source / self.folders[0]} is missing", f"put {self.title} there ({self.page}), or leave out {self.name}"
        )

    def __call__(self, source: Path) -> Iterator[RawCase]:
        """Yield every case with labels.

        Raises:
            InputError: a file is missing, the folder is laid out in another way, or there is no case.
        """
        root = self.root(source)
        empty = True
        for case in self.find(root):
            empty = False
            patient = case.patient or f"{self.name}/{case.case}"
            yield RawCase(
                case=case.case,
                dataset=self.name,
                split=case.split or split_of(patient),
                licence=case.licence or self.licence,
                ct=case.ct,
                labels=case.labels,
                rules_out=self.rules_out,
                physics=self.physics,
                patient=patient,
            )
        if empty:
            raise InputError(f"{root} holds no labelled CT of {self.title}", f"download it again ({self.page})")
