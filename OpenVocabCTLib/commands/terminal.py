"""What the commands print: messages and progress on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

import typer

_LONGEST_LINE = 400
_BAR_WIDTH = 24
_QUARTERS = 4
_REDRAW_SECONDS = 0.1


def one_line(text: str) -> str:
    """Make text safe to print: no control or formatting characters, no line breaks, bounded length."""
    safe = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_LINE]).split())
    return safe if len(safe) <= _LONGEST_LINE else f"{safe[: _LONGEST_LINE - 3]}..."


def open_closed_streams() -> None:
    """Give standard streams that who started the program has closed: messages go nowhere, not into the next open file.

    Libraries write to the numbers 1 and 2, whatever these are by then.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 it stays open


def tolerate_any_character() -> None:
    """Print characters that the terminal's encoding lacks as escapes, instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """Print one JSON object; everything outside ASCII is escaped."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> None:
    """Print aligned columns.

    Args:
        header: names of the columns.
        rows: cells, as many as columns.
        right: indices of the columns to align to the right, as numbers are.
    """
    lines = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    aligned_right = set(right)
    for line in lines:
        cells = [
            cell.rjust(width) if index in aligned_right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


class Reporter:
    """Says on stderr what is going on.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, text: str) -> None:
        """Print one line."""
        if not self.quiet:
            typer.echo(one_line(text), err=True)

    def progress(self, title: str) -> Progress:
        """Return a progress display, to be used in a ``with`` block."""
        return Progress(title, sys.stderr, self.quiet)


class Progress:
    """Progress of a task in equal steps: a bar on a terminal, at most four lines elsewhere.

    Args:
        title: name of the task.
        stream: where to draw.
        quiet: draw nothing.
    """

    def __init__(self, title: str, stream: TextIO, quiet: bool = False) -> None:
        self._title = title
        self._stream = stream
        self._quiet = quiet
        self._bar = stream.isatty()
        self._start = time.monotonic()
        self._drawn = 0.0
        self._quarter = 0
        self._open_line = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open_line:  # an error message must not land behind the bar
            self._stream.write("\n")
            self._stream.flush()

    def __call__(self, done: int, total: int) -> bool:
        """Show that `done` of `total` steps are done; the answer True asks the task to go on."""
        if not self._quiet:
            if self._bar:
                self._draw_bar(done, total)
            else:
                self._print_quarter(done, total)
        return True

    def _draw_bar(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        filled = _BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        # The blanks wipe what a longer previous line left.
        self._stream.write(f"\r{self._title} [{bar}] {done}/{total}{self._remaining(done, total, now)}      ")
        self._stream.flush()
        self._open_line = True

    def _remaining(self, done: int, total: int, now: float) -> str:
        elapsed = now - self._start
        if done >= total or not done:
            return f", {_clock(elapsed)}" if done else ""
        return f", {_clock(elapsed * (total - done) / done)} left"

    def _print_quarter(self, done: int, total: int) -> None:
        quarter = _QUARTERS * done // max(total, 1)
        if quarter > self._quarter:
            self._quarter = quarter
            self._stream.write(f"{self._title}: {done}/{total}\n")
            self._stream.flush()


class Stopwatch:
    """Seconds spent in named stages, in the order they ran."""

    def __init__(self) -> None:
        self._start = self._lap = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Book the time since the previous lap under `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._lap, 3)
        self._lap = now

    def total(self) -> float:
        """Seconds since the start."""
        return round(time.perf_counter() - self._start, 3)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
