"""The table of a batch: one row per CT and prompt, complete after every CT."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import os_error, replacing
from OpenVocabCTLib.output.segmentation import Segment
from OpenVocabCTLib.turns import turn

FILE_NAME = "summary.csv"
COLUMNS = (
    "input",
    "output",
    "status",
    "prompt",
    "name",
    "code_scheme",
    "code_value",
    "found",
    "reason",
    "volume_ml",
    "mean_hu",
    "presence",
    "threshold",
    "doubts",
    "settings",
    "source",
    "notes",
)
_ALWAYS = 4  # the columns that every version has begun with
_LATER = 2  # the last columns, which came with a later version
DONE, FAILED = "done", "failed"
Row = dict[str, str]

# What makes a spreadsheet take a text for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@")


class Summary:
    """The rows so far, by the name of the CT.

    Args:
        path: the CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, list[Row]] = {}
        self._own: dict[str, list[Row]] = {}

    def check(self) -> None:
        """Refuse to replace a table that is none of a batch, be it of this version or an earlier one.

        Raises:
            InputError: there is one of this name.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                first = next(csv.reader(file), [])
        except (OSError, ValueError, csv.Error):
            first = ["?"]
        if first and tuple(first[:_ALWAYS]) != COLUMNS[:_ALWAYS]:
            raise InputError(
                f"{self.path.name} in the output folder is no table of a batch", "move it away, or use another folder"
            )

    def load(self) -> None:
        """Read the table of earlier runs, where there is one; its rows stay until those of the same CT replace them.

        Raises:
            InputError: the file is there and cannot be read, or is of another version.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) not in (COLUMNS, COLUMNS[:-_LATER]):
                    raise ValueError("columns")
                rows: dict[str, list[Row]] = {}
                for row in reader:
                    rows.setdefault(row["input"], []).append({name: row.get(name) or "" for name in COLUMNS})
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(
                f"{self.path.name} of the earlier run cannot be read", "move it away, or run without --resume"
            ) from error
        self._rows = rows

    def is_done(self, name: str, settings: str) -> bool:
        """Say whether a CT was finished with the same settings."""
        rows = self._rows.get(_text(name), [])
        return bool(rows) and all(row["status"] == DONE and row["settings"] == settings for row in rows)

    def sources_of(self, outputs: Iterable[str]) -> list[Path | None]:
        """Return for each result the CT that it was made of, None where that is not known."""
        rows = (row for rows in self._rows.values() for row in rows)
        known = {row["output"]: row["source"] for row in rows if row["status"] == DONE and row["source"]}
        found = (known.get(_text(output)) for output in outputs)
        return [None if source is None else Path(source) for source in found]

    def add_done(
        self, name: str, source: Path, output: str, settings: str, answers: Iterable[Segment], notes: Iterable[str]
    ) -> None:
        """Note the answers for a CT, and write the file.

        Args:
            name: what reports call the CT.
            source: where it is, as an absolute path.
            output: the result, relative to the table.
            settings: what the result depends on.
            answers: one per prompt.
            notes: what the user should know about the CT and about all answers.
        """
        common = {"input": _text(name), "output": _text(output), "status": DONE, "settings": settings}
        common |= {"source": str(source), "notes": _text("; ".join(notes))}
        self._put(name, [common | _answer(answer) for answer in answers])

    def add_failed(self, name: str, reason: str) -> None:
        """Note why there is nothing for a CT, and write the file."""
        self._put(name, [{"input": _text(name), "status": FAILED, "reason": _text(reason)}])

    def _put(self, name: str, rows: list[Row]) -> None:
        self._own[_text(name)] = rows
        try:
            # Several batches may write to one folder at the same time.
            with turn(self.path.with_suffix(".lock"), lambda: None):
                with suppress(InputError):
                    self.load()
                self._rows |= self._own
                self._write()
        except OSError as error:
            raise os_error(error, self.path) from error

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for group in self._rows.values():
            writer.writerows(group)
        with replacing(self.path) as temporary:
            temporary.write_bytes(text.getvalue().encode("utf-8", "replace"))


def _answer(answer: Segment) -> Row:
    row = {
        "prompt": _text(answer.prompt),
        "name": _text(answer.name),
        "found": "true" if answer.found else "false",
        "reason": _text(answer.reason),
        "volume_ml": f"{answer.volume_ml:.6g}" if answer.found else "",
        "mean_hu": f"{answer.mean_hu:.6g}" if answer.found and answer.mean_hu is not None else "",
        "presence": f"{answer.presence:.6g}",
        "threshold": f"{answer.threshold:.6g}",
        "doubts": _text("; ".join(answer.doubts)),
    }
    if answer.terminology is not None:
        row |= {"code_scheme": answer.terminology.type.scheme, "code_value": answer.terminology.type.value}
    return row


def _text(value: str) -> str:
    """Return a text on one line; one that a spreadsheet would run is quoted with an apostrophe."""
    line = " ".join(value.split())
    return f"'{line}" if line.startswith(_FORMULA_STARTS) else line
