"""Answers from parts, on the native grid: unions, exclusions, overlaps, and halves where no side was learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from OpenVocabCTLib.inference.answers import union
from OpenVocabCTLib.inference.embedding import VoxelEmbedding
from OpenVocabCTLib.inference.grid import to_native
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.concepts import Side
from OpenVocabCTLib.prompts.expressions import Operation

# A structure with more of its voxels than this in the middle tenth of the body is one piece, not two halves.
_MIDDLE_FRACTION = 0.5
_MIDDLE_LEFTNESS = 0.33  # within 10 mm of the body's middle, see ``inference.midline``


@dataclass(frozen=True)
class Formula:
    """How the masks of a question's parts make up its answer.

    Attributes:
        operation: as in `Expression`; None for one part.
        operands: what is combined; none for one part.
        part: index of the part in the question.
        side: of a "half".
    """

    operation: Operation | None
    operands: tuple[Formula, ...] = ()
    part: int = -1
    side: Side = Side.NONE

    @property
    def wanted(self) -> frozenset[int]:
        """Parts that can put voxels into the answer: those that are only taken away cannot."""
        if self.operation is None:
            return frozenset({self.part})
        operands = self.operands[:1] if self.operation == "minus" else self.operands
        return frozenset().union(*(operand.wanted for operand in operands))

    @property
    def halves(self) -> bool:
        """Whether anything is cut at the body's middle."""
        return self.operation == "half" or any(operand.halves for operand in self.operands)

    @property
    def alternatives(self) -> tuple[Formula, ...]:
        """What a union is made of, unions in it taken apart; of anything else, itself."""
        if self.operation != "union":
            return (self,)
        return tuple(one for operand in self.operands for one in operand.alternatives)

    def presence(self, parts: Sequence[float]) -> float:
        """Probability that there is anything to answer with: an overlap needs all of its operands, a union one.

        Args:
            parts: probability of each part of the question.
        """
        if self.operation is None:
            return parts[self.part]
        each = [operand.presence(parts) for operand in self.operands]
        return max(each) if self.operation == "union" else min(each) if self.operation == "intersection" else each[0]

    def moved(self, by: int) -> Formula:
        """The same formula for a question in which `by` parts go before."""
        if self.operation is None:
            return Formula(None, part=self.part + by)
        return Formula(self.operation, tuple(operand.moved(by) for operand in self.operands), side=self.side)


def evaluate(
    formula: Formula,
    masks: Sequence[CroppedMask | None],
    half: Callable[[CroppedMask, Side], CroppedMask | None],
) -> CroppedMask | None:
    """Combine masks, all on one grid.

    Args:
        formula: what is asked.
        masks: one per part, None where the part was not found.
        half: cuts a mask at the body's middle, see `half_of`.

    Returns:
        The answer, None where it has no voxel.
    """
    if formula.operation is None:
        return masks[formula.part]
    found = [evaluate(operand, masks, half) for operand in formula.operands]
    there = [mask for mask in found if mask is not None]
    if not there:
        return None
    if formula.operation == "union":
        return union(there)
    first = found[0]
    if first is None or (formula.operation == "intersection" and len(there) < len(found)):
        return None
    if formula.operation == "half":
        return half(first, formula.side)
    for other in found[1:]:
        if other is not None:
            first = _within(first, other, formula.operation == "intersection")
    return first if first.count else None


def blend(
    formula: Formula, probability_of: Callable[[int], np.ndarray], on_side: Callable[[Side], np.ndarray]
) -> np.ndarray:
    """Combine voxel probabilities as `evaluate` combines masks: where every part says yes or no, both agree.

    Args:
        formula: what is asked.
        probability_of: gives the probabilities of a part, (K, J, I) float32, new for every call.
        on_side: says which voxels lie on a side of the patient's middle, (K, J, I) bool.

    Returns:
        (K, J, I) float32.
    """
    if formula.operation is None:
        return probability_of(formula.part)
    result = blend(formula.operands[0], probability_of, on_side)
    if formula.operation == "half":
        result[~on_side(formula.side)] = 0.0
    for operand in formula.operands[1:]:
        other = blend(operand, probability_of, on_side)
        if formula.operation == "union":
            np.maximum(result, other, out=result)
        else:
            np.minimum(result, other if formula.operation == "intersection" else 1.0 - other, out=result)
    return result


def _within(mask: CroppedMask, other: CroppedMask, inside: bool) -> CroppedMask:
    """Keep the voxels of a mask that are inside the other, or those that are not."""
    array = np.zeros(mask.array.shape, bool)
    low = np.maximum(mask.start, other.start)
    high = np.minimum([part.stop for part in mask.box], [part.stop for part in other.box])
    if np.all(low < high):
        here, there = (
            tuple(slice(a - s, b - s) for a, b, s in zip(low, high, one.start, strict=True)) for one in (mask, other)
        )
        array[here] = other.array[there]
    return CroppedMask.from_box(mask.array & (array if inside else ~array), mask.start, mask.shape)


def half_of(mask: CroppedMask, side: Side, embedding: VoxelEmbedding) -> CroppedMask | None:
    """Return the voxels on one side of the patient's middle.

    The middle is that of ``inference.midline``, so the patient's left stays left on every grid.

    Args:
        mask: on the native grid.
        side: left or right.
        embedding: whose last channel is leftness.

    Returns:
        None where nothing lies on that side, or where the structure lies across the middle rather than on both sides
        of it, so that a cut there would mean nothing.
    """
    leftness = to_native(embedding.values[-1], embedding.offset, embedding.grid, mask.box).numpy()
    inside = leftness[mask.array]
    if inside.size and np.mean(np.abs(inside) < _MIDDLE_LEFTNESS) > _MIDDLE_FRACTION:
        return None
    kept = CroppedMask.from_box(mask.array & (leftness * side.sign > 0), mask.start, mask.shape)
    return kept if kept.count else None
