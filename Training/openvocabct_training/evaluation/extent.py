"""How far along the patient's length a structure was drawn.

Readers often stop where they need no more of a cord, an esophagus or a brainstem.  What an answer says beyond counts
against it, though it may well be right.
"""

from __future__ import annotations

from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask


def long_axis(geometry: Geometry) -> tuple[int, bool]:
    """Return the array axis along the patient's length, and whether it runs towards the head."""
    column, letter = next((n, letter) for n, letter in enumerate(geometry.axis_codes()) if letter in "SI")
    return 2 - column, letter == "S"


def within_extent(answer: CroppedMask, reference: CroppedMask, geometry: Geometry) -> CroppedMask:
    """Cut an answer to the slices, along the patient's length, from the first to the last that the reference has.

    Args:
        answer: on the grid of the reference.
        reference: not empty.
        geometry: of the grid.
    """
    axis, _ = long_axis(geometry)
    drawn, first = reference.box[axis], answer.start[axis]
    # Of the answer's box; beyond its ends there is nothing to cut.
    kept = slice(max(0, drawn.start - first), max(0, drawn.stop - first))
    index = tuple(kept if n == axis else slice(None) for n in range(3))
    k, j, i = (start + (kept.start if n == axis else 0) for n, start in enumerate(answer.start))
    part = answer.array[index]
    if not part.any():
        return CroppedMask((0, 0, 0), answer.array[:0, :0, :0], answer.shape)
    return CroppedMask.from_box(part, (k, j, i), answer.shape)
