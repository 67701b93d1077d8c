"""Collaborators of the panel that do what a test says, with the methods of the real ones."""

# ruff: noqa: N802 -- Qt's names
from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.worker.steps import Progress

VOCABULARY = [
    {"phrase": "left kidney", "name": "left kidney", "trained": True},
    {"phrase": "left lung", "name": "left lung", "trained": True},
    {"phrase": "liver", "name": "liver", "trained": True},
    {"phrase": "lithotripter", "name": "lithotripter", "trained": False},
]


class MemoryStore:
    """QSettings in memory; gives texts back, as an .ini file does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def value(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self.values[key] = str(value)


class FakeUndo:
    def __init__(self) -> None:
        self.restored: list[Any] = []
        self.available = self.other_work = False
        self.forgotten = 0

    def meets_other_work(self, _node: Any) -> bool:
        return self.other_work

    def forget(self) -> None:
        self.forgotten += 1
        self.available = False

    def can_restore(self, _node: Any) -> bool:
        return self.available

    def restore(self, node: Any) -> bool:
        self.restored.append(node)
        self.available = False
        return True


class FakeSession:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = self.freed = 0
        self.running = False

    def status(self) -> Generator[None, None, dict[str, Any]]:
        yield None
        if self.error is not None:
            raise self.error
        model = {"name": "openvocabct-small", "device": "cuda"}
        return {"protocol": 1, "version": "0.1.0", "model": model, "studies": ["a", "b"], "bytes": 3 * 1024**3}

    def vocabulary(self) -> Generator[None, None, list[dict[str, Any]]]:
        yield None
        if self.error is not None:
            raise self.error
        return VOCABULARY

    def report(self, text: str) -> Generator[None, None, dict[str, Any]]:
        yield None
        if self.error is not None:
            raise self.error
        sentences = [line.strip() for line in text.splitlines()]
        return {
            "prompts": [{"prompt": "left kidney cyst", "sentences": sentences}],
            "findings": [{"finding": "pleural effusion", "status": "absent"}],
        }

    def free(self) -> Generator[None, None, None]:
        yield None
        self.freed += 1

    def close(self) -> None:
        self.closed += 1


@dataclass
class FakeLogic:
    """Answers with the rows of a test after a few steps, or waits until it is cancelled."""

    rows: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    error: Exception | None = None
    endless: bool = False
    session: Any = None
    segmentation: Any = None
    answer_with: Any = None
    requests: list[Any] = field(default_factory=list)
    thresholds: list[tuple[str, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    undo: FakeUndo = field(default_factory=FakeUndo)

    def segment(self, request: Any) -> Generator[Progress | None, None, Any]:
        self.requests.append(request)
        return self._work(request)

    def _work(self, request: Any) -> Generator[Progress | None, None, Any]:
        from OpenVocabCTSlicer.logic import Results

        yield from self._go_on()
        self.undo.available = True
        return Results(self.rows, self.segmentation or request.segmentation, self.notes)

    def answer(self, request: Any) -> Generator[Progress | None, None, Any]:
        self.requests.append(request)
        return self._answer()

    def _answer(self) -> Generator[Progress | None, None, Any]:
        yield from self._go_on()
        return self.answer_with

    def _go_on(self) -> Generator[Progress | None, None, None]:
        try:
            for number in range(3):
                yield Progress("encoding", number, 10)
                yield None
            while self.endless:
                yield None
        except Cancelled:
            self.told.append("worker")
            yield None
            raise
        if self.error is not None:
            raise self.error

    def rethreshold(self, request: Any, prompt: str, threshold: float) -> Generator[None, None, Any]:
        from dataclasses import replace

        from OpenVocabCTSlicer.logic import Results

        self.thresholds.append((prompt, threshold))
        yield None
        row = next(row for row in self.rows if row.prompt == prompt)
        row = replace(row, threshold=threshold, volume_ml=1000 * (1 - threshold))
        return Results((row,), request.segmentation)


@dataclass(frozen=True)
class FakeReadiness:
    ready: bool
    problems: tuple[str, ...] = ()
    plan: str = "plan"

    def question(self, wheel_folder: Path | None = None) -> str:
        return f"torch 2 GB, licence BSD-3-Clause, from {wheel_folder or 'the network'}"


class FakeInstaller:
    def __init__(self, ready: bool = True, problems: tuple[str, ...] = (), error: Exception | None = None) -> None:
        self.ready, self.problems, self.error = ready, problems, error
        self.installs: list[tuple[Any, Any]] = []
        self.log = ""

    def check(self) -> FakeReadiness:
        return FakeReadiness(self.ready, self.problems)

    def examine(self) -> Generator[None, None, FakeReadiness]:
        yield None
        return self.check()

    def install(self, plan: Any, wheel_folder: Any = None) -> Generator[Progress | None, None, FakeReadiness]:
        yield Progress("starting", 0, 0)
        self.installs.append((plan, wheel_folder))
        if self.error is not None:
            raise self.error
        self.ready = True
        return self.check()


class FakeDialogs:
    def __init__(self, agree: bool = True, folder: str = "", report: str = "") -> None:
        self.agree, self.folder_name, self.report_text = agree, folder, report
        self.questions: list[str] = []

    def consent(self, _title: str, text: str, _accept: str = "") -> bool:
        self.questions.append(text)
        return self.agree

    def report(self, _title: str, _hint: str) -> str:
        return self.report_text

    def folder(self, _title: str) -> str:
        return self.folder_name


def row(prompt: str = "spleen", found: bool = True, **changes: Any) -> Any:
    """A row of the table."""
    from OpenVocabCTSlicer.rows import ResultRow

    values: dict[str, Any] = {
        "prompt": prompt,
        "name": prompt,
        "found": found,
        "reason": "" if found else "not in this scan",
        "volume_ml": 182.4 if found else 0.0,
        "mean_hu": 104.2 if found else None,
        "presence": 0.98 if found else 0.03,
        "threshold": 0.5,
        "segment_id": prompt.replace(" ", "_") if found else None,
    }
    return ResultRow(**(values | changes))


def tools(scene: Any, app: Any, logic: FakeLogic, **changes: Any) -> Any:
    """Tools of fakes."""
    from OpenVocabCTSlicer.history import Favourites, History
    from OpenVocabCTSlicer.settings import UserSettings
    from OpenVocabCTSlicer.tools import Tools

    store = changes.pop("store", None) or MemoryStore()
    session = changes.pop("session", None) or FakeSession()
    values: dict[str, Any] = {
        "scene": scene,
        "application": app,
        "settings": UserSettings(store),
        "history": History(store),
        "favourites": Favourites(store),
        "installer": FakeInstaller(),
        "dialogs": FakeDialogs(),
        "make_session": lambda _settings: session,
        "make_logic": lambda _session: logic,
        "undo": logic.undo,
    }
    return Tools(**(values | changes))
