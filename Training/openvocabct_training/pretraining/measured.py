"""``openvocabct-train describe``: reports of what is measured, for every case of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openvocabct_training.data.store import CaseStore
from openvocabct_training.pretraining.corpus import REPORTS, ReportRow, write_reports
from openvocabct_training.pretraining.describing import describe
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

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
        InputError: the store is not prepared, or the view has no size.
    """
    if len(view) != 3 or min(view) < 1:
        raise InputError("a view has three sides", "give for example --view 32 32 64")
    vocabulary, rows = Vocabulary.load(), []
    for record in store.records():
        findings, _, impression = describe(store, record, view, vocabulary).partition(_IMPRESSION)
        rows.append(ReportRow(record.case, record.case, findings + "\n", impression))
    write_reports(output or store.root / REPORTS, rows)
    return len(rows)
