"""Structures combined: unions, exclusions, overlaps and halves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from OpenVocabCTLib.prompts.concepts import Concept, Side

Operation = Literal["union", "minus", "intersection", "half"]
_SIGNS: dict[Operation, str] = {"union": " + ", "minus": " - ", "intersection": " & "}


@dataclass(frozen=True)
class Expression:
    """Structures combined to one segment.

    Attributes:
        operation: "union" of all operands; the first "minus" all others; "intersection" of all; or the "half" of the
            only operand that lies on `side` of the patient's middle.
        operands: structures, or expressions in their turn.
        side: for "half".
    """

    operation: Operation
    operands: tuple[Concept | Expression, ...]
    side: Side = Side.NONE

    def concepts(self) -> Iterator[Concept]:
        """Yield the structures that are combined, as they stand in the text."""
        for operand in self.operands:
            if isinstance(operand, Concept):
                yield operand
            else:
                yield from operand.concepts()

    @property
    def formula(self) -> str:
        """The expression in ids, for example "liver - liver_tumor"."""
        return self._written("id")

    @property
    def in_words(self) -> str:
        """The expression in names, for example "liver - liver tumor"."""
        return self._written("name")

    def _written(self, attribute: str) -> str:
        parts = []
        for place, operand in enumerate(self.operands):
            if isinstance(operand, Concept):
                parts.append(str(getattr(operand, attribute)))
                continue
            text = operand._written(attribute)
            # From left to right, so that only what stands further right or binds otherwise needs brackets.
            plain = operand.operation == "half" or (place == 0 and self.operation == "minus")
            parts.append(text if plain else f"({text})")
        if self.operation == "half":
            return f"{parts[0]} on the {self.side.value}"
        return _SIGNS[self.operation].join(parts)


def union(operands: list[Concept | Expression]) -> Concept | Expression:
    """Combine what was named, each once; a single one stays as it is."""
    flat: list[Concept | Expression] = []
    for operand in operands:
        flat += operand.operands if isinstance(operand, Expression) and operand.operation == "union" else (operand,)
    distinct = tuple(dict.fromkeys(flat))
    return distinct[0] if len(distinct) == 1 else Expression("union", distinct)
