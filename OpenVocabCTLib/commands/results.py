"""How a segmentation's answers look, to people and to programs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.commands.terminal import print_table

if TYPE_CHECKING:
    from OpenVocabCTLib.output import Segment
    from OpenVocabCTLib.prompts import Terminology

NOTHING = "-"


def segment_record(segment: Segment) -> dict[str, Any]:
    """Describe one answer for ``--json``: volume in ml, intensity in HU, time in seconds."""
    return {
        "id": segment.id,
        "prompt": segment.prompt,
        "canonical": segment.canonical,
        "code": code_record(segment.terminology),
        "found": segment.found,
        "reason": segment.reason,
        "presence": _number(segment.presence, 4),
        "volume_ml": _number(segment.volume_ml, 3),
        "mean_hu": _number(segment.mean_hu, 2),
        "threshold": _number(segment.threshold, 4),
        "seconds": _number(segment.seconds, 4),
        "doubts": list(segment.doubts),
    }


def code_record(terminology: Terminology | None) -> dict[str, str] | None:
    """Describe a structure's code, for example SCT 64033007 Kidney with the modifier Left."""
    if terminology is None:
        return None
    code = terminology.type
    record = {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}
    if terminology.modifier is not None:
        record["modifier"] = terminology.modifier.meaning
    return record


def print_segments(segments: Iterable[Segment]) -> None:
    """Print one row per prompt; what was not found says why."""
    rows = [
        (
            segment.prompt,
            "yes" if segment.found else "no",
            decimal(segment.volume_ml) if segment.found else NOTHING,
            decimal(segment.mean_hu, 0) if segment.found else NOTHING,
            "" if segment.found else segment.reason,
        )
        for segment in segments
    ]
    print_table(("prompt", "found", "volume ml", "mean HU", ""), rows, right=(2, 3))


def decimal(value: float | None, digits: int = 1) -> str:
    """Format a number for a table; "-" where there is none."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"


def _number(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
