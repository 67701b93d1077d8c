"""Prompts as people type them: right often enough, and never on a side that was not meant."""

from __future__ import annotations

import pytest

from OpenVocabCTLib.prompts import PromptSet, Vocabulary
from Testing.openvocabct_lib.prompts.typed_prompts import is_right, is_wrong_side, read_typed, understood

HALVES = ("development", "held_out")
MEANINGS = {"free", "ask", "no"}


@pytest.mark.parametrize("name", HALVES)
def test_the_list_is_long_and_names_known_structures(name: str) -> None:
    vocabulary, rows = Vocabulary.load(), read_typed(name)
    assert len(rows) >= 250
    assert len({row.text for row in rows}) == len(rows)
    for row in rows:
        ids = set(row.meaning.split()) - {"+", "-", "&"} - MEANINGS
        assert all(one in vocabulary for one in ids), row


def test_the_halves_share_no_prompt() -> None:
    first, second = ({row.text.casefold() for row in read_typed(name)} for name in HALVES)
    assert not first & second


@pytest.mark.parametrize("name", HALVES)
def test_prompts_are_understood(name: str) -> None:
    rows = read_typed(name)
    prompts = PromptSet.parse([row.text for row in rows])
    wrong = [
        f"{row.text!r}: {understood(prompt)}, not {row.meaning}"
        for row, prompt in zip(rows, prompts, strict=True)
        if not is_right(row, prompt)
    ]
    assert len(wrong) <= 0.03 * len(rows), wrong


@pytest.mark.parametrize("name", HALVES)
def test_no_prompt_is_read_with_the_wrong_side(name: str) -> None:
    vocabulary, rows = Vocabulary.load(), read_typed(name)
    prompts = PromptSet.parse([row.text for row in rows])
    assert not [row.text for row, prompt in zip(rows, prompts, strict=True) if is_wrong_side(row, prompt, vocabulary)]
