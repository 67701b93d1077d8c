"""Reports from where they are: a store, a table like CT-RATE's, or lines of JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from openvocabct_training.pretraining.corpus import REPORTS, ReportRow, read_reports
from OpenVocabCTLib.errors import InputError

_NOT_GIVEN = frozenset({"", "not given", "nan", "none"})


def reports_from(source: Path) -> list[str]:
    """Return the texts of reports.

    Args:
        source: a store with ``reports.jsonl``; a ``.jsonl`` file whose objects have ``report``, or ``findings`` and
            ``impression``; or a ``.csv`` file with a column ``report``, or ``Findings_EN`` and ``Impressions_EN``.

    Raises:
        InputError: it is none of these.
    """
    if source.is_dir():
        return [row.text for row in read_reports(source / REPORTS)]
    if not source.is_file():
        raise InputError(f"{source} is missing", "give a store, or a .jsonl or .csv file of reports")
    rows = _table(source) if source.suffix.lower() == ".csv" else _lines(source)
    return [text_of(row, source) for row in rows]


def text_of(row: dict[str, str], source: Path) -> str:
    """Return the text of a row; sections that are "Not given." are left out.

    Raises:
        InputError: the row has no column of text.
    """
    if "report" in row:
        return row["report"] or ""
    names = ("Findings_EN", "Impressions_EN") if "Findings_EN" in row else ("findings", "impression")
    if names[0] not in row:
        raise InputError(f"{source} has no report in its rows", "give the column report, or Findings_EN")
    findings, impression = (given(row.get(name)) for name in names)
    return ReportRow("", "", findings, impression).text


def given(text: str | None) -> str:
    """Return the text of a section, empty where it says that there is none."""
    text = (text or "").strip()
    return "" if text.lower().rstrip(".") in _NOT_GIVEN else text


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table whose cells may span lines and be long, as those of CT-RATE.

    Raises:
        InputError: it is missing or no text.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing", "give the folder as it was downloaded")
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                yield {key: value or "" for key, value in row.items() if key and not isinstance(value, list)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table in UTF-8 ({error})", "download or save it again") from error


def _table(path: Path) -> list[dict[str, str]]:
    return list(read_csv(path))


def _lines(path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"line {number} of {path} is no JSON ({error})", "write one object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {path} is no object", "write one object a line")
        yield {str(key): value if isinstance(value, str) else "" for key, value in row.items()}
