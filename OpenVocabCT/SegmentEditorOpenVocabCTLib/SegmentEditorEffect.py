"""Text prompt: segment with words in the Segment Editor. Thin: the work is in OpenVocabCTSlicer.effect.

Slicer loads this file under the name of its folder, so nothing beside it can be imported by that name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import qt
import slicer
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

from OpenVocabCTSlicer.effect import SET, TextPrompt
from OpenVocabCTSlicer.strings import _

_RESOURCES = Path(__file__).resolve().parent.parent / "Resources"


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """The effect, as Slicer calls it."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "Text prompt"  # not translated: modules find effects by name
        scriptedEffect.title = _("Text prompt")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.textPrompt: TextPrompt | None = None

    def clone(self) -> Any:
        """Return another effect of this kind, for another editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        clone = effects.qSlicerSegmentEditorScriptedEffect(None)
        clone.setPythonSource(os.fspath(Path(__file__)).replace("\\", "/"))
        return clone

    def icon(self) -> Any:
        """Return the icon of the effect's button."""
        path = _RESOURCES / "Icons" / "OpenVocabCT.png"
        return qt.QIcon(os.fspath(path)) if path.is_file() else qt.QIcon()

    def helpText(self) -> str:
        """Return what the editor shows above the options."""
        return (
            "<html>"
            + _("Type a structure in plain words and press Apply.")
            + "<br><ul style='margin: 0'><li>"
            + "<li>".join(
                (
                    _("<b>Set:</b> the selected segment becomes what was found."),
                    _("<b>Add:</b> what was found is added to it."),
                    _("<b>Subtract:</b> what was found is taken away from it."),
                    _("<b>Intersect:</b> only what belongs to both is kept."),
                )
            )
            + "</ul>"
        )

    def setupOptionsFrame(self) -> None:
        """Build the options."""
        from OpenVocabCTSlicer.tools import default_tools

        widget = slicer.util.loadUI(os.fspath(_RESOURCES / "UI" / "SegmentEditorOpenVocabCT.ui"))
        self.scriptedEffect.addOptionsWidget(widget)
        self.textPrompt = TextPrompt(self.scriptedEffect, slicer.util.childWidgetVariables(widget), default_tools())

    def createCursor(self, _widget: Any) -> Any:
        """Return the ordinary cursor: nothing is drawn with the mouse."""
        return slicer.util.mainWindow().cursor

    def setMRMLDefaults(self) -> None:
        """Say what the parameters are before the user changes them."""
        self.scriptedEffect.setParameterDefault("Prompt", "")
        self.scriptedEffect.setParameterDefault("Mode", SET)

    def updateGUIFromMRML(self) -> None:
        """Show the parameters."""
        if self.textPrompt is not None:
            self.textPrompt.show_parameters()

    def updateMRMLFromGUI(self) -> None:
        """Store the parameters."""
        if self.textPrompt is not None:
            self.textPrompt.store_parameters()

    def deactivate(self) -> None:
        """Another effect is chosen: stop, so that nothing changes behind the user's back."""
        if self.textPrompt is not None:
            self.textPrompt.stop()

    def cleanup(self) -> None:
        """Leave no timer, connection or observer behind."""
        if self.textPrompt is not None:
            self.textPrompt.dispose()
            self.textPrompt = None
