"""``openvocabct-train describe``: reports of what is measured, for every case of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import REPORTS, ReportRow, read_reports, write_reports
from openvocabct_training.pretraining.describing import describe
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

_FINDINGS = "FINDINGS:\n"
_IMPRESSION = "\n\nIMPRESSION:\n"


def describe_store(store: CaseStore, view: Sequence[int], output: Path | None = None) -> int:
    """Write ``reports.jsonl`` of what the view of every case shows.

    Args:
        store: a prepared store.
        view: (S, A, R) voxels, those of ``data.view.size``.
        output: file to write; that of the store by default.

    Returns:
        Number of reports.

    Raises:
        InputError: the store is not prepared, the view has no size, or the file holds reports that somebody wrote.
    """
    if len(view) != 3 or min(view) < 1:
        raise InputError("a view has three sides", "give for example --view 32 32 64")
    path = output or store.root / REPORTS
    if path.is_file() and any(not row.findings.startswith(_FINDINGS) for row in read_reports(path)):
        raise InputError(f"{path} holds reports that somebody wrote", "give another file: --output")
    vocabulary, rows = Vocabulary.load(), []
    for record in store.records():
        findings, _, impression = describe(store, record, view, vocabulary).partition(_IMPRESSION)
        rows.append(ReportRow(record.case, record.case, findings + "\n", impression))
    write_reports(path, rows)
    return len(rows)
