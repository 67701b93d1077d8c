"""The panel driven as a user drives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.worker.errors import WorkerLost
from Testing.slicer_gui.fakes import FakeDialogs, FakeInstaller, FakeLogic, FakeSession, row
from Testing.slicer_gui.gui import click, events, press, type_text, wait_until
from Testing.slicer_gui.panels import Bench


@pytest.fixture
def make(slicer_gui: Any) -> Iterator[Any]:
    benches: list[Bench] = []

    def make_bench(*args: Any, **kwargs: Any) -> Bench:
        benches.append(Bench(slicer_gui, *args, **kwargs))
        return benches[-1]

    yield make_bench
    for bench in benches:
        bench.panel.dispose()
        bench.widget.deleteLater()
    events()


def test_type_and_run(make: Any) -> None:
    bench = make(FakeLogic(notes=("patient lies prone",)))
    bench.logic.rows = (row("spleen"), row("uterus", found=False))
    assert not bench.ui.applyButton.enabled, "nothing is typed yet"
    type_text(bench.ui.promptEdit, "spleen, uterus")
    assert bench.ui.applyButton.enabled
    click(bench.ui.applyButton)
    assert bench.ui.applyButton.text == "Cancel"
    assert bench.ui.progressPanel.visible
    assert not bench.ui.volumeSelector.enabled
    wait_until(lambda: not bench.panel.runner.running)
    (request,) = bench.logic.requests
    assert request.prompts == ("spleen", "uterus")
    assert request.volume is bench.volume
    assert request.segmentation is None, "a new segmentation by default"
    assert bench.ui.applyButton.text == "Apply"
    assert not bench.ui.progressPanel.visible
    assert bench.ui.volumeSelector.enabled
    table = bench.ui.resultTable
    assert table.rowCount == 2
    assert [table.item(0, column).text() for column in range(4)] == ["✓ spleen", "182", "104", "98 %"]
    assert table.item(1, 0).text() == "✗ uterus"
    assert table.item(1, 1).text() == "not found: not in this scan"
    assert table.cellWidget(1, 4) is None, "nothing to set a threshold for"
    assert bench.ui.segmentationSelector.currentNode() is bench.logic.segmentation
    assert bench.ui.show3DButton._q.segmentation_node is bench.logic.segmentation
    assert bench.message == "patient lies prone\n1 of 2 not found"
    assert not bench.ui.copyReportButton.visible


@pytest.mark.parametrize("key", ["Ctrl+Return", "Ctrl+Enter"])
def test_ctrl_enter_runs_once(make: Any, key: str) -> None:
    bench = make(FakeLogic(endless=True))
    type_text(bench.ui.promptEdit, "aorta")
    press(bench.ui.promptEdit, key)
    press(bench.ui.promptEdit, key)
    assert bench.panel.runner.running, "a second Ctrl+Enter must not cancel"
    assert len(bench.logic.requests) == 1
    assert bench.ui.promptEdit.plainText == "aorta", "no line break is written"


def test_cancel(make: Any) -> None:
    bench = make(FakeLogic(endless=True))
    type_text(bench.ui.promptEdit, "aorta")
    click(bench.ui.applyButton)
    wait_until(lambda: "Reading the CT" in bench.ui.progressLabel.text)
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running, seconds=2)
    assert bench.logic.told == ["worker"]
    assert bench.ui.applyButton.text == "Apply"
    assert bench.ui.applyButton.enabled
    assert bench.message.startswith("stopped")
    assert bench.ui.resultTable.rowCount == 0


def test_error_is_one_sentence_and_can_be_reported_without_patient_data(make: Any) -> None:
    bench = make(FakeLogic(error=WorkerLost("the worker ended at /data/doe^john/ct.nii", "press Apply again")))
    bench.volume.SetName("DOE^JOHN")
    type_text(bench.ui.promptEdit, "tumour of John Doe")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.message == "the worker ended at /data/doe^john/ct.nii: press Apply again"
    assert bench.ui.copyReportButton.visible
    click(bench.ui.copyReportButton)
    text = bench.app.clipboard().text()
    assert "WorkerLost: the worker ended at <path>" in text
    assert "Slicer 5.10.0" in text
    assert "doe" not in text.casefold()
    assert "tumour" not in text
    bench.logic.error = None
    click(bench.ui.applyButton)
    assert bench.message == "", "the next run starts without the old message"


def test_slider_asks_once_it_rests_and_only_for_its_prompt(make: Any) -> None:
    bench = make()
    bench.logic.rows = (row("spleen"), row("liver"))
    type_text(bench.ui.promptEdit, "spleen\nliver")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    slider = bench.ui.resultTable.cellWidget(1, 4).children()[1]
    for value in (55, 60, 70):
        slider.value = value
    assert not bench.logic.thresholds, "not while it moves"
    wait_until(lambda: bench.ui.resultTable.item(1, 1).text() == "300")
    assert bench.logic.thresholds == [("liver", 0.7)]
    assert bench.ui.resultTable.item(0, 1).text() == "182"
    assert bench.panel.table.rows[1].threshold == 0.7
    assert bench.ui.applyButton.text == "Apply", "a slider is not a run"


def test_slider_after_loading_a_scene_says_what_to_do(make: Any) -> None:
    bench = make()
    bench.panel.table.show((row("spleen"),))
    bench.ui.resultTable.cellWidget(0, 4).children()[1].value = 80
    wait_until(lambda: "press Apply" in bench.message)
    assert not bench.logic.thresholds


def test_history_and_favourites_persist(make: Any) -> None:
    bench = make()
    bench.logic.rows = (row("spleen"),)
    type_text(bench.ui.promptEdit, "spleen & liver")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    bench.panel.prompts.fill_favourites()
    bench.panel.prompts.favourites_menu.actions()[-1].trigger()
    other = make(store=bench.tools.history._store)
    other.panel.prompts.fill_history()
    first = other.panel.prompts.history_menu.actions()[0]
    assert first.text == "spleen && liver"
    first.trigger()
    assert other.ui.promptEdit.plainText == "spleen & liver"
    assert other.tools.favourites.items() == ("spleen & liver",)
    other.panel.prompts.fill_history()
    other.panel.prompts.history_menu.actions()[-1].trigger()
    assert other.tools.history.items() == ()


def test_completion(make: Any) -> None:
    bench = make()
    wait_until(lambda: bool(bench.panel.prompts._vocabulary))
    type_text(bench.ui.promptEdit, "spleen, li")
    completion = bench.panel.prompts.completion
    assert [s.phrase for s in completion.offered] == ["liver", "lithotripter"]
    assert completion.list.visible
    assert "untested" in completion.list.item(1).text()
    press(bench.ui.promptEdit, "Down")
    press(bench.ui.promptEdit, "Up")
    press(bench.ui.promptEdit, "Return")
    assert bench.ui.promptEdit.plainText == "spleen, liver"
    assert not completion.shown
    press(bench.ui.promptEdit, "Return")
    type_text(bench.ui.promptEdit, "left ki")
    press(bench.ui.promptEdit, "Escape")
    assert not completion.shown
    assert bench.ui.promptEdit.plainText == "spleen, liver\nleft ki"
    type_text(bench.ui.promptEdit, "d")
    press(bench.ui.promptEdit, "Tab")
    assert bench.ui.promptEdit.plainText == "spleen, liver\nleft kidney"


def test_nothing_chosen_is_said(make: Any) -> None:
    bench = make(volume=False)
    type_text(bench.ui.promptEdit, "spleen")
    assert not bench.ui.applyButton.enabled
    bench.panel.on_apply()
    assert bench.message == "no CT is chosen: load a CT and choose it above"
    assert not bench.logic.requests


def test_missing_packages_are_installed_after_consent(make: Any) -> None:
    bench = make(installer=FakeInstaller(ready=False))
    bench.logic.rows = (row("spleen"),)
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.ui.resultTable.rowCount == 1)
    assert bench.tools.dialogs.questions == ["torch 2 GB, licence BSD-3-Clause, from the network"]
    assert bench.tools.installer.installs == [("plan", None)]


def test_no_consent_no_installation(make: Any) -> None:
    bench = make(installer=FakeInstaller(ready=False), dialogs=FakeDialogs(agree=False))
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.message.startswith("the packages were not installed"))
    assert not bench.tools.installer.installs
    assert not bench.logic.requests
    assert bench.ui.applyButton.text == "Apply"


def test_a_computer_that_does_not_fit_is_not_asked(make: Any) -> None:
    bench = make(installer=FakeInstaller(ready=False, problems=("3 GB of disk space are missing",)))
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.message.startswith("3 GB of disk space are missing"))
    assert not bench.tools.dialogs.questions


def test_a_failed_installation_is_reported_with_its_log(make: Any) -> None:
    bench = make(installer=FakeInstaller(ready=False, error=InputError("pip failed", "try again")))
    bench.tools.installer.log = "ERROR: no space in /home/doe/Slicer"
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.message == "pip failed: try again")
    click(bench.ui.copyReportButton)
    assert "ERROR: no space in <path>" in bench.app.clipboard().text()
    assert "doe" not in bench.app.clipboard().text()


def test_install_from_a_folder(make: Any, tmp_path: Any) -> None:
    installer = FakeInstaller(ready=False, problems=("there is no network",))
    bench = make(installer=installer, dialogs=FakeDialogs(folder=str(tmp_path)))
    bench.ui.advancedSection.collapsed = False
    click(bench.ui.installFolderButton)
    wait_until(lambda: bench.message == "the packages are complete")
    assert installer.installs == [("plan", tmp_path)]
    assert bench.ui.packagesLabel.text == "complete"


def test_closing_the_scene_stops_everything(make: Any) -> None:
    bench = make(FakeLogic(endless=True))
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    events()
    bench.panel.scene_closes()
    bench.scene.Clear(False)
    bench.panel.load_parameters()
    events()
    assert not bench.panel.runner.running
    assert bench.ui.volumeSelector.currentNode() is None
    assert bench.ui.applyButton.text == "Apply"
    assert not bench.ui.applyButton.enabled
    assert bench.message == ""


def test_closing_the_scene_does_not_end_an_installation(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes are being downloaded; the next patient can be loaded meanwhile."""
    waiting = True

    def install(self: FakeInstaller, plan: Any, wheel_folder: Any = None) -> Any:
        while waiting:
            yield None
        self.ready = True
        return self.check()

    monkeypatch.setattr(FakeInstaller, "install", install)
    bench = make(installer=FakeInstaller(ready=False))
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bool(bench.tools.dialogs.questions))
    bench.panel.scene_closes()
    bench.scene.Clear(False)
    bench.panel.load_parameters()
    events()
    assert bench.panel.runner.running
    assert bench.ui.applyButton.text == "Cancel"
    waiting = False
    wait_until(lambda: not bench.panel.install.running and not bench.panel.runner.running)
    assert bench.tools.installer.ready
    assert bench.ui.applyButton.text == "Apply"


