"""Prompts as people type them, with what they mean: reading the lists in ``typed/`` and judging an understanding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTLib.prompts import Prompt, Vocabulary

FOLDER = Path(__file__).with_name("typed")


@dataclass(frozen=True)
class Typed:
    text: str
    meaning: str
    must_say: bool


def read_typed(name: str) -> list[Typed]:
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.rsplit(" => ", 1) for line in lines if line and not line.startswith("#")]
    return [Typed(text, meaning.rstrip("!"), meaning.endswith("!")) for text, meaning in rows]


def understood(prompt: Prompt) -> str:
    """In the words of the lists: ids, "free", "ask" or "nothing"."""
    if prompt.concept is not None:
        return prompt.concept.id
    if prompt.expression is not None:
        return prompt.expression.formula.replace("(", "").replace(")", "")
    return {"free": "free", "unclear": "ask"}.get(prompt.match, "nothing")


def is_right(typed: Typed, prompt: Prompt) -> bool:
    answer = understood(prompt)
    if typed.meaning == "no":
        return answer in ("free", "ask", "nothing")
    return answer == typed.meaning and (not typed.must_say or bool(prompt.note))


def is_wrong_side(typed: Typed, prompt: Prompt, vocabulary: Vocabulary) -> bool:
    """Whether anything of the answer lies on a side that was not meant."""
    meant = {
        one for one in typed.meaning.replace("+", " ").replace("-", " ").replace("&", " ").split() if one in vocabulary
    }
    mirrors = {vocabulary.get(one).mirror for one in meant} - {None} - meant
    got = set() if prompt.concept is None else {prompt.concept.id}
    if prompt.expression is not None:
        got = {concept.id for concept in prompt.expression.concepts()}
    leaves = {leaf.id for one in got for leaf in vocabulary.leaves(vocabulary.get(one))}
    return bool(mirrors & leaves)
