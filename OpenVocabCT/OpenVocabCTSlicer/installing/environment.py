"""Where packages go, and which of Slicer's ways to install them exist; everything is injected in tests."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTSlicer.installing.packages import different
from OpenVocabCTSlicer.installing.preflight import Facts, GraphicsCard, gather
from OpenVocabCTSlicer.installing.requirements import TORCH
from OpenVocabCTSlicer.strings import _


@dataclass(frozen=True)
class Environment:
    """The Python that packages are installed into.

    Attributes:
        python: how to start it, such as ``("…/bin/PythonSlicer",)``.
        folders: where it looks for packages, in its order.
        target: where pip puts packages.
        environ: environment variables for pip.
        facts: gathers the facts of the machine; gets the graphics card once it is known.
        packaging: the module ``slicer.packaging`` where it can be used without blocking; None otherwise.
        torch_arguments: how the PyTorch extension installs torch; None without that extension.
        find_card: whether to ask for a graphics card by ``nvidia-smi``.
    """

    python: tuple[str, ...]
    folders: tuple[Path, ...]
    target: Path
    environ: Mapping[str, str]
    facts: Callable[[GraphicsCard | None], Facts]
    packaging: Any = None
    torch_arguments: tuple[str, ...] | None = None
    find_card: tuple[str, ...] = field(
        default=("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
    )


def slicer_environment() -> Environment:
    """Describe the Slicer (or plain Python) that this runs in.

    Raises:
        InputError: Slicer's Python is not where it should be.
    """
    application = _application()
    target = Path(sysconfig.get_path("purelib"))
    folders = different(Path(entry) for entry in sys.path if entry and Path(entry).is_dir())
    return Environment(
        python=(slicer_python(),),
        folders=folders if len(different((*folders, target))) == len(folders) else (target, *folders),
        target=target,
        environ=dict(os.environ),
        facts=lambda card: gather(target, Path(tempfile.gettempdir()), os.environ, card),
        packaging=_packaging(application),
        torch_arguments=_torch_arguments(application),
    )


def slicer_python() -> str:
    """Return the program that runs Slicer's Python: ``PythonSlicer``, or this Python outside Slicer.

    Raises:
        InputError: there is a Slicer, but not its PythonSlicer.
    """
    if _application() is None:
        return sys.executable
    # Slicer puts its own bin folder on PATH; its own pip functions find it in the same way.
    found = shutil.which("PythonSlicer")
    if found is None:
        raise InputError(_("PythonSlicer was not found"), _("reinstall Slicer"))
    return found


def _application() -> Any:
    try:
        return getattr(importlib.import_module("slicer"), "app", None)
    except ImportError:
        return None


def _packaging(application: Any) -> Any:
    # Without an event loop its callbacks never come, and in testing mode it blocks and does not call back at all.
    if application is None or application.testingEnabled() or _no_window(application):
        return None
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError:
        return None


def _no_window(application: Any) -> bool:
    return bool(application.commandOptions().noMainWindow)


def _torch_arguments(application: Any) -> tuple[str, ...] | None:
    """Ask the PyTorch extension for its command line.

    Its own ``installTorch`` is not called: it waits for pip, then imports torch into Slicer.
    """
    if application is None:
        return None
    try:
        utils = importlib.import_module("PyTorchUtils")
    except ImportError:
        return None
    ask: Callable[..., Sequence[str]] | None = getattr(utils.PyTorchUtilsLogic, "_getPipInstallArguments", None)
    if ask is None:
        return ("install", TORCH.requirement, "torchvision")
    return tuple(ask(None, TORCH.specifier, None))


def start_quietly(arguments: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Start a small program whose output is short, without a console window; None when it does not exist."""
    try:
        return subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError:
        return None
