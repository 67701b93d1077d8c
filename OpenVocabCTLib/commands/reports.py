"""Prompts from a report: what ``segment --report`` segments, and the sentence behind each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from OpenVocabCTLib.output import Segment
    from OpenVocabCTLib.reports import ReportPrompts

_LONGEST_BYTES = 1_000_000


def read_report_prompts(path: Path) -> ReportPrompts:
    """Read a report and find what to segment.

    Args:
        path: plain text in UTF-8.

    Raises:
        InputError: it cannot be read, is too long, or names no finding that is there.
    """
    from OpenVocabCTLib.reports import ReportPrompts
    from OpenVocabCTLib.volume import printable

    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read", "check the path of the report") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)} is not plain text", "save the report as text in UTF-8") from error
    if len(content) > _LONGEST_BYTES:
        raise InputError(f"{printable(path)} is longer than a report", "give a text of at most 1 MB")
    try:
        return ReportPrompts.of(text)
    except InputError as error:
        what = error.what.replace("the report", printable(path), 1)
        raise InputError(what, "name structures with --prompt") from error


def segment_records(report: ReportPrompts, segments: Sequence[Segment], first: int) -> list[dict[str, Any]]:
    """Describe every finding for ``--json``, with the ids of its segments.

    Args:
        report: what was read.
        segments: all segments of the answer.
        first: index of the segment of the report's first prompt.
    """
    ids = {text: segments[first + place].id for place, text in enumerate(report.texts)}
    return [
        {**{key: value for key, value in record.items() if key != "prompts"}, "segments": [ids[one] for one in asked]}
        for record in report.records()
        for asked in (record["prompts"],)
    ]


def lines_of_report(report: ReportPrompts) -> Iterable[str]:
    """Yield one line a finding, for the person who waits."""
    for finding in report.findings:
        prompts = ", ".join(finding.prompts) if finding.prompts else "not segmented"
        yield f"report: {finding.concept.name}, {finding.status} ({prompts}): {finding.sentence.text[:200]}"
