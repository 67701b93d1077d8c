"""pip through Slicer itself: ``slicer.packaging`` of Slicer 5.12 and newer, in its way that does not block.

Slicer 5.10 has no such way, and neither have scripts without a running event loop: there, `process.run_python` runs
the same command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import Cancelled
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTSlicer.installing.commands import Command
from OpenVocabCTSlicer.installing.pip_output import PipOutput, failure, without_credentials

REQUESTER = "OpenVocabCT"


def wait_for_others(packaging: Any) -> Steps[None]:
    """Wait while another extension is installing: two pips at once damage each other's work.

    Args:
        packaging: the module ``slicer.packaging``; None before Slicer 5.12, which cannot tell.
    """
    if packaging is None:
        return
    while packaging.isPipInstallInProgress():
        yield Progress("waiting")


def install_by_slicer(
    packaging: Any, command: Command, constraints: Path, log: Callable[[str], None], *, offline: bool = False
) -> Steps[None]:
    """Run an ordinary ``pip install`` through Slicer.

    Args:
        packaging: the module ``slicer.packaging``.
        command: what to install; its `Command.installs` is true.
        constraints: file with the versions that stay.
        log: gets every line.
        offline: whether packages come from a folder, for the message.

    Raises:
        InputError, ResourceError: it failed; one sentence says why.
        Cancelled: thrown into the steps, once pip is done: Slicer offers no way to stop it.
    """
    output = PipOutput(command.title)
    arrived: list[str] = []
    codes: list[int] = []
    packaging.pip_install(
        list(command.arguments[1:]),  # Slicer writes "install" itself
        constraints=str(constraints),
        blocking=False,
        show_progress=False,
        requester=REQUESTER,
        logCallback=arrived.append,
        completedCallback=codes.append,
    )
    try:
        yield from _follow(output, arrived, codes, log)
    except Cancelled:
        yield from _follow(output, arrived, codes, log)
        raise
    if codes[0] != 0:
        raise failure(output.lines, offline)


def _follow(output: PipOutput, arrived: list[str], codes: list[int], log: Callable[[str], None]) -> Steps[None]:
    yield output.progress
    while True:
        # Asked first: lines that came before the end are never lost.
        ended = bool(codes)
        lines = arrived[:]
        del arrived[: len(lines)]
        news = False
        for line in lines:
            news = output.feed(line) or news
            log(without_credentials(line))
        if ended:
            return
        yield output.progress if news else None