def test_parameters_survive_saving_and_loading_the_scene(make: Any) -> None:
    import slicer

    bench = make()
    bench.logic.rows = (row("spleen"), row("uterus", found=False))
    type_text(bench.ui.promptEdit, "spleen\nuterus")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    bench.scene.SetSaveToXMLString(1)
    bench.scene.Commit()
    text = bench.scene.GetSceneXMLString()
    bench.panel.scene_closes()
    bench.scene.Clear(False)
    bench.panel.load_parameters()
    assert bench.ui.promptEdit.plainText == ""
    bench.scene.SetLoadFromXMLString(1)
    bench.scene.SetSceneXMLString(text)
    bench.scene.Import()
    bench.panel.load_parameters()
    assert bench.ui.promptEdit.plainText == "spleen\nuterus"
    assert bench.ui.volumeSelector.currentNode().GetName() == "CT 1"
    assert bench.ui.segmentationSelector.currentNode().GetName() == "CT 1 segmentation"
    assert bench.panel.table.rows == bench.logic.rows
    assert isinstance(bench.volume, slicer.vtkMRMLScalarVolumeNode)


def test_undo(make: Any) -> None:
    bench = make()
    bench.logic.rows = (row("spleen"),)
    assert not bench.ui.undoButton.enabled
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.ui.undoButton.enabled
    click(bench.ui.undoButton)
    assert bench.logic.undo.restored == [bench.logic.segmentation]
    assert not bench.ui.undoButton.enabled
    assert bench.ui.resultTable.rowCount == 0


