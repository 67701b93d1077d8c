# ruff: noqa: N802 -- names of Slicer and Qt
"""The module file as Slicer loads it, and the adapter's own promises."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6 import QtCore, QtWidgets

from OpenVocabCTLib.errors import InputError
from Testing.pythonqt.modules import installed
from Testing.pythonqt.proxies import unwrap, wrap
from Testing.slicer_gui.conftest import forget_modules
from Testing.slicer_gui.fakes import FakeLogic, FakeSession, row, tools
from Testing.slicer_gui.gui import click, events, type_text, wait_until
from Testing.slicer_gui.panels import UI, Bench

MODULE = UI.parents[1] / "OpenVocabCT.py"


def load_module() -> Any:
    spec = importlib.util.spec_from_file_location("OpenVocabCT", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["OpenVocabCT"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def module_widget(slicer_gui: Any) -> Any:
    module = load_module()
    from OpenVocabCTSlicer.tools import _shared

    session = FakeSession()
    _shared["tools"] = tools(slicer_gui.scene, slicer_gui.app, FakeLogic(endless=True), session=session)
    parent = QtWidgets.QWidget()
    parent.setLayout(QtWidgets.QVBoxLayout())
    widget = module.OpenVocabCTWidget(wrap(parent))
    widget.setup()
    parent.show()
    widget.enter()
    yield types.SimpleNamespace(widget=widget, scene=slicer_gui.scene, session=session, module=module)
    widget.cleanup()
    parent.deleteLater()
    events()


def test_closing_the_scene_cancels_cleanly(module_widget: Any) -> None:
    scene, panel = module_widget.scene, module_widget.widget.panel
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT 1")
    panel.enter()
    ui = panel._ui
    type_text(ui.promptEdit, "liver")
    click(ui.applyButton)
    assert panel.runner.running
    scene.Clear(False)
    assert not panel.runner.running
    assert ui.applyButton.text == "Apply"
    assert ui.promptEdit.plainText == ""
    events()


def scene_text(scene: Any) -> str:
    scene.SetSaveToXMLString(1)
    scene.Commit()
    return str(scene.GetSceneXMLString())


def import_scene(scene: Any, text: str) -> None:
    """Add a scene to the present one."""
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(text)
    scene.Import()


def test_a_scene_that_is_added_is_shown_as_it_was_saved(module_widget: Any) -> None:
    from OpenVocabCTSlicer.parameters import Parameters

    scene, widget = module_widget.scene, module_widget.widget
    ui, node = widget.panel._ui, widget.logic.getParameterNode
    saved = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "saved CT")
    Parameters("liver", saved, None, (row("liver", found=False),)).write(node())
    text = scene_text(scene)
    scene.Clear(False)
    ui.volumeSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT 1"))
    type_text(ui.promptEdit, "spleen")
    import_scene(scene, text)
    assert ui.volumeSelector.currentNode().GetName() == "saved CT"
    assert ui.promptEdit.plainText == "liver"
    assert [one.prompt for one in widget.panel.table.rows] == ["liver"]
    assert Parameters.read(node()).rows == widget.panel.table.rows


def test_a_scene_without_our_parameters_changes_nothing_that_is_shown(module_widget: Any) -> None:
    from OpenVocabCTSlicer.parameters import Parameters

    scene, widget = module_widget.scene, module_widget.widget
    ui = widget.panel._ui
    other = slicer.vtkMRMLScene()
    other.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another CT")
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT 1")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "CT 1 segmentation")
    shown = Parameters("liver", volume, segmentation, (row("liver"),))
    shown.write(widget.logic.getParameterNode())
    widget.panel.load_parameters()
    import_scene(scene, scene_text(other))
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
    assert ui.volumeSelector.currentNode() is volume
    assert ui.segmentationSelector.currentNode() is segmentation
    assert Parameters.read(widget.logic.getParameterNode()) == shown
    ui.volumeSelector.setCurrentNode(None)
    assert widget.panel.table.rows == (), "changes by the user count again"


def test_cleanup_leaves_no_observer_and_no_worker(module_widget: Any) -> None:
    scene, widget = module_widget.scene, module_widget.widget
    module_widget.widget.panel._tools.session()
    undo = module_widget.widget.panel._tools.undo
    widget.cleanup()
    assert undo.forgotten == 1
    assert widget.Observations == []
    assert module_widget.session.closed == 1
    events_of_scene = (scene.StartCloseEvent, scene.EndCloseEvent, scene.StartImportEvent, scene.EndImportEvent)
    for event in (*events_of_scene, scene.NodeAddedEvent, scene.NodeAboutToBeRemovedEvent):
        assert not scene.HasObserver(event)
    widget.cleanup()


def test_effect_and_sample_are_registered_once_the_application_is_up(
    slicer_gui: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_module()
    parent = types.SimpleNamespace(path=str(MODULE))
    module.OpenVocabCT(parent)
    assert parent.categories == ["Segmentation"]
    assert {signal for signal, _ in slicer_gui.app.connections} == {"startupCompleted()"}
    registered: list[str] = []

    class Effect:
        def __init__(self, _parent: Any) -> None:
            self.source = ""

        def setPythonSource(self, source: str) -> None:
            self.source = source

        def self(self) -> Any:
            return types.SimpleNamespace(register=lambda: registered.append(self.source))

    fake = types.SimpleNamespace(qSlicerSegmentEditorScriptedEffect=Effect)
    monkeypatch.setitem(sys.modules, "qSlicerSegmentationsEditorEffectsPythonQt", fake)
    offered: list[str] = []
    samples = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: offered.append(source["checksums"].partition(":")[0])
    )
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=samples))
    for _, slot in slicer_gui.app.connections:
        slot()
    assert offered == ["SHA256"]
    assert len(registered) == 1
    assert Path(registered[0]).is_file()
    assert "\\" not in registered[0]


def test_the_self_test_checks_parameters(slicer_gui: Any) -> None:
    load_module().OpenVocabCTTest().test_parameters()


def test_every_text_is_translated() -> None:
    """With a translator that changes every text, none of those made in Python may stay as it was."""
    scene = slicer.vtkMRMLScene()
    kept = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "OpenVocabCTSlicer"}
    forget_modules()
    with installed(scene, tr=lambda text: f"\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}{text}") as environment:
        environment.scene = scene
        bench = Bench(environment, FakeLogic(error=InputError("x", "y")))
        bench.ui.promptEdit.setPlainText("spleen")
        assert bench.ui.applyButton.text.startswith("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}")
        assert bench.ui.applyButton.toolTip.startswith("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}")
        header = [bench.ui.resultTable.horizontalHeaderItem(c).text() for c in range(5)]
        devices = [bench.ui.deviceSelector.itemText(i) for i in range(bench.ui.deviceSelector.count)]
        assert all(text.startswith("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}") for text in header + devices)
        bench.panel.dispose()
        unwrap(bench.widget).deleteLater()
    forget_modules()
    sys.modules.update(kept)


def test_real_dialog_asks_and_answers(slicer_gui: Any) -> None:
    from OpenVocabCTSlicer.dialogs import Dialogs

    def press(text: str) -> None:
        box = QtWidgets.QApplication.activeModalWidget()
        assert isinstance(box, QtWidgets.QMessageBox)
        assert "torch" in box.informativeText()
        next(button for button in box.buttons() if text in button.text()).click()

    for text, expected in (("Install", True), ("Cancel", False)):
        QtCore.QTimer.singleShot(50, lambda text=text: press(text))
        assert Dialogs().consent("Packages", "torch 2 GB") is expected
    QtCore.QTimer.singleShot(50, lambda: press("Undo"))
    assert Dialogs().consent("Undo?", "torch changes", "Undo")


def test_real_dialog_takes_a_report(slicer_gui: Any) -> None:
    from OpenVocabCTSlicer.dialogs import Dialogs

    def paste(button: str) -> None:
        box = QtWidgets.QApplication.activeModalWidget()
        assert isinstance(box, QtWidgets.QDialog)
        box.findChild(QtWidgets.QPlainTextEdit, "reportEdit").setPlainText("Cyst of the liver.")
        buttons = box.findChild(QtWidgets.QDialogButtonBox)
        buttons.button(getattr(QtWidgets.QDialogButtonBox.StandardButton, button)).click()

    for button, expected in (("Ok", "Cyst of the liver."), ("Cancel", "")):
        QtCore.QTimer.singleShot(50, lambda button=button: paste(button))
        assert Dialogs().report("From report", "Paste it.") == expected


def test_local_and_remote_sessions(slicer_gui: Any) -> None:
    from OpenVocabCTSlicer.sessions import session_for
    from OpenVocabCTSlicer.settings import UserSettings
    from Testing.slicer_gui.fakes import MemoryStore

    settings = UserSettings(MemoryStore())
    assert not session_for(settings).running, "no process is started before it is needed"
    settings.remote, settings.server = True, "localhost:8765"
    with pytest.raises(InputError, match="token"):
        session_for(settings)
    settings.token = "secret"
    assert session_for(settings)._source.port == 8765


def test_a_connection_is_only_there_while_its_address_is_good(slicer_gui: Any) -> None:
    bench = Bench(slicer_gui, make_session=_refuse)
    bench.ui.promptEdit.setPlainText("spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.message == "the server's token is missing: paste it")
    assert bench.ui.applyButton.text == "Apply"
    bench.ui.advancedSection.collapsed = False
    click(bench.ui.freeButton)
    assert bench.ui.memoryLabel.text == "the server's token is missing: paste it"
    bench.panel.dispose()
    unwrap(bench.widget).deleteLater()


def _refuse(_settings: Any) -> Any:
    raise InputError("the server's token is missing", "paste it")


def test_ui_files_hold_no_formats_that_can_run_markup() -> None:
    """Labels that show texts from outside show them as they are."""
    for name, labels in {
        "OpenVocabCT.ui": ("messageLabel", "serverStatusLabel", "memoryLabel", "packagesLabel"),
        "SegmentEditorOpenVocabCT.ui": ("messageLabel",),
    }.items():
        text = (UI / name).read_text(encoding="utf-8")
        for label in labels:
            assert re.search(rf'name="{label}".*?Qt::PlainText', text, re.DOTALL), label


class TestAdapter:
    """Our stand-in must be as strict as PythonQt, or the tests prove nothing."""

    def test_properties_are_attributes(self, slicer_gui: Any) -> None:
        label = slicer_gui.qt.QLabel("a")
        assert label.text == "a"
        label.text = "b"
        assert label.text == "b"
        with pytest.raises(TypeError):
            label.text()

    def test_unknown_attributes_and_signals_fail(self, slicer_gui: Any) -> None:
        button = slicer_gui.qt.QPushButton()
        with pytest.raises(AttributeError):
            button.colour = 1
        with pytest.raises(AttributeError):
            _ = button.colour
        with pytest.raises(ValueError, match="no signal"):
            button.connect("pushed()", print)

    def test_slots_get_what_they_take(self, slicer_gui: Any) -> None:
        button = slicer_gui.qt.QPushButton()
        got: list[Any] = []
        button.connect("clicked(bool)", lambda: got.append("none"))
        button.connect("clicked(bool)", got.append)
        button.click()
        assert got == ["none", False]

    def test_disconnect(self, slicer_gui: Any) -> None:
        button = slicer_gui.qt.QPushButton()
        got: list[Any] = []
        button.connect("clicked()", got.clear)
        assert button.connection_count() == 1
        assert button.disconnect("clicked()", got.clear)
        assert not button.disconnect("clicked()", got.clear)
