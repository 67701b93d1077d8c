"""Prompts from a report: what ``segment --report`` segments, and the sentence behind each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    from OpenVocabCTLib.output import Segment
    from OpenVocabCTLib.reports import Finding

_LONGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class ReportPrompts:
    """A report and the prompts that its findings give.

    Attributes:
        findings: what it says, denied findings included.
        texts: prompts, each once, in the order of the report.
    """

    findings: tuple[Finding, ...]
    texts: tuple[str, ...]

    def records(self, segments: Sequence[Segment], first: int) -> list[dict[str, Any]]:
        """Describe every finding for ``--json``, with the ids of its segments.

        Args:
            segments: all segments of the answer.
            first: index of the segment of the first of `texts`.
        """
        ids = {text: segments[first + place].id for place, text in enumerate(self.texts)}
        return [
            {
                "finding": finding.concept.name,
                "canonical": finding.concept.id,
                "phrase": finding.phrase,
                "side": finding.side.value,
                "structures": [structure.id for structure in finding.structures],
                "region": list(finding.region),
                "status": finding.status,
                "sentence": finding.sentence.text,
                "section": finding.sentence.section,
                "segments": [ids[text] for text in finding.prompts],
            }
            for finding in self.findings
        ]

    def lines(self) -> Iterable[str]:
        """Yield one line a finding, for the person who waits."""
        for finding in self.findings:
            prompts = ", ".join(finding.prompts) if finding.prompts else "not segmented"
            yield f"report: {finding.concept.name}, {finding.status} ({prompts}): {finding.sentence.text[:200]}"


def read_report_prompts(path: Path) -> ReportPrompts:
    """Read a report and find what to segment.

    Args:
        path: plain text in UTF-8.

    Raises:
        InputError: it cannot be read, is too long, or names no finding that is there.
    """
    from OpenVocabCTLib.reports import read_report
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
    findings = read_report(text)
    texts = tuple(dict.fromkeys(prompt for finding in findings for prompt in finding.prompts))
    if not texts:
        raise InputError(f"{printable(path)} names no finding that could be segmented", "name structures with --prompt")
    return ReportPrompts(findings, texts)
