"""Answers that are known already, so that a decomposition that was interrupted, however, asks nothing twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from openvocabct_training.reports.items import Decomposition, report_sha256
from openvocabct_training.reports.prompting import PROMPT_VERSION
from OpenVocabCTLib.errors import InputError


class DecompositionCache:
    """A SQLite file: an answer is in it as a whole or not at all, whatever happens to the process.

    Args:
        path: the file; made if it is not there.

    Raises:
        InputError: it cannot be opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30.0)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{path} is no cache that can be used ({error})", "give another --cache") from error

    @staticmethod
    def key(report: str, model: str) -> str:
        """sha256 of the report, the version of the question, and the model."""
        said = "\0".join((report_sha256(report), PROMPT_VERSION, model))
        return hashlib.sha256(said.encode()).hexdigest()

    def get(self, key: str) -> Decomposition | None:
        """Return an answer, None where there is none or a damaged one."""
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return Decomposition.from_json(json.loads(row[0]))
        except (ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, decomposition: Decomposition) -> None:
        """Keep an answer; it is on the disk when this returns."""
        with self._database:
            answer = json.dumps(decomposition.to_json())
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, answer))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
