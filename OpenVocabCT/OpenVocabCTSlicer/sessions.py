"""Sessions for what the user chose: a worker on this computer, or a server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTSlicer.settings import UserSettings
from OpenVocabCTSlicer.strings import _


def session_for(settings: UserSettings) -> Any:
    """Return a session with the server that was chosen, or with a worker on this computer.

    Raises:
        InputError: the server's address is not understood, or there is no token.
    """
    from OpenVocabCTLib.worker.protocol import Address
    from OpenVocabCTLib.worker.session import Session

    if not settings.remote:
        return Session(start_worker)
    if not settings.token:
        raise InputError(_("the server's token is missing"), _("paste the token that the server printed"))
    return Session(Address.parse(settings.server, settings.token))


def start_worker() -> Any:
    """Start the worker with Slicer's Python; the library is taken from where this process has it.

    Raises:
        InputError: Slicer's Python is not where it should be.
    """
    import OpenVocabCTLib
    from OpenVocabCTLib.worker.process import WorkerProcess

    python = shutil.which("PythonSlicer") or _python_beside()
    if python is None:
        raise InputError(_("Slicer's Python (PythonSlicer) was not found"), _("start Slicer by its own launcher"))
    library = Path(OpenVocabCTLib.__file__).resolve().parent.parent
    return WorkerProcess.start(python, library_folder=library, log=_log_file())


def _python_beside() -> str | None:
    """Outside Slicer, in tests and scripts, this very Python is the one to use."""
    name = Path(sys.executable).name.casefold()
    return sys.executable if name.startswith("python") else None


def _log_file() -> Path:
    import slicer

    folder = getattr(slicer.app, "temporaryPath", "") if hasattr(slicer, "app") else ""
    if not folder:
        import tempfile

        folder = tempfile.gettempdir()
    return Path(folder) / "OpenVocabCT-worker.log"
