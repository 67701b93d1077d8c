"""Radiology reports: sentences, what they say is there or not, on which side and in which structure."""

from __future__ import annotations

from OpenVocabCTLib.reports.findings import Finding, read_report
from OpenVocabCTLib.reports.prompting import ReportPrompts
from OpenVocabCTLib.reports.sentences import Sentence, split_sentences

__all__ = ["Finding", "ReportPrompts", "Sentence", "read_report", "split_sentences"]
