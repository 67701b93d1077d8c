"""What the table of results shows: one row per prompt, which is also kept in the scene."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from OpenVocabCTLib.output.segmentation import Segment


@dataclass(frozen=True)
class ResultRow:
    """The answer to one prompt, without its mask.

    Attributes:
        prompt: the prompt's label.
        name: name of the structure.
        found: whether it is in the scan.
        reason: why it was not found, "" otherwise.
        volume_ml: volume in ml, 0 where not found.
        mean_hu: mean CT value in HU, None where unknown.
        presence: probability that the structure is in the scan.
        threshold: voxel probability that counted as inside.
        segment_id: its segment in the segmentation node, None where there is none.
        sentence: what the report says of it, "" where it does not come from one.
        doubt: what is unusual about it and worth a second look, "" otherwise.
        note: what the user should know of it, as that only a part of a group was looked for, "" otherwise.
    """

    prompt: str
    name: str
    found: bool
    reason: str
    volume_ml: float
    mean_hu: float | None
    presence: float
    threshold: float
    segment_id: str | None
    sentence: str = ""
    doubt: str = ""
    note: str = ""

    @classmethod
    def of(cls, answer: Segment, segment_id: str | None, sentence: str = "", notes: Iterable[str] = ()) -> ResultRow:
        """Describe an answer.

        Args:
            answer: the answer.
            segment_id: where it was written to.
            sentence: the sentence of a report that asked for it.
            notes: of all answers; those of one begin with its prompt.
        """
        mine = f"{answer.prompt}: "
        return cls(
            answer.prompt,
            answer.name,
            answer.found,
            answer.reason,
            answer.volume_ml,
            answer.mean_hu,
            answer.presence,
            answer.threshold,
            segment_id,
            sentence,
            "; ".join(answer.doubts),
            "; ".join(note.removeprefix(mine) for note in notes if note.startswith(mine)),
        )


def rows_to_text(rows: Iterable[ResultRow]) -> str:
    """Return rows as one line of ASCII."""
    return json.dumps([asdict(row) for row in rows], separators=(",", ":"))


def rows_from_text(text: str) -> tuple[ResultRow, ...]:
    """Read what `rows_to_text` wrote; rows that make no sense, as from another version, are left out."""
    try:
        records = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    rows = (_row(record) for record in records) if isinstance(records, list) else ()
    return tuple(row for row in rows if row is not None)


_NUMBERS = ("volume_ml", "presence", "threshold")
_TEXTS = ("prompt", "name", "reason", "sentence", "doubt", "note")


def _row(record: Any) -> ResultRow | None:
    if not isinstance(record, dict):
        return None
    record = {"sentence": "", "doubt": "", "note": ""} | record  # scenes of earlier versions have none
    if set(record) != {field.name for field in fields(ResultRow)}:
        return None
    good = (
        all(isinstance(record[name], str) for name in _TEXTS)
        and all(_is_number(record[name]) for name in _NUMBERS)
        and isinstance(record["found"], bool)
        and (record["mean_hu"] is None or _is_number(record["mean_hu"]))
        and isinstance(record["segment_id"], str | None)
    )
    return ResultRow(**record) if good else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
