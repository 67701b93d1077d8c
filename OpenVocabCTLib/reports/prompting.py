"""From a report to prompts, each with the sentences that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.reports.findings import Finding, read_report
from OpenVocabCTLib.reports.languages import is_foreign

_NAME_THEM = "name structures as prompts"


@dataclass(frozen=True)
class ReportPrompts:
    """What a report says, and what to segment to see it.

    Attributes:
        findings: what it says, denied findings included.
    """

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, report: str) -> ReportPrompts:
        """Read a report.

        Args:
            report: plain text.

        Raises:
            InputError: it is not in English, or names no finding that is there.
        """
        if is_foreign(report):
            raise InputError("the report is not in English, the only language of reports that is read", _NAME_THEM)
        found = cls(read_report(report))
        if not found.sentences:
            denied = any(finding.status == "absent" for finding in found.findings)
            raise InputError(
                f"the report names no finding that could be segmented{', it only denies some' if denied else ''}",
                _NAME_THEM,
            )
        return found

    @cached_property
    def sentences(self) -> dict[str, tuple[str, ...]]:
        """Prompt -> the sentences that ask for it; prompts once each, in the order of the report."""
        found: dict[str, dict[str, None]] = {}
        for finding in self.findings:
            for prompt in finding.prompts:
                found.setdefault(prompt, {})[finding.sentence.text] = None
        return {prompt: tuple(texts) for prompt, texts in found.items()}

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts."""
        return tuple(self.sentences)

    def records(self) -> list[dict[str, Any]]:
        """Describe every finding as JSON can hold it."""
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
                "prompts": list(finding.prompts),
            }
            for finding in self.findings
        ]
