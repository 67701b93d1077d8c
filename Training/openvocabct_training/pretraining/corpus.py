"""The texts of a store: reports, and what was decomposed from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openvocabct_training.pretraining.opposites import is_normal, opposite
from openvocabct_training.reports.items import Decomposition, report_sha256
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import replacing

REPORTS = "reports.jsonl"
CAPTIONS = "captions.jsonl"


@dataclass(frozen=True)
class ReportRow:
    """A line of ``reports.jsonl``.

    Attributes:
        case: id in the store.
        study: the same for all reconstructions of a study, which share their report.
        findings: text of that section.
        impression: text of that section.
        labels: abnormality -> whether it is there, where somebody labelled that.
    """

    case: str
    study: str
    findings: str
    impression: str = ""
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Findings and impression."""
        if not self.impression:
            return self.findings
        return f"{self.findings.strip()}\n\nIMPRESSION:\n{self.impression.strip()}\n"


@dataclass(frozen=True)
class Caption:
    """What a report says of one organ.

    Attributes:
        organ: id of the closed list.
        text: its statements, in the order of the report.
        normal: all of them call it normal.
        opposite: the opposite statement; empty where there is none.
    """

    organ: str
    text: str
    normal: bool
    opposite: str


def write_reports(path: Path, rows: Iterable[ReportRow]) -> None:
    """Replace the file of reports in one step."""
    _write(path, (asdict(row) for row in rows))


def read_reports(path: Path) -> list[ReportRow]:
    """Read the file of reports.

    Raises:
        InputError: it is missing or damaged.
    """
    rows = []
    for number, row in _rows(path, "run `openvocabct-train describe` or `openvocabct-train prepare ct-rate` first"):
        try:
            rows.append(ReportRow(**row))
        except TypeError as error:
            raise InputError(f"line {number} of {path} is no report ({error})", "write the file again") from error
    return rows


def write_decompositions(path: Path, rows: Iterable[tuple[str, Decomposition]]) -> None:
    """Replace the file of decompositions, (sha256 of the report, what it says), in one step."""
    _write(path, ({"sha256": sha256, **decomposition.to_json()} for sha256, decomposition in rows))


def read_decompositions(path: Path) -> dict[str, Decomposition]:
    """Read the file of decompositions: sha256 of the report -> what it says.

    Raises:
        InputError: it is missing or damaged.
    """
    found: dict[str, Decomposition] = {}
    for number, row in _rows(path, "run `openvocabct-train decompose` first"):
        try:
            found[row["sha256"]] = Decomposition.from_json(row)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"line {number} of {path} is no decomposition ({error})", "run `openvocabct-train decompose` again"
            ) from error
    return found


def captions_of(decomposition: Decomposition) -> list[Caption]:
    """One caption an organ."""
    statements: dict[str, list[tuple[str, str]]] = {}
    for item in decomposition.items:
        statements.setdefault(item.organ, []).append((item.text, item.polarity))
    return [
        Caption(organ, text := _joined(said), is_normal(said), opposite(text) or "")
        for organ, said in statements.items()
    ]


def captions_by_report(reports: Iterable[ReportRow], found: Mapping[str, Decomposition]) -> dict[str, list[Caption]]:
    """Case -> captions; empty for reports that were not decomposed.

    Raises:
        InputError: none of the reports was.
    """
    captions: dict[str, list[Caption]] = {}
    known = 0
    for row in reports:
        decomposition = found.get(report_sha256(row.text))
        known += decomposition is not None
        captions[row.case] = [] if decomposition is None else captions_of(decomposition)
    if captions and not known:
        raise InputError("the captions are those of other reports", "run `openvocabct-train decompose` again")
    return captions


def _joined(statements: list[tuple[str, str]]) -> str:
    sentences = [text if text.endswith((".", "!", "?")) else f"{text}." for text, _ in statements]
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)


def _rows(path: Path, todo: str) -> Iterable[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path} is missing", todo)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"line {number} of {path} is no JSON ({error})", todo) from error
        yield number, row


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row) + "\n")
