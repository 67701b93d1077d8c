"""What was measured of each patient, one file each, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvocabct_training.evaluation.cases import EvaluationCase
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.segmentation import slug

# Raised whenever a suite measures something else than before: older records are then measured again.
FORMAT = 1


@dataclass(frozen=True)
class RecordStore:
    """Records of one evaluation.

    Args:
        folder: where the files are; made when the first is written.
        fingerprint: of the system under evaluation; records of another one are not used.
        held_out: concepts that were asked by their words alone.
    """

    folder: Path
    fingerprint: str
    held_out: tuple[str, ...] = ()

    def read(self, case: EvaluationCase) -> dict[str, Any]:
        """Return what is known of a case; an empty dict if nothing is, or it is out of date or unreadable."""
        path = self._path(case)
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) and record.get("key") == self._key(case) else {}

    def write(self, case: EvaluationCase, record: dict[str, Any]) -> None:
        """Keep the record of a case.

        Raises:
            InputError: the folder cannot be written.
            ResourceError: the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path(case), {"key": self._key(case), **record})

    def _path(self, case: EvaluationCase) -> Path:
        # Ids that differ only in what a file name cannot hold must not share a file.
        short = hashlib.sha256(f"{case.dataset}/{case.case}".encode()).hexdigest()[:8]
        return self.folder / f"{slug(case.case)}-{short}.json"

    def _key(self, case: EvaluationCase) -> str:
        about = (FORMAT, self.fingerprint, sorted(self.held_out), case.stamp())
        return hashlib.sha256(repr(about).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON that is complete or not there; not-a-number has no place in it.

    Raises:
        InputError: the folder cannot be written.
        ResourceError: the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def without(record: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return a record without some of its entries."""
    left_out = set(keys)
    return {key: value for key, value in record.items() if key not in left_out}