def test_table_as_text(make: Any) -> None:
    bench = make()
    ribs = row("ribs", doubt="40 HU is little", note="only left rib 1, which the model was trained on")
    bench.panel.table.show((row("spleen"), row("liver", doubt="182 ml is little"), row("uterus", found=False), ribs))
    click(bench.ui.copyTableButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.app.clipboard().text().splitlines() == [
        "Structure\tVolume (ml)\tMean HU\tPresence\tThreshold\tRemarks",
        "spleen\t182\t104\t98 %\t0.50\t",
        "liver\t182\t104\t98 %\t0.50\t182 ml is little",
        "uterus\t\N{EN DASH}\t\N{EN DASH}\t3 %\tnot found: not in this scan\t",
        "ribs\t182\t104\t98 %\t0.50\t40 HU is little; only left rib 1, which the model was trained on",
    ]
    assert "Note: only left rib 1" in bench.ui.resultTable.item(3, 0).toolTip()


def test_what_is_unusual_is_marked_and_said(make: Any) -> None:
    bench = make()
    bench.logic.rows = (row("spleen"), row("liver", doubt="182 ml is little"), row("uterus", found=False))
    type_text(bench.ui.promptEdit, "spleen, liver, uterus")
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    table = bench.ui.resultTable
    assert [table.item(index, 0).text() for index in range(3)] == [
        "\u2713 spleen",
        "\u2713 liver \u26a0",
        "\u2717 uterus",
    ]
    assert "182 ml is little" in table.item(1, 0).toolTip()
    assert table.item(1, 1).toolTip() == "182 ml is little"
    assert "Unusual" not in table.item(0, 0).toolTip()
    assert "1 of 3 unusual" in bench.ui.messageLabel.text


class FakeExport:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, []

    def export(self, *call: Any) -> tuple[Path, ...]:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return (Path("folder/seg.dcm"),)


@pytest.mark.parametrize("folder", ["/somewhere", ""])
def test_export_as_dicom(folder: str, make: Any) -> None:
    export = FakeExport()
    bench = make(dialogs=FakeDialogs(folder=folder), make_dicom_export=lambda _scene: export)
    click(bench.ui.exportDicomButton)
    nodes = (bench.ui.volumeSelector.currentNode(), bench.ui.segmentationSelector.currentNode())
    assert export.calls == ([(*nodes, Path(folder))] if folder else [])
    assert ("wrote seg.dcm" in bench.message) is bool(folder)


def test_an_export_that_is_refused_says_why(make: Any) -> None:
    export = FakeExport(InputError("the CT does not come from the DICOM database", "import its series"))
    bench = make(dialogs=FakeDialogs(folder="/somewhere"), make_dicom_export=lambda _scene: export)
    click(bench.ui.exportDicomButton)
    assert "does not come from the DICOM database" in bench.message


@pytest.fixture
def remote(make: Any) -> Bench:
    bench = make()
    bench.ui.advancedSection.collapsed = False
    bench.ui.remoteCheckBox.checked = True
    events()
    return bench


def test_connection_works(remote: Bench) -> None:
    type_text(remote.ui.serverEdit, "localhost:8765")
    type_text(remote.ui.tokenEdit, "secret")
    click(remote.ui.testButton)
    wait_until(lambda: remote.ui.serverStatusLabel.text.startswith("Connected"))
    assert remote.ui.serverStatusLabel.text == "Connected: version 0.1.0, model openvocabct-small on cuda"
    assert "3.0 GB" in remote.ui.memoryLabel.text
    assert remote.tools.settings.server == "localhost:8765"
    assert "secret" not in str(remote.tools.history._store.values), "the token is never saved"


def test_connection_fails_in_one_sentence(make: Any) -> None:
    error = WorkerLost("no worker answers at localhost:8765 (connrefused)", "check that it runs")
    bench = make(session=FakeSession(error))
    bench.ui.advancedSection.collapsed = False
    bench.ui.remoteCheckBox.checked = True
    type_text(bench.ui.serverEdit, "localhost:8765")
    click(bench.ui.testButton)
    wait_until(lambda: bench.ui.serverStatusLabel.text == str(error))


def test_bad_address_is_not_tried(remote: Bench) -> None:
    type_text(remote.ui.serverEdit, "no port here")
    click(remote.ui.testButton)
    assert "is no address: give it as 127.0.0.1:8765" in remote.ui.serverStatusLabel.text


def test_remote_needs_no_packages_here(make: Any) -> None:
    bench = make(installer=FakeInstaller(ready=False))
    bench.ui.remoteCheckBox.checked = True
    bench.logic.rows = (row("spleen"),)
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bench.ui.resultTable.rowCount == 1)
    assert not bench.tools.dialogs.questions


