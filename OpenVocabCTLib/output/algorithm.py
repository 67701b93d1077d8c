"""What made a segmentation, as its files say it."""

from __future__ import annotations

from dataclasses import dataclass

from OpenVocabCTLib import __version__


@dataclass(frozen=True)
class Algorithm:
    """A model in a version.

    Attributes:
        name: name of the model.
        version: its version.
        weights_sha256: hash of its weights, "" where it is not known.
    """

    name: str = "OpenVocabCT"
    version: str = __version__
    weights_sha256: str = ""
