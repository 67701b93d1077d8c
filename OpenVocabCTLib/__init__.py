"""Segment structures in CT from text prompts.

Importing this package is cheap: torch, transformers and SimpleITK are imported when they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from OpenVocabCTLib.inference import Segmenter
    from OpenVocabCTLib.output import Segmentation
    from OpenVocabCTLib.prompts import PromptSet, Vocabulary
    from OpenVocabCTLib.volume import CTVolume

__version__ = "0.1.0"

__all__ = ["CTVolume", "PromptSet", "Segmentation", "Segmenter", "Vocabulary", "__version__"]

_HOME = {
    "CTVolume": "OpenVocabCTLib.volume",
    "PromptSet": "OpenVocabCTLib.prompts",
    "Segmentation": "OpenVocabCTLib.output",
    "Segmenter": "OpenVocabCTLib.inference",
    "Vocabulary": "OpenVocabCTLib.prompts",
}


def __getattr__(name: str) -> object:
    """Import a public class when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