def test_free_memory(make: Any) -> None:
    session = FakeSession()
    bench = make(session=session)
    bench.ui.advancedSection.collapsed = False
    click(bench.ui.freeButton)
    wait_until(lambda: bench.ui.memoryLabel.text == "freed")
    assert session.freed == 1


def test_import_of_a_model_folder(make: Any, tmp_path: Any) -> None:
    bench = make(dialogs=FakeDialogs(folder=str(tmp_path)))
    bench.ui.advancedSection.collapsed = False
    click(bench.ui.importModelButton)
    assert "config.json" in bench.ui.serverStatusLabel.text
    assert bench.tools.settings.model is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    click(bench.ui.importModelButton)
    assert bench.tools.settings.model == str(tmp_path)
    assert bench.ui.modelSelector.currentText == tmp_path.name
    bench.logic.rows = (row("spleen"),)
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    wait_until(lambda: bool(bench.logic.requests))
    assert bench.logic.requests[0].model == str(tmp_path)
    bench.ui.modelSelector.setCurrentIndex(0)
    assert bench.tools.settings.model is None


def test_models_that_are_here_and_public_ones_that_are_not(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from Testing.openvocabct_lib.model_folder import write_model_folder

    monkeypatch.setenv("OPENVOCABCT_MODELS", str(tmp_path / "models"))
    installed = write_model_folder(tmp_path / "models" / "whole_body")
    bench = make(FakeLogic())
    selector = bench.ui.modelSelector
    selector.setCurrentIndex(selector.findData(str(installed)))
    assert bench.tools.settings.model == str(installed) and selector.currentText == "whole_body"
    selector.setCurrentIndex(selector.findData("public:totalsegmentator-total"))
    assert "Apache-2.0" in bench.ui.serverStatusLabel.text and "models download" in bench.ui.serverStatusLabel.text
    assert bench.tools.settings.model == str(installed) and selector.currentText == "whole_body"


def test_dispose_leaves_no_connection(make: Any) -> None:
    from Testing.pythonqt.proxies import Proxy

    bench = make(FakeLogic(endless=True))
    type_text(bench.ui.promptEdit, "spleen")
    click(bench.ui.applyButton)
    bench.panel.dispose()
    left = {name: w.connection_count() for name, w in vars(bench.ui).items() if isinstance(w, Proxy)}
    assert not any(left.values()), {name: count for name, count in left.items() if count}
    assert not bench.panel.runner.running


def test_a_report_becomes_prompts_that_keep_their_sentences(make: Any) -> None:
    bench = make(dialogs=FakeDialogs(report="Cyst of the left kidney.\n"))
    click(bench.ui.fromReportButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.ui.promptEdit.plainText == "left kidney cyst"
    assert "pleural effusion" in bench.message, "what is denied is said, not segmented"
    assert not bench.logic.requests, "the user looks at the prompts first"
    bench.panel.load_parameters()
    bench.logic.rows = (row("left kidney cyst", sentence="Cyst of the left kidney."),)
    click(bench.ui.applyButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.logic.requests[0].sentences == {"left kidney cyst": "Cyst of the left kidney."}
    assert "Cyst of the left kidney." in bench.ui.resultTable.item(0, 0).toolTip()
    bench.panel._on_row_selected(bench.panel.table.rows[0])
    assert bench.message == "Report: Cyst of the left kidney."


def test_a_report_stays_with_its_ct(make: Any) -> None:
    bench = make(dialogs=FakeDialogs(report="Cyst of the left kidney."))
    click(bench.ui.fromReportButton)
    wait_until(lambda: bool(bench.panel.view.sentences))
    other = bench.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT of another patient")
    bench.ui.volumeSelector.setCurrentNode(other)
    assert not bench.panel.view.sentences
    bench.panel.load_parameters()
    assert not bench.panel.view.sentences


@pytest.mark.parametrize("text", ["", " \n "])
def test_no_report_changes_nothing(make: Any, text: str) -> None:
    bench = make(dialogs=FakeDialogs(report=text))
    type_text(bench.ui.promptEdit, "aorta")
    click(bench.ui.fromReportButton)
    assert not bench.panel.runner.running
    assert bench.ui.promptEdit.plainText == "aorta"


def test_a_report_that_cannot_be_read_leaves_the_prompts(make: Any) -> None:
    session = FakeSession(InputError("the report names no finding", "name structures"))
    bench = make(dialogs=FakeDialogs(report="hello"), session=session)
    type_text(bench.ui.promptEdit, "aorta")
    click(bench.ui.fromReportButton)
    wait_until(lambda: not bench.panel.runner.running)
    assert bench.message == "the report names no finding: name structures"
    assert bench.ui.promptEdit.plainText == "aorta"
    assert bench.ui.applyButton.text == "Apply"


def test_a_long_reason_gets_a_second_line(make: Any) -> None:
    bench = make()
    reason = "this model has seen left kidney in 1 scan only, too few to answer"
    bench.panel.table.show((row("spleen"), row("left kidney", found=False, reason=reason), row("uterus", found=False)))
    table = bench.ui.resultTable
    short, long, other = (table._q.rowHeight(n) for n in range(3))
    assert long > short == other
    bench.panel.table.show((row("spleen"), row("left kidney"), row("uterus")))
    assert table._q.rowHeight(1) == short
