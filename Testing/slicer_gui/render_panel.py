"""Renders the panel after a run on the sample CT: ``PYTHONPATH=OpenVocabCT python -m Testing.slicer_gui.render_panel``.

The widgets of CTK and Slicer are the stand-ins of `Testing.pythonqt`; layout, texts, code and figures are real.
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from OpenVocabCTLib import CTVolume, Segmentation, Segmenter
from OpenVocabCTLib.commands.sample import Sample
from Testing.pythonqt.modules import application, installed
from Testing.pythonqt.proxies import unwrap

PICTURE = Path(__file__).resolve().parents[2] / "Resources" / "Screenshots" / "module.png"
WIDTH, SCALE = 520, 2
PROMPTS = "left lung, right lung\nspinal cord\nleft kidney\nthe quick brown fox"


def answers() -> Segmentation:
    """What the embedded model finds in the sample CT."""
    from OpenVocabCTSlicer.prompts_text import split_prompts

    return Segmenter.from_pretrained().encode(CTVolume.read(Sample.find().ct)).segment(split_prompts(PROMPTS))


def render(path: Path) -> None:
    """Write the picture."""
    from OpenVocabCTSlicer.rows import ResultRow
    from Testing.slicer_gui.panels import Bench

    app = application()
    app.setStyle("Fusion")
    app.setPalette(_light())
    font = QtGui.QFont("DejaVu Sans", 9)
    app.setFont(font)
    with installed(slicer.vtkMRMLScene()) as environment:
        environment.scene = slicer.mrmlScene
        bench = Bench(environment)
        bench.volume.SetName("CTChest4")
        bench.logic.segmentation.SetName("CTChest4 segmentation")
        bench.panel.load_parameters()
        bench.ui.volumeSelector.setMRMLScene(environment.scene)
        bench.ui.segmentationSelector.setMRMLScene(environment.scene)
        bench.ui.volumeSelector.setCurrentNode(bench.volume)
        bench.ui.segmentationSelector.setCurrentNode(bench.logic.segmentation)
        bench.ui.promptEdit.setPlainText(PROMPTS)
        segmentation = answers()
        bench.panel.table.show([ResultRow.of(segment, segment.id) for segment in segmentation])
        missing = len(segmentation) - len(segmentation.found)
        bench.panel.message.say(f"{missing} of {len(segmentation)} not found")
        bench.logic.undo.available = True
        bench.tools.logic()
        bench.ui.undoButton.enabled = True
        bench.ui.advancedSection.collapsed = False
        # The stand-in of the section shows every child when it opens; CTK leaves hidden what was hidden.
        bench.ui.serverStatusLabel.setVisible(False)
        picture = _grab(unwrap(bench.widget))
        bench.panel.dispose()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path)):
        raise OSError(f"the picture cannot be written to {path}")


def _grab(widget: QtWidgets.QWidget) -> QtGui.QPixmap:
    widget.setFixedWidth(WIDTH)
    widget.setFocus()
    for _ in range(20):
        QtWidgets.QApplication.processEvents()
    widget.resize(WIDTH, widget.sizeHint().height())
    QtWidgets.QApplication.processEvents()
    picture = QtGui.QPixmap(widget.size() * SCALE)
    picture.setDevicePixelRatio(SCALE)
    picture.fill(widget.palette().color(QtGui.QPalette.ColorRole.Window))
    widget.render(picture, QtCore.QPoint(0, 0))
    return picture


def _light() -> QtGui.QPalette:
    palette = QtGui.QPalette(QtGui.QColor(239, 239, 239))
    palette.setColor(QtGui.QPalette.ColorRole.Base, QtGui.QColor("white"))
    palette.setColor(QtGui.QPalette.ColorRole.AlternateBase, QtGui.QColor(246, 248, 250))
    palette.setColor(QtGui.QPalette.ColorRole.Highlight, QtGui.QColor(48, 140, 198))
    return palette


if __name__ == "__main__":
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
