"""The store: every case once, on the working grid, compressed in blocks that can be read one by one.

One folder per case holds ``image.b2nd`` (int16 HU, (S, A, R)), ``labels.b2nd`` (uint8 0/1, (C, S, A, R)) and
``record.json``; the manifest, one JSON object per line, says what each case annotates.

A case appears by one rename of a finished folder, and ``record.json`` in it says from what it was made: together they
are the journal that lets an interrupted preparation go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import blosc2  # type: ignore[import-untyped]
import numpy as np

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import flush_folder, os_error, replacing

MANIFEST = "manifest.jsonl"
SKIPPED = "skipped.jsonl"
RECORD = "record.json"
_IMAGE, _LABELS = "image.b2nd", "labels.b2nd"
_PART = ".part-"
_CODEC: dict[str, Any] = {"codec": blosc2.Codec.ZSTD, "clevel": 5}


@dataclass(frozen=True)
class CaseRecord:
    """One line of the manifest.

    Attributes:
        case: unique id, ``<data set>/<case>``.
        dataset: name of the data set.
        split: "train" or "validation".
        licence: as the source states it.
        shape: (S, A, R) of the working grid.
        spacing: mm along (S, A, R).
        present: annotated concepts with at least one voxel -> number of voxels, in the order of the label planes.
        absent: concepts that were looked for and are not in this scan.
        symmetric: a left-right mirrored copy (with left and right swapped in the words) is anatomically plausible.
        sha256: of the image and label voxels.
        patient: who was scanned, the same for all scans of one person in all data sets; the case if nothing is known.
    """

    case: str
    dataset: str
    split: str
    licence: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    present: dict[str, int]
    absent: tuple[str, ...]
    symmetric: bool
    sha256: str
    patient: str = ""

    def __post_init__(self) -> None:
        # Manifests of earlier versions name no patient.
        if not self.patient:
            object.__setattr__(self, "patient", self.case)

    @classmethod
    def from_json(cls, line: str) -> CaseRecord:
        """Read one line of the manifest."""
        return cls.from_row(json.loads(line))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> CaseRecord:
        """Make a record of the object that a line of the manifest holds."""
        lists = {name: tuple(row[name]) for name in ("shape", "spacing", "absent")}
        return cls(**{**row, **lists})


@dataclass(frozen=True)
class SkippedCase:
    """A case that could not be prepared, and why."""

    case: str
    dataset: str
    reason: str


class CaseStore:
    """Reads and writes the store.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_case(
        self, image: np.ndarray, masks: Mapping[str, np.ndarray], *, source: str = "", **description: Any
    ) -> CaseRecord:
        """Write one case: either all of it is there afterwards, or what was there before.

        Args:
            image: (S, A, R) int16 HU.
            masks: concept id -> bool (S, A, R); empty ones are recorded as absent.
            source: what `finished` asks for: a hash of all that the case is made from.
            **description: the other fields of ``CaseRecord``; ``absent`` is extended by the empty masks.

        Raises:
            InputError: the folder cannot be written, or the id of the case is no ``<data set>/<case>``.
            ResourceError: the disk is full.
        """
        present = {concept: int(mask.sum()) for concept, mask in masks.items() if mask.any()}
        planes = np.zeros((len(present), *image.shape), np.uint8)
        for plane, concept in zip(planes, present, strict=True):
            plane[...] = masks[concept]
        digest = hashlib.sha256(image.tobytes())
        digest.update(planes.tobytes())
        absent = tuple(sorted({*description.pop("absent", ()), *masks} - set(present)))
        slices, rows, columns = image.shape
        record = CaseRecord(
            shape=(slices, rows, columns),
            present=present,
            absent=absent,
            sha256=digest.hexdigest(),
            **description,
        )
        files = {
            _IMAGE: _compressed(image),
            _LABELS: _compressed(planes),
            RECORD: json.dumps({"source": source, "record": asdict(record)}).encode(),
        }
        self._place(record.case, files)
        return record

    def _place(self, case: str, files: Mapping[str, bytes]) -> None:
        """Make the folder of a case appear with all its files, durably, in place of an older one."""
        check_case_id(case)
        target = self.root / case
        part, replaced = (self.root / f"{_PART}{secrets.token_hex(8)}" for _ in range(2))
        try:
            part.mkdir(parents=True)
            for name, content in files.items():
                with (part / name).open("xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            flush_folder(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(replaced)
            part.rename(target)
            flush_folder(target.parent)
        except BaseException as error:
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            shutil.rmtree(part, ignore_errors=True)
            if isinstance(error, OSError):
                raise os_error(error, target) from error
            raise
        shutil.rmtree(replaced, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Remove what interrupted or replaced cases left behind; no other process may be writing."""
        for leftover in self.root.glob(f"{_PART}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def finished(self, case: str, source: str) -> CaseRecord | None:
        """Return the record of a case that was made from `source` and is complete, else None."""
        folder = self.root / case
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            record = CaseRecord.from_row(content["record"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # never finished, or finished by a version that kept no journal: it is made again
        complete = all((folder / name).is_file() for name in (_IMAGE, _LABELS))
        return record if content.get("source") == source and record.case == case and complete else None

    def write_manifest(self, records: Iterable[CaseRecord]) -> None:
        """Replace the manifest in one step."""
        self._write_lines(MANIFEST, [asdict(record) for record in records])

    def write_skipped(self, skipped: Iterable[SkippedCase]) -> None:
        """Replace the list of cases that were left out in one step; there is no file when there are none."""
        rows = [asdict(case) for case in skipped]
        if rows:
            self._write_lines(SKIPPED, rows)
        else:
            (self.root / SKIPPED).unlink(missing_ok=True)

    def _write_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with replacing(self.root / name) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def records(self, split: str | None = None) -> list[CaseRecord]:
        """Cases of a split, or all.

        Raises:
            InputError: the store has not been prepared, or its manifest is damaged.
        """
        path = self.root / MANIFEST
        if not path.is_file():
            raise InputError(
                f"there is no training store in {self.root} (no {MANIFEST})",
                f"run `openvocabct-train prepare DATA --store {self.root}` first",
            )
        records = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                records.append(CaseRecord.from_json(line))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"line {number} of {path} is no case ({error})", "run `openvocabct-train prepare` again"
                ) from error
        return [record for record in records if split is None or record.split == split]

    def skipped(self) -> list[SkippedCase]:
        """Cases that were left out, with the reasons."""
        path = self.root / SKIPPED
        if not path.is_file():
            return []
        return [SkippedCase(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]

    def image(self, record: CaseRecord) -> Any:
        """The (S, A, R) image as a ``blosc2.NDArray``; slicing it gives a NumPy array and reads what it needs."""
        return self._open(record, _IMAGE)

    def labels(self, record: CaseRecord) -> Any:
        """The (C, S, A, R) label planes, in the order of ``record.present``, as a ``blosc2.NDArray``."""
        return self._open(record, _LABELS)

    def _open(self, record: CaseRecord, name: str) -> Any:
        path = self.root / record.case / name
        if not path.is_file():
            raise InputError(f"{path} is missing", "run `openvocabct-train prepare` again")
        return blosc2.open(str(path), mode="r")


def check_case_id(case: str) -> None:
    """Refuse ids that would lead out of the store or into its own files.

    Raises:
        InputError: the id is no ``<data set>/<case>`` of plain names.
    """
    parts = case.split("/")
    if len(parts) != 2 or any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
        raise InputError(f"{case!r} is no name of a case", "use names without slashes that do not start with a dot")


def _compressed(array: np.ndarray) -> bytes:
    # In memory: a full disk is then met by our own writing, which says so, and not inside the compressor.
    content: bytes = blosc2.asarray(np.ascontiguousarray(array), cparams=_CODEC).to_cframe()
    return content
