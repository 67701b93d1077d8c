"""From the text in the prompt box to prompts."""

from __future__ import annotations

_SEPARATORS = ",;"
_BRACKETS = {"(": ")", "[": "]"}
# The apostrophe is none of them: Morison's pouch.
_QUOTES = {'"': '"', "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}"}


def split_prompts(text: str) -> tuple[str, ...]:
    """Split a text into prompts, one a line or several separated by commas or semicolons.

    Commas in brackets or in a quoted prompt stay where they are; the quotes around a prompt go. A bracket or quote
    that is not closed in its line is a character like any other. Empty prompts are left out, and so is a prompt that
    was there before but for blanks and upper and lower case; the order is kept.

    Args:
        text: what was typed.
    """
    prompts: dict[str, str] = {}
    for line in text.splitlines():
        for part in _split_line(line):
            prompt = " ".join(_unquoted(part.strip()).split())
            if prompt:
                prompts.setdefault(prompt_key(prompt), prompt)
    return tuple(prompts.values())


def prompt_key(prompt: str) -> str:
    """Return what equal prompts have in common: blanks and upper and lower case make no difference."""
    return " ".join(prompt.casefold().split())


def _split_line(line: str) -> list[str]:
    parts, begin, position = [], 0, 0
    while position < len(line):
        if line[position] in _SEPARATORS:
            parts.append(line[begin:position])
            begin = position + 1
        position = max(position, _closing(line, position)) + 1
    return [*parts, line[begin:]]


def _closing(line: str, position: int) -> int:
    """Return where the bracket or quote that opens here is closed, -1 where none opens or it stays open."""
    opening = line[position]
    if opening in _QUOTES:
        # Within a word it stands for inches or seconds.
        return line.find(_QUOTES[opening], position + 1) if not line[:position].rstrip().endswith(_WORD_END) else -1
    if opening not in _BRACKETS:
        return -1
    depth = 0
    for index in range(position, len(line)):
        depth += (line[index] == opening) - (line[index] == _BRACKETS[opening])
        if depth == 0:
            return index
    return -1


def _unquoted(part: str) -> str:
    if len(part) > 1 and _QUOTES.get(part[0]) == part[-1] and part.count(part[-1]) == 1 + (part[0] == part[-1]):
        return part[1:-1]
    return part


_WORD_END = tuple("0123456789")
