"""The store: every case once, on the working grid, compressed in blocks that can be read one by one.

One folder per case holds ``image.b2nd`` (int16 HU, (S, A, R)) and ``labels.b2nd`` (uint8 0/1, (C, S, A, R)); the
manifest, one JSON object per line, says what each case annotates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import blosc2  # type: ignore[import-untyped]
import numpy as np

from OpenVocabCTLib.errors import InputError

MANIFEST = "manifest.jsonl"
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

    @classmethod
    def from_json(cls, line: str) -> CaseRecord:
        """Read one line of the manifest."""
        row = json.loads(line)
        lists = {name: tuple(row[name]) for name in ("shape", "spacing", "absent")}
        return cls(**{**row, **lists})


class CaseStore:
    """Reads and writes the store.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_case(self, image: np.ndarray, masks: Mapping[str, np.ndarray], **description: Any) -> CaseRecord:
        """Write one case.

        Args:
            image: (S, A, R) int16 HU.
            masks: concept id -> bool (S, A, R); empty ones are recorded as absent.
            **description: the other fields of ``CaseRecord``; ``absent`` is extended by the empty masks.
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
        folder = self.root / record.case
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in (("image", image), ("labels", planes)):
            target = folder / f"{name}.b2nd"
            blosc2.asarray(np.ascontiguousarray(array), urlpath=str(target), mode="w", cparams=_CODEC)
        return record

    def write_manifest(self, records: Iterable[CaseRecord]) -> None:
        """Replace the manifest in one step."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / (MANIFEST + ".tmp")
        temporary.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records), encoding="utf-8")
        temporary.replace(self.root / MANIFEST)

    def records(self, split: str | None = None) -> list[CaseRecord]:
        """Cases of a split, or all.

        Raises:
            InputError: the store has not been prepared.
        """
        path = self.root / MANIFEST
        if not path.is_file():
            raise InputError(
                f"there is no training store in {self.root} (no {MANIFEST})",
                f"run `openvocabct-train prepare DATA --store {self.root}` first",
            )
        records = [CaseRecord.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [record for record in records if split is None or record.split == split]

    def image(self, record: CaseRecord) -> Any:
        """The (S, A, R) image as a ``blosc2.NDArray``; slicing it gives a NumPy array and reads what it needs."""
        return blosc2.open(str(self.root / record.case / "image.b2nd"), mode="r")

    def labels(self, record: CaseRecord) -> Any:
        """The (C, S, A, R) label planes, in the order of ``record.present``, as a ``blosc2.NDArray``."""
        return blosc2.open(str(self.root / record.case / "labels.b2nd"), mode="r")
