"""Before the first run: look whether the packages are there, ask once, install, go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import Cancelled, InputError
from OpenVocabCTLib.worker.steps import Progress
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.task_runner import TaskRunner


class InstallFlow:
    """Makes sure that the packages are installed.

    Args:
        installer: `Installer`.
        dialogs: asks for consent.
        runner: drives the installation.
        on_progress: gets progress.
    """

    def __init__(
        self, installer: Any, dialogs: Any, runner: TaskRunner, on_progress: Callable[[Progress], None]
    ) -> None:
        self._installer = installer
        self._dialogs = dialogs
        self._runner = runner
        self._on_progress = on_progress
        self._running = False

    @property
    def running(self) -> bool:
        """Whether the runner is busy with the packages, which has nothing to do with any scene."""
        return self._running and self._runner.running

    def ensure(
        self,
        on_ready: Callable[[], None],
        on_error: Callable[[Exception], None],
        wheel_folder: Path | None = None,
    ) -> None:
        """Call `on_ready` once everything is there; nothing is installed without consent.

        Args:
            on_ready: called at once when nothing is missing.
            on_error: gets `InputError` when this computer does not fit, `Cancelled` when the user says no, and
                whatever the installation raises.
            wheel_folder: folder of wheels to install from, without the network.
        """
        if self._installer.check().ready:
            on_ready()
            return

        def done() -> None:
            self._running = False
            on_ready()

        def failed(error: Exception) -> None:
            self._running = False
            on_error(error)

        def examined(readiness: Any) -> None:
            self._ask(readiness, done, failed, wheel_folder)

        self._running = True
        self._runner.start(self._installer.examine(), examined, failed, self._on_progress)

    def summary(self) -> str:
        """Return one line about the state of the packages."""
        readiness = self._installer.check()
        if readiness.ready:
            return _("complete")
        return "; ".join(readiness.problems) or _("not installed yet; the first Apply asks")

    def _ask(
        self,
        readiness: Any,
        on_ready: Callable[[], None],
        on_error: Callable[[Exception], None],
        wheel_folder: Path | None,
    ) -> None:
        if readiness.ready:
            on_ready()
            return
        # A missing network does not stop an installation from a folder; `install` checks what matters there.
        if readiness.problems and wheel_folder is None:
            on_error(InputError("; ".join(readiness.problems), _("see the README's section on 3D Slicer")))
            return
        if not self._dialogs.consent(_("OpenVocabCT needs Python packages"), readiness.question(wheel_folder)):
            on_error(Cancelled(_("the packages were not installed"), _("press Apply again to install them")))
            return
        steps = self._installer.install(readiness.plan, wheel_folder=wheel_folder)
        # The installer says itself when something is incomplete afterwards.
        self._runner.start(steps, lambda _readiness: on_ready(), on_error, self._on_progress)
