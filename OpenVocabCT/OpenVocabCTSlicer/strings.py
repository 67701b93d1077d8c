"""Translation of what the user reads: ``from OpenVocabCTSlicer.strings import _``."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
    from slicer.i18n import translate
except ImportError:  # Slicer's libraries without the application have no translations

    def _(text: str) -> str:
        """Return the text itself."""
        return text

    def translate(context: str, text: str) -> str:
        """Return the text itself."""
        return text


__all__ = ["_", "translate"]
