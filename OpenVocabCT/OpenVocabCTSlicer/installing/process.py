"""Runs a command of Slicer's Python without waiting for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import Cancelled, InputError
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.installing.pip_output import InstallProgress, PipOutput, failure, without_credentials
from OpenVocabCTSlicer.installing.pip_settings import harmless
from OpenVocabCTSlicer.strings import _

_READ_BYTES = 1 << 16
_POLITE_SECONDS = 3.0


def pip_environment(
    environ: Mapping[str, str], raw_progress: bool, settings: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for pip: no questions, UTF-8, packages where Slicer looks for them.

    Args:
        environ: environment to start from.
        raw_progress: whether this pip can print progress that a program reads (24.1 and newer).
        settings: of the user's ``pip.conf``.
    """
    kept = harmless(environ, settings or {})
    kept |= {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return kept | {"PIP_PROGRESS_BAR": "raw" if raw_progress else "off"}


def run_python(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    title: str,
    log: Callable[[str], None],
    *,
    offline: bool = False,
) -> Steps[list[str]]:
    """Run a command to its end, step by step.

    Args:
        arguments: the whole command line.
        environ: its environment.
        title: what is going on, for the progress bar.
        log: gets every line.
        offline: whether packages come from a folder, for the message.

    Returns:
        The lines that it printed.

    Raises:
        InputError, ResourceError: it failed; one sentence says why.
        Cancelled: thrown into the steps.  A download stops at once; once files are being replaced, they are finished
            first, because half an installation is worse than a late answer.
    """
    with _Run(arguments, environ, PipOutput(title), log) as running:
        try:
            yield from running.follow()
        except Cancelled:
            if running.output.changing:
                yield from running.follow()
            else:
                yield from running.interrupt()
            raise
        if running.process.returncode != 0:
            raise failure(running.output.lines, offline)
        return running.output.lines


class _Run:
    """One process, its output, and a folder for its temporary files that goes away with it."""

    def __init__(
        self, arguments: Sequence[str], environ: Mapping[str, str], output: PipOutput, log: Callable[[str], None]
    ) -> None:
        self.output = output
        self._log = log
        self._rest = b""
        # pip unpacks gigabytes here; when it is killed it does not clean up.
        self._folder = Path(tempfile.mkdtemp(prefix="openvocabct-install-"))
        places = {name: str(self._folder) for name in ("TMPDIR", "TEMP", "TMP")}
        path = self._folder / "output.txt"
        try:
            # Output goes to a file: reading a pipe would block, and a full pipe would stop pip.
            with path.open("wb") as written:
                self.process = subprocess.Popen(
                    list(arguments),
                    env={**environ, **places},
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    **_own_group(),
                )
        except OSError as error:
            self._forget_folder()
            raise InputError(
                _("Slicer's Python cannot be started ({reason})").format(reason=error.strerror or type(error).__name__),
                _("reinstall Slicer"),
            ) from error
        # Opened a second time: the child's handle and ours have positions of their own.
        self._reader = path.open("rb")

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_details: object) -> None:
        self._reader.close()
        if self.process.poll() is None:
            if self.output.changing:
                return  # it ends by itself and needs its folder until then; stopping it would leave half a package
            kill_tree(self.process)
        self._forget_folder()

    def follow(self) -> Steps[None]:
        """Read what it prints until it ends."""
        yield self.output.progress
        while True:
            ended = self.process.poll() is not None
            chunk = self._reader.read(_READ_BYTES)
            if ended and not chunk:
                self._take([self._rest] if self._rest else [])
                return
            *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
            yield self._take(lines)

    def interrupt(self) -> Steps[None]:
        """Ask it to stop and give it a moment to clean up."""
        _interrupt_tree(self.process)
        deadline = time.monotonic() + _POLITE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            yield None

    def _take(self, lines: list[bytes]) -> InstallProgress | None:
        news = None
        for line in lines:
            text = line.decode("utf-8", errors="replace")
            if self.output.feed(text):
                news = self.output.progress
            if text.strip() and not text.startswith("Progress "):
                self._log(without_credentials(text))
        return news

    def _forget_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _interrupt_tree(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        kill_tree(process)
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started: PythonSlicer is a launcher, the real Python is its child."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)],
            check=False,
            capture_output=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
