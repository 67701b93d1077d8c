"""What a batch has done so far: one line a CT, written as soon as it is finished, which no crash takes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import os_error, replacing
from OpenVocabCTLib.turns import turn

FILE_NAME = "manifest.jsonl"
_BEGINNING = '{"case"'  # of a record, all that a power cut may have left of the first one


@dataclass(frozen=True)
class Record:
    """How one CT ended.

    Attributes:
        case: its name.
        output: the file of its result, relative to the folder of the batch; by it the record is found again.
        settings: what the result depends on, see `Job.settings`.
        segments: one answer per prompt, as ``openvocabct segment --json`` gives them.
        notes: what the user should know.
        error: what went wrong, "" where nothing did.
        exit_code: of the error, 0 where there is none.
        seconds: time by stage.
        attempts: how often it was tried.
        source: path of the CT.
    """

    case: str
    output: str
    settings: str
    segments: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    source: str = ""

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return not self.error


class Manifest:
    """The file with the records of a batch; the last record of a result counts.

    Args:
        path: the file; lines that cannot be read, as a power cut leaves them, are passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: dict[str, Record] = {}
        self._forgotten: frozenset[str] | None = None

    def load(self) -> None:
        """Read what earlier runs have done.

        Raises:
            InputError: the file cannot be read, or is of something else, which adding to it would spoil.
        """
        self._records |= self._read()

    def start_anew(self, outputs: Iterable[str]) -> None:
        """Forget what was done about some results; they stay until they are replaced.

        The file itself is written again with the first record of this run: one that ends before it, for want of a model
        or a cluster, takes nothing away.

        Raises:
            InputError: as `load`.
        """
        self.load()
        self._forgotten = frozenset(outputs)
        self._records = self._remembered(self._records)

    def add(self, record: Record) -> None:
        """Note one CT; when this returns, it is on the disk.

        Raises:
            InputError, ResourceError: the file cannot be written.
        """
        try:
            # Several batches may write to one folder at the same time.
            with turn(self.path.with_suffix(".lock"), lambda: None):
                if self._forgotten is None:
                    self._append(record)
                else:
                    self._records |= self._remembered(self._read())
                    self._write_again(record)
                    self._forgotten = None
        except OSError as error:
            raise os_error(error, self.path) from error
        self._records[record.output] = record

    def source(self, output: str) -> Path | None:
        """Return the CT that a result was made of, None where that is not known."""
        record = self._records.get(output)
        return Path(record.source) if record is not None and record.done and record.source else None

    def finished(self, output: str, settings: str) -> bool:
        """Whether a result was made with the same settings."""
        record = self._records.get(output)
        return record is not None and record.done and record.settings == settings

    def records(self, outputs: Iterable[str]) -> tuple[Record, ...]:
        """Return the records of some results, in this order; what has none is left out."""
        return tuple(self._records[output] for output in outputs if output in self._records)

    def _read(self) -> dict[str, Record]:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise os_error(error, self.path) from error
        records = [record for record in map(_parsed, lines) if record is not None]
        if not records and any(line.strip("\0 \t") and not line.startswith(_BEGINNING) for line in lines):
            raise InputError(
                f"{self.path.name} in the output folder is no record of a batch", "move it away, or use another folder"
            )
        return {record.output: record for record in records}

    def _remembered(self, records: dict[str, Record]) -> dict[str, Record]:
        return {output: record for output, record in records.items() if output not in (self._forgotten or ())}

    def _append(self, record: Record) -> None:
        # After a line that was cut off, a new one begins.
        cut = not _ends_a_line(self.path)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("\n" * cut + _line(record))
            stream.flush()
            os.fsync(stream.fileno())

    def _write_again(self, record: Record) -> None:
        with replacing(self.path) as temporary:
            records = self._records | {record.output: record}
            temporary.write_text("".join(map(_line, records.values())), encoding="utf-8")


def _line(record: Record) -> str:
    return json.dumps(asdict(record), allow_nan=False) + "\n"


def _ends_a_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _parsed(line: str) -> Record | None:
    try:
        values = json.loads(line)
        values["segments"], values["notes"] = tuple(values["segments"]), tuple(values["notes"])
        return Record(**values)
    except (ValueError, TypeError, KeyError):
        return None
