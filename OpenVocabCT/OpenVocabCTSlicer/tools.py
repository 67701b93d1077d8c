"""What the panel and the effect work with; one for the application, so that they share the engine and its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.worker.steps import Steps
from OpenVocabCTSlicer.dicom_export import DicomExport
from OpenVocabCTSlicer.report import application_name, report
from OpenVocabCTSlicer.sessions import session_for
from OpenVocabCTSlicer.settings import UserSettings
from OpenVocabCTSlicer.suggestions import Suggestion, terminology_suggestions
from OpenVocabCTSlicer.terminologies import offer_vocabulary

_logger = logging.getLogger("OpenVocabCT")
_PIECE = 50
_TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list"


@dataclass
class Tools:
    """Collaborators, each made when it is first needed.

    Attributes:
        scene: the MRML scene.
        application: ``slicer.app``.
        settings: what the user chose.
        history: earlier prompts.
        favourites: prompts that the user keeps.
        installer: looks after the Python packages.
        dialogs: asks the user.
        make_session: makes the connection to the engine for the present settings.
        make_logic: makes the logic for a session.
        undo: takes back what any logic wrote; it outlives the sessions.
        terminologies: vtkSlicerTerminologiesModuleLogic, or None where there is none.
        make_dicom_export: makes what writes DICOM, for a scene.
    """

    scene: Any
    application: Any
    settings: UserSettings
    history: Any
    favourites: Any
    installer: Any
    dialogs: Any
    make_session: Callable[[UserSettings], Any]
    make_logic: Callable[[Any], Any]
    undo: Any
    terminologies: Any = None
    make_dicom_export: Callable[[Any], Any] = DicomExport.of_application
    _session: Any = field(default=None, init=False)
    _logic: Any = field(default=None, init=False)
    _phrases: tuple[Suggestion, ...] = field(default=(), init=False)
    _slicer_phrases: tuple[Suggestion, ...] = field(default=(), init=False)

    def session(self) -> Any:
        """Return the session, starting no process.

        Raises:
            InputError: the server's address is not understood.
        """
        if self._session is None:
            self._session = self.make_session(self.settings)
        return self._session

    def logic(self) -> Any:
        """Return the logic on this session.

        Raises:
            InputError: the server's address is not understood.
        """
        if self._logic is None:
            self._logic = self.make_logic(self.session())
        return self._logic

    def server_changed(self) -> None:
        """End the session; the next use makes one for the new settings."""
        session, self._session, self._logic = self._session, None, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """End the worker, and let go of the scene."""
        self.server_changed()
        self.undo.forget()

    def is_running(self) -> bool:
        """Whether there is a session whose engine is known to be there."""
        return self._session is not None and bool(self._session.running)

    def default_volume(self) -> Any:
        """Return the CT that the user most likely means: the one shown, else the first; None without any."""
        scene = self.scene
        selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        shown = None if selection is None else scene.GetNodeByID(selection.GetActiveVolumeID() or "")
        volumes = [shown, *(scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))]
        kind = "vtkMRMLScalarVolumeNode"
        return next((node for node in volumes if node is not None and node.GetClassName() == kind), None)

    def vocabulary(self) -> Steps[tuple[Suggestion, ...]]:
        """Collect the phrases to offer: the engine's when it can run, and Slicer's; collected once."""
        if not self._slicer_phrases:
            phrases: list[Suggestion] = []
            for number, suggestion in enumerate(self._from_terminologies()):
                phrases.append(suggestion)
                if number % _PIECE == _PIECE - 1:
                    yield None
            self._slicer_phrases = tuple(phrases)
        if not self._phrases and (self.settings.remote or self.installer.check().ready):
            answer = yield from self.session().vocabulary()
            self._phrases = tuple(_suggestion(entry) for entry in answer)
        return (*self._phrases, *self._slicer_phrases)

    def show_segment(self, segmentation: Any, segment_id: str) -> None:
        """Move the slice views to the middle of a segment."""
        if segmentation is None or segmentation.GetScene() is None:
            return
        from slicer import vtkMRMLSliceNode

        centre = segmentation.GetSegmentCenterRAS(segment_id)
        if centre is not None:
            vtkMRMLSliceNode.JumpAllSlices(self.scene, *centre, vtkMRMLSliceNode.CenteredJumpSlice)

    def report(self, error: Exception | None, packages: str) -> str:
        """Return the text to paste into an issue, without patient data.

        Args:
            error: the last error.
            packages: state of the Python packages on this computer.
        """
        facts = {
            "model": "default" if self.settings.model is None else "own folder",
            "device": self.settings.device,
            "remote": "yes" if self.settings.remote else "no",
            "packages": packages,
        }
        return report(error, facts, application_name(self.application), self.installer.log)

    def dicom_export(self) -> Any:
        """Return what writes segmentations of this scene as DICOM."""
        return self.make_dicom_export(self.scene)

    def copy(self, text: str) -> None:
        """Put text into the clipboard."""
        self.application.clipboard().setText(text)

    def log(self, error: Exception) -> None:
        """Write a problem that does not stop the user into the application's log: its kind, never names or paths."""
        reason = error.what if isinstance(error, OpenVocabCTError) else type(error).__name__
        _logger.warning("the phrases to offer could not be fetched: %s", reason)

    def _from_terminologies(self) -> Any:
        if self.terminologies is not None:
            yield from terminology_suggestions(self.terminologies, _TERMINOLOGY)


def default_tools() -> Tools:
    """Return the tools of this application, made once."""
    import slicer

    if _shared.get("tools") is None:
        _shared["tools"] = _make(slicer)
    return _shared["tools"]


def forget_tools() -> None:
    """End the worker and drop the tools: the module is unloaded or reloaded."""
    tools = _shared.pop("tools", None)
    if tools is not None:
        tools.close()


_shared: dict[str, Any] = {}


def _make(slicer: Any) -> Tools:
    import qt

    from OpenVocabCTSlicer.dialogs import Dialogs
    from OpenVocabCTSlicer.history import Favourites, History
    from OpenVocabCTSlicer.installing.environment import slicer_environment
    from OpenVocabCTSlicer.installing.installer import Installer
    from OpenVocabCTSlicer.logic import OpenVocabCTLogic
    from OpenVocabCTSlicer.segments import SegmentWriter
    from OpenVocabCTSlicer.undo import SegmentationUndo

    store, undo = qt.QSettings(), SegmentationUndo()
    module = getattr(slicer.modules, "terminologies", None)
    terminologies = None if module is None else module.logic()
    if terminologies is not None:
        offer_vocabulary(terminologies)
    return Tools(
        scene=slicer.mrmlScene,
        application=slicer.app,
        settings=UserSettings(store),
        history=History(store),
        favourites=Favourites(store),
        installer=Installer(slicer_environment()),
        dialogs=Dialogs(slicer.util.mainWindow()),
        make_session=session_for,
        make_logic=lambda session: OpenVocabCTLogic(session, SegmentWriter(undo)),
        undo=undo,
        terminologies=terminologies,
    )


def _suggestion(entry: Any) -> Suggestion:
    return Suggestion(phrase=str(entry["phrase"]), trained=bool(entry.get("trained", False)))
