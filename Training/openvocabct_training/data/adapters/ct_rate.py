"""CT-RATE: 25,692 chest CTs of 21,304 patients with their reports (Hamamci et al. 2024, arXiv:2403.17834).

Layout, below ``dataset`` or the folder itself:

    train[_fixed]/train_1/train_1_a/train_1_a_1.nii.gz     patient, scan (a, b, ...), reconstruction; the same for valid
    radiology_text_reports/{train,validation}_reports.csv  VolumeName, Findings_EN, Impressions_EN, ...
    metadata/{train,validation}_metadata.csv               VolumeName, RescaleSlope, XYSpacing, ZSpacing, ...
    metadata/no_chest_{train,valid}.txt                    volumes that show no chest
    multi_abnormality_labels/{train,valid}_predicted_labels.csv   VolumeName and 18 labels

The labels were made from the reports.  The headers of the files in ``train`` and ``valid`` are blank: voxel sizes,
orientation and the rescaling to HU are in the metadata.  Those in ``train_fixed`` and ``valid_fixed``
are right, and are taken where both are there.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openvocabct_training.data.adapters.base import LUNGS, RawCase
from openvocabct_training.data.adapters.headers import TrueHeader
from openvocabct_training.pretraining.corpus import ReportRow
from openvocabct_training.reports.reading import given, read_csv
from OpenVocabCTLib.errors import InputError

NAME = "ct_rate"
LICENCE = "CC BY-NC-SA 4.0"
PAGE = "https://huggingface.co/datasets/ibrahimhamamci/CT-RATE"
SPLITS: Mapping[str, str] = {"train": "train", "valid": "validation"}  # theirs -> ours
_TABLES: Mapping[str, str] = {"train": "train", "valid": "validation"}
_VOLUME = re.compile(r"((train|valid)_[0-9]+)_([a-z]+)_([0-9]+)\.nii\.gz")
_TODO = "give the folder that holds CT-RATE's dataset folder, complete with its tables"


@dataclass(frozen=True)
class VolumeName:
    """``train_1_a_2.nii.gz``: the second reconstruction of scan a of patient train_1."""

    name: str
    split: str
    patient: str
    study: str
    reconstruction: int

    @classmethod
    def parse(cls, name: str) -> VolumeName | None:
        """Read a file name, with its ending or without; None if it is no volume of CT-RATE."""
        whole = name if name.endswith(".nii.gz") else f"{name}.nii.gz"
        match = _VOLUME.fullmatch(whole)
        if match is None:
            return None
        patient, split, scan, reconstruction = match.groups()
        return cls(whole.removesuffix(".nii.gz"), split, patient, f"{patient}_{scan}", int(reconstruction))

    @property
    def names(self) -> tuple[str, str, str]:
        """What a list may call it by: volume, study or patient."""
        return self.name, self.study, self.patient


class CTRate:
    """Adapter of the data set.

    Args:
        splits: theirs, "train" and "valid".
        exclude: patients (train_1), studies (train_1_a) or volumes (train_1_a_1) to leave out.
        reconstructions: "all", or "first" of every study only.
    """

    def __init__(
        self, splits: Sequence[str] = tuple(SPLITS), exclude: Collection[str] = (), reconstructions: str = "all"
    ) -> None:
        self.splits, self.exclude, self.reconstructions = tuple(splits), frozenset(exclude), reconstructions

    def __call__(self, source: Path) -> Iterator[RawCase]:
        """Yield every volume that is there.

        Raises:
            InputError: a table is missing or damaged, a volume is not in it, or there is no volume.
        """
        root = root_of(source)
        empty = True
        for split in self.splits:
            folder, fixed = _folder(root, split)
            if folder is None:
                continue
            metadata = {} if fixed else _by_volume(root / "metadata" / f"{_TABLES[split]}_metadata.csv", split)
            no_chest = _listed(root / "metadata" / f"no_chest_{split}.txt")
            for volume, path in self._volumes(folder, split, no_chest):
                empty = False
                header = None if fixed else _header(metadata.get(volume.name), volume)
                yield RawCase(
                    case=volume.name,
                    dataset=NAME,
                    split=SPLITS[split],
                    licence=LICENCE,
                    ct=path,
                    rules_out=("pelvis", "leg"),
                    physics=("body", *LUNGS),
                    patient=f"{NAME}/{volume.patient}",
                    header=header,
                )
        if empty:
            raise InputError(f"{root} holds no volume of CT-RATE", _TODO)

    def _volumes(self, folder: Path, split: str, no_chest: Collection[str]) -> Iterator[tuple[VolumeName, Path]]:
        left_out = self.exclude | frozenset(no_chest)
        seen: set[str] = set()
        found = ((VolumeName.parse(path.name), path) for path in folder.glob(f"{split}_*/{split}_*/{split}_*.nii.gz"))
        named = [(volume, path) for volume, path in found if volume is not None]
        for volume, path in sorted(named, key=lambda pair: (len(pair[0].study), pair[0].study, pair[0].reconstruction)):
            if left_out & set(volume.names) or (self.reconstructions == "first" and volume.study in seen):
                continue
            seen.add(volume.study)
            yield volume, path


def reports(source: Path, splits: Iterable[str] = tuple(SPLITS)) -> Iterator[ReportRow]:
    """Yield the reports, one row a volume; where there are several volumes of a study they share it.

    Raises:
        InputError: a table is missing or damaged.
    """
    root = root_of(source)
    for split in splits:
        path = root / "radiology_text_reports" / f"{_TABLES[split]}_reports.csv"
        if not path.is_file() and _folder(root, split)[0] is None:
            continue
        labels = _labels(root / "multi_abnormality_labels" / f"{split}_predicted_labels.csv", split)
        for name, row in _by_volume(path, split, "Findings_EN", "Impressions_EN").items():
            volume = VolumeName.parse(name)
            if volume is None:
                continue  # `_by_volume` has refused it
            findings, impression = given(row["Findings_EN"]), given(row["Impressions_EN"])
            yield ReportRow(f"{NAME}/{name}", volume.study, findings, impression, labels.get(name, {}))


def exclusions(files: Iterable[Path]) -> frozenset[str]:
    """Read lists of patients, studies or volumes, one a line or in the first column of a table.

    Raises:
        InputError: a list is missing, or a line names nothing of CT-RATE.
    """
    names: set[str] = set()
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is missing", "check --exclude")
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
            name = line.split(",")[0].strip().strip('"').removesuffix(".nii.gz")
            if not name or (number == 1 and not re.match(r"(?:train|valid)_", name)):
                continue  # an empty line, or the heading of a table
            if re.fullmatch(r"(?:train|valid)_\d+(?:_[a-z]+(?:_\d+)?)?", name) is None:
                raise InputError(f"line {number} of {path} names nothing of CT-RATE", "write for example train_1_a")
            names.add(name)
    return frozenset(names)


def root_of(source: Path) -> Path:
    """Return the folder with the tables: the source or its ``dataset``.

    Raises:
        InputError: neither has them.
    """
    for root in (source / "dataset", source):
        if (root / "radiology_text_reports").is_dir() or (root / "metadata").is_dir():
            return root
    raise InputError(f"{source} holds no CT-RATE", _TODO)


def _folder(root: Path, split: str) -> tuple[Path | None, bool]:
    """Return the folder of a split and whether its headers are right."""
    if (root / f"{split}_fixed").is_dir():
        return root / f"{split}_fixed", True
    return (root / split, False) if (root / split).is_dir() else (None, False)


def _by_volume(path: Path, split: str, *required: str) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for number, row in enumerate(read_csv(path), start=2):
        missing = [name for name in ("VolumeName", *required) if name not in row]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}", _TODO)
        volume = VolumeName.parse(row["VolumeName"].strip())
        if volume is None or volume.split != split:
            raise InputError(f"row {number} of {path} names {row['VolumeName'][:60]!r}", "download the table again")
        rows[volume.name] = row
    return rows


def _labels(path: Path, split: str) -> dict[str, dict[str, int]]:
    """Volume -> abnormality -> 0 or 1; a split without the table has none."""
    if not path.is_file():
        return {}
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    return {
        name: {label: known[value.strip()] for label, value in row.items() if value.strip() in known}
        for name, row in _by_volume(path, split).items()
    }


def _listed(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(line.strip().removesuffix(".nii.gz") for line in path.read_text(encoding="utf-8").splitlines())


def _header(row: Mapping[str, str] | None, volume: VolumeName) -> TrueHeader:
    if row is None:
        raise InputError(f"the metadata have no row of {volume.name}", "download them again, or exclude it")
    try:
        in_plane = _numbers(row["XYSpacing"])
        spacing = (in_plane[0], in_plane[-1], float(row["ZSpacing"]))
        slope, intercept = float(row["RescaleSlope"]), float(row["RescaleIntercept"])
        orientation = _numbers(row.get("ImageOrientationPatient", "")) or [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        origin = _numbers(row.get("ImagePositionPatient", "")) or [0.0, 0.0, 0.0]
        values = (*spacing, slope, intercept, *orientation, *origin)
        if len(orientation) != 6 or len(origin) != 3 or not all(math.isfinite(value) for value in values):
            raise ValueError("it has other numbers")
    except (ValueError, KeyError, IndexError, SyntaxError, TypeError) as error:
        raise InputError(
            f"the metadata of {volume.name} give no voxel size or rescaling ({error})", "exclude it"
        ) from error
    first, second, third, *columns = orientation
    return TrueHeader(
        spacing,
        slope,
        intercept,
        (origin[0], origin[1], origin[2]),
        (first, second, third),
        (columns[0], columns[1], columns[2]),
    )


def _numbers(text: str) -> list[float]:
    """Read "[0.75, 0.75]", "[0.75 0.75]" or "0.75"."""
    text = text.strip()
    if not text:
        return []
    if "," not in text and text.startswith(("[", "(")):
        text = re.sub(r"\s+", ", ", text.replace("[ ", "[").replace(" ]", "]"))
    said = ast.literal_eval(text)
    return [float(value) for value in (said if isinstance(said, list | tuple) else [said])]
