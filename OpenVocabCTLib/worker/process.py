"""Start a worker as a child process, find out where it listens, and end it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from OpenVocabCTLib.worker.announcing import Announcement
from OpenVocabCTLib.worker.errors import WorkerLost
from OpenVocabCTLib.worker.protocol import TOKEN_VARIABLE, Address

SERVE = ("-m", "OpenVocabCTLib.cli", "serve")
_ANNOUNCE_FILE = "worker.json"
_LAST_BYTES = 4096
_LINE_LENGTH = 200


class WorkerProcess:
    """A worker that lives no longer than this process, which holds a pipe to it; make it with `start`.

    Attributes:
        log: file with everything that the worker wrote.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, token: str, log: Path) -> None:
        self._process, self._folder, self._token = process, folder, token
        self._address: Address | None = None
        self.log = log

    @classmethod
    def start(
        cls,
        python: str,
        *,
        library_folder: Path | None = None,
        log: Path,
        extra_environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
        options: Sequence[str] = (),
    ) -> WorkerProcess:
        """Start a worker; this returns at once, `address` tells when it is ready.

        Args:
            python: interpreter that has the worker's packages.
            library_folder: folder that holds the package OpenVocabCTLib, where it is not installed.
            log: file for what the worker writes; replaced.
            extra_environment: more environment variables.
            command: words after the interpreter, up to and with ``serve``.
            options: more options of ``serve``.

        Raises:
            WorkerLost: it cannot be started.
        """
        token = secrets.token_urlsafe(32)
        folder = Path(tempfile.mkdtemp(prefix="openvocabct-"))  # 0700
        words = [python, *command, "--watch-stdin", "--announce", str(folder / _ANNOUNCE_FILE), *options]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,  # never written to: its end tells the worker that we are gone
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=_environment(library_folder, extra_environment or {}, token),
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise WorkerLost(
                f"the worker cannot be started ({(error.strerror or type(error).__name__).lower()})",
                "check that its Python is installed and that the log folder can be written",
            ) from error
        return cls(process, folder, token, log)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def address(self) -> Address | None:
        """Return where the worker listens, None while it is starting.

        Raises:
            WorkerLost: the process has ended.
            ProtocolError: it is of another version.
        """
        if not self.alive:
            raise self.lost()
        if self._address is None:
            announcement = Announcement.read(self._folder / _ANNOUNCE_FILE)
            if announcement is not None:
                self._address = announcement.address(self._token)
                # Said once is enough: nothing is left behind then, even when this process is killed.
                shutil.rmtree(self._folder, ignore_errors=True)
        return self._address

    def lost(self) -> WorkerLost:
        """Return one sentence on how the worker ended, with the last line of its log."""
        code = self._process.poll()
        if code is None:
            how = "does not answer"
        elif code < 0:
            how = f"was ended by signal {-code}"
        else:
            how = f"ended with exit code {code}"
        last = self._last_line()
        said = f" ({last})" if last else ""
        return WorkerLost(f"the worker {how}{said}", "run again: it is started anew")

    def stop(self, timeout: float = 3.0) -> None:
        """End the worker and remove what it left in the temporary folder.

        Args:
            timeout: seconds that it may take to end by itself; with 0 it is told to end and not waited for.
        """
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            if self.alive and timeout > 0:
                self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self.alive:
            self._process.terminate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _last_line(self) -> str:
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LAST_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "".join(c for c in lines[-1][:_LINE_LENGTH] if c.isprintable()) if lines else ""


def _environment(library_folder: Path | None, extra: Mapping[str, str], token: str) -> dict[str, str]:
    environment = {**os.environ, **extra, TOKEN_VARIABLE: token, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    if library_folder is not None:
        paths = [str(library_folder), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment
