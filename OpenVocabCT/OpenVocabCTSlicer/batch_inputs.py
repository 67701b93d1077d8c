"""Which CTs a batch is about, and where their results go: the same as for ``openvocabct batch``."""

from __future__ import annotations

from OpenVocabCTLib.batch.inputs import Case, check_same_source, find_cases

__all__ = ["Case", "check_same_source", "find_cases"]
