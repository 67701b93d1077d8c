"""The vocabulary as one of Slicer's terminologies: its structures can be chosen for any segment."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "Resources" / "SegmentationCategoryTypeModifier-OpenVocabCT.term.json"

_logger = logging.getLogger("OpenVocabCT")


def loaded_terminologies(logic: Any) -> list[str]:
    """Return the names of the terminologies that Slicer offers.

    Args:
        logic: vtkSlicerTerminologiesModuleLogic.
    """
    import vtk

    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    return [names.GetValue(i) for i in range(names.GetNumberOfValues())]


def offer_vocabulary(logic: Any, file: Path = FILE) -> str:
    """Load the vocabulary into Slicer's terminologies; one that the user loaded under the same name stays.

    Nothing that the module does depends on it, so a file that Slicer cannot read is only logged.

    Args:
        logic: vtkSlicerTerminologiesModuleLogic.
        file: the ``.term.json`` file.

    Returns:
        The terminology's name, "" where it could not be loaded.
    """
    from OpenVocabCTLib.prompts.slicer_terminology import CONTEXT_NAME

    if CONTEXT_NAME in loaded_terminologies(logic):
        return CONTEXT_NAME
    name = str(logic.LoadTerminologyFromFile(str(file)))
    if not name:
        _logger.warning("the vocabulary could not be loaded into the terminologies")
    return name
