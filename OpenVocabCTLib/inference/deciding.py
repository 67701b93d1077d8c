"""From what was found for the parts of a question to its answer, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from OpenVocabCTLib.inference.answers import Answer
from OpenVocabCTLib.inference.composition import evaluate
from OpenVocabCTLib.inference.devices import memory_errors
from OpenVocabCTLib.inference.questions import Part, Question
from OpenVocabCTLib.output.masks import CroppedMask, RunMask
from OpenVocabCTLib.prompts.concepts import Side


@dataclass(frozen=True)
class Outcome:
    """What was decided for one question.

    Attributes:
        presence: probability that it is in the scan.
        reason: why it was not found, "" otherwise.
        mask: on the native grid, None where it was not found.
        missing: structures of an expression that are not in the scan, though others of it are.
    """

    presence: float
    reason: str
    mask: CroppedMask | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deciding:
    """What a decision needs from the scan.

    Attributes:
        mask_of: mask on the native grid of a part that is believed to be in the scan, None without a voxel.
        half: cuts a mask at the body's middle, see ``composition.half_of``.
        place_of: says that the scan ends before a structure begins, "" where that cannot be known.
        voxel_ml: volume of a native voxel in ml.
        min_volume_ml: masks smaller than this are not found.
    """

    mask_of: Callable[[Part], CroppedMask | None]
    half: Callable[[CroppedMask, Side], CroppedMask | None]
    place_of: Callable[[Question], str]
    voxel_ml: float
    min_volume_ml: float


def decide(question: Question, answers: Sequence[Answer], scan: Deciding) -> Outcome:
    """Decide one question.

    Args:
        question: what was asked.
        answers: one for each of its parts.
        scan: where it was looked for.

    Raises:
        ResourceError: out of memory.
    """
    if question.refusal:
        return Outcome(0.0, question.refusal, None)
    formula = question.recipe
    wanted = formula.wanted
    presence = formula.presence([answer.presence for answer in answers])
    believed = [is_believed(part, answer.presence) for part, answer in zip(question.parts, answers, strict=True)]
    if not any(believed[place] for place in wanted):
        needed = min(question.parts[place].presence_threshold for place in wanted)
        reason = f"not in this scan (presence {presence:.0%}, {needed:.0%} needed)"
        place = scan.place_of(question)
        return Outcome(presence, f"{place}: {reason}" if place else reason, None)
    with memory_errors():
        masks = [scan.mask_of(part) if sure else None for part, sure in zip(question.parts, believed, strict=True)]
        if not any(masks[place] is not None for place in wanted):
            return Outcome(presence, "no voxel is above the threshold", None)
        mask = evaluate(formula, masks, scan.half)
        missing = _missing(question, believed)
        if mask is None:
            nothing = "found, but nothing of it is left by what was asked"
            return Outcome(presence, f"{', '.join(missing)}: not in this scan" if missing else nothing, None)
        volume_ml = mask.count * scan.voxel_ml
        if volume_ml < scan.min_volume_ml:
            return Outcome(presence, f"only {volume_ml:.2f} ml, too little to be sure of", None)
        return Outcome(presence, "", RunMask.of(mask), missing)


def _missing(question: Question, believed: Sequence[bool]) -> tuple[str, ...]:
    """Structures that the user named and that are not there; that a group lacks a member says nothing unusual."""
    if question.prompt.expression is None:
        return ()
    absent = [part.wording.text for part, sure in zip(question.parts, believed, strict=True) if not sure]
    return tuple(dict.fromkeys(absent))


def is_believed(part: Part, presence: float) -> bool:
    """Whether a part counts as being in the scan."""
    return presence >= part.presence_threshold
