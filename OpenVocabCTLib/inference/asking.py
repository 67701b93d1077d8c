"""How many prompts are asked at once, and above which thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.judging import wordings_of
from OpenVocabCTLib.inference.questions import Question

# In one reading of the embedding, which all of them share.
_WORDINGS_AT_ONCE = 16
# One voxel threshold for all prompts, one for each, or those of the model.
Thresholds = float | Sequence[float | None] | None


def batches(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Consecutive questions that together have few wordings, so that the memory for their logits stays bounded."""
    batch: list[Question] = []
    for question in questions:
        parts = (part for one in (*batch, question) for part in one.parts)
        if batch and len(wordings_of(parts)) > _WORDINGS_AT_ONCE:
            yield batch
            batch = []
        batch.append(question)
    if batch:
        yield batch


def one_for_each(threshold: Thresholds, count: int) -> Sequence[float | None]:
    """Return a threshold for each of ``count`` prompts, None for the model's own.

    Raises:
        InputError: there are more or fewer thresholds than prompts, or one is not between 0 and 1.
    """
    every = [threshold] * count if threshold is None or isinstance(threshold, int | float) else list(threshold)
    if len(every) != count:
        raise InputError(f"there are {len(every)} thresholds for {count} prompts", "give one for each, or one for all")
    for one in every:
        if one is not None:
            _check_threshold(one)
    return every


def _check_threshold(threshold: float) -> None:
    if not 0.0 < threshold < 1.0:
        raise InputError(f"a threshold of {threshold} is no probability", "give a number between 0 and 1")
