"""Image pass, voxel embedding and its cache, and the Segmenter that puts them together.

Importing this package is cheap; torch is imported with the first class that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from OpenVocabCTLib.inference.segmenter import Segmenter, Study

__all__ = ["Segmenter", "Study"]


def __getattr__(name: str) -> object:
    """Import a public class when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from OpenVocabCTLib.inference import segmenter

    return getattr(segmenter, name)


def __dir__() -> list[str]:
    return sorted(__all__)
