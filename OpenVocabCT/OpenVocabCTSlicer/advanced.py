"""The section "Advanced": model, device, remote server, memory, packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.worker.protocol import Address
from OpenVocabCTSlicer.model_folders import (
    check_model_folder,
    how_to_install,
    installed_models,
    memory_text,
    public_models,
    status_text,
)
from OpenVocabCTSlicer.settings import DEVICES, UserSettings
from OpenVocabCTSlicer.strings import _
from OpenVocabCTSlicer.task_runner import TaskRunner, sentence

# Data of an item that names a public model, which is not here yet.
_PUBLIC = "public:"


class AdvancedSection:
    """Shows and changes the settings.

    Args:
        ui: the panel's widgets.
        settings: where choices are kept.
        session: returns the session for the present settings.
        is_running: whether the session has an engine now.
        dialogs: asks for folders.
        changed: called after the server was changed, so that the old session ends.
        install_from: called with a folder of wheels.
    """

    def __init__(
        self,
        ui: Any,
        settings: UserSettings,
        session: Callable[[], Any],
        is_running: Callable[[], bool],
        dialogs: Any,
        changed: Callable[[], None],
        install_from: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._settings = settings
        self._session = session
        self._is_running = is_running
        self._dialogs = dialogs
        self._changed = changed
        self._install_from = install_from
        self._runner = TaskRunner(ui.advancedSection)
        self._connections = [
            (ui.modelSelector, "currentIndexChanged(int)", self._on_model),
            (ui.deviceSelector, "currentIndexChanged(int)", self._on_device),
            (ui.remoteCheckBox, "toggled(bool)", self._on_remote),
            (ui.serverEdit, "editingFinished()", self._on_server),
            (ui.tokenEdit, "editingFinished()", self._on_token),
            (ui.testButton, "clicked()", self.test_connection),
            (ui.freeButton, "clicked()", self.free_memory),
            (ui.importModelButton, "clicked()", self.import_model),
            (ui.installFolderButton, "clicked()", self.install_folder),
            (ui.advancedSection, "contentsCollapsed(bool)", self._on_collapsed),
        ]
        self._fill()
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)

    def set_enabled(self, enabled: bool) -> None:
        """Lock everything while a run is going on."""
        for widget in (
            self._ui.modelSelector,
            self._ui.importModelButton,
            self._ui.deviceSelector,
            self._ui.remoteCheckBox,
            self._ui.serverEdit,
            self._ui.tokenEdit,
            self._ui.testButton,
            self._ui.freeButton,
            self._ui.installFolderButton,
        ):
            widget.enabled = enabled
        if enabled:
            self._show_remote()

    def test_connection(self) -> None:
        """Ask the server for its state and say what came back."""
        self._on_server()
        self._on_token()
        try:
            Address.parse(self._settings.server, token="-")  # a wrong address is the likelier mistake: say it first
        except InputError as error:
            self._say(sentence(error))
            return
        self._say(_("Connecting..."))

        def connected(status: dict[str, Any]) -> str:
            self._ui.memoryLabel.text = memory_text(status)
            return _("Connected: {status}").format(status=status_text(status))

        self._start(lambda: self._session().status(), connected, self._say)

    def refresh_memory(self) -> None:
        """Say what the engine holds, without starting one."""
        self._ui.memoryLabel.text = _("in the engine's memory, nothing on disk")
        if self._is_running():
            self._start(lambda: self._session().status(), memory_text, self._say_memory)

    def free_memory(self) -> None:
        """Forget the scans and unload the model."""
        self._start(lambda: self._session().free(), lambda _result: _("freed"), self._say_memory)

    def import_model(self) -> None:
        """Let the user choose a model folder and use it."""
        folder = self._dialogs.folder(_("Folder with config.json and model.safetensors"))
        if not folder:
            return
        try:
            check_model_folder(Path(folder))
        except InputError as error:
            self._say(sentence(error))
            return
        self._settings.add_model_folder(folder)
        self._settings.model = folder
        self._fill_models()

    def install_folder(self) -> None:
        """Let the user choose a folder of wheels and install from it."""
        folder = self._dialogs.folder(_("Folder with Python wheels"))
        if folder:
            self._install_from(folder)

    def show_packages(self, text: str) -> None:
        """Say whether the packages are complete."""
        self._ui.packagesLabel.text = text

    def dispose(self) -> None:
        """Disconnect everything."""
        self._runner.dispose()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)

    def _say_memory(self, text: str) -> None:
        self._ui.memoryLabel.text = text

    def _say(self, text: str) -> None:
        self._ui.serverStatusLabel.text = text
        # An empty line would leave a gap.
        self._ui.serverStatusLabel.setVisible(bool(text))

    def _start(self, make_steps: Callable[[], Any], text: Callable[[Any], str], say: Callable[[str], None]) -> None:
        """Run steps of the session and say what came out; a second click starts anew."""
        self._runner.close()

        def failed(error: Exception) -> None:
            say(sentence(error))

        def done(result: Any) -> None:
            say(text(result))

        try:
            steps = make_steps()
        except OpenVocabCTError as error:
            failed(error)
            return
        self._runner.start(steps, done, failed)

    def _fill(self) -> None:
        self._fill_models()
        labels = {"auto": _("automatic"), "cpu": _("processor (CPU)"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}
        for device in DEVICES:
            self._ui.deviceSelector.addItem(labels[device], device)
        self._ui.deviceSelector.setCurrentIndex(DEVICES.index(self._settings.device))
        self._ui.remoteCheckBox.checked = self._settings.remote
        self._ui.serverEdit.text = self._settings.server
        self._ui.tokenEdit.text = self._settings.token
        self._say("")
        self.refresh_memory()
        self._show_remote()

    def _fill_models(self) -> None:
        selector = self._ui.modelSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        selector.addItem(_("default"), "")
        known = installed_models() | {folder: Path(folder).name for folder in self._settings.model_folders}
        for folder, name in known.items():
            selector.addItem(name, folder)
        for name, label in public_models().items():
            selector.addItem(label, f"{_PUBLIC}{name}")
        index = selector.findData(self._settings.model or "")
        selector.setCurrentIndex(max(0, index))
        selector.blockSignals(blocked)

    def _show_remote(self) -> None:
        remote = self._settings.remote
        for widget in (self._ui.serverEdit, self._ui.tokenEdit, self._ui.testButton):
            widget.enabled = remote

    def _on_model(self, index: int) -> None:
        chosen = self._ui.modelSelector.itemData(index) or ""
        if chosen.startswith(_PUBLIC):
            self._say(how_to_install(chosen.removeprefix(_PUBLIC)))
            self._fill_models()  # back to the model in use
            return
        self._settings.model = chosen or None

    def _on_device(self, index: int) -> None:
        self._settings.device = DEVICES[index]

    def _on_remote(self, remote: bool) -> None:
        self._settings.remote = remote
        self._say("")
        self._show_remote()
        self._changed()

    def _on_server(self) -> None:
        if self._ui.serverEdit.text != self._settings.server:
            self._settings.server = self._ui.serverEdit.text
            self._changed()

    def _on_token(self) -> None:
        if self._ui.tokenEdit.text != self._settings.token:
            self._settings.token = self._ui.tokenEdit.text
            self._changed()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.refresh_memory()
