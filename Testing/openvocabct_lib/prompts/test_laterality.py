"""Side words, wherever they stand and however they are written."""

from __future__ import annotations

import pytest

from OpenVocabCTLib.prompts import Side
from OpenVocabCTLib.prompts.laterality import BOTH, LEFT_ONLY, RIGHT_ONLY, UNSAID, spell_out_sides, split_side

LEFT_WORDS = ["left", "l", "lt", "sinister", "sinistra", "sinistrum", "sinistri", "sinistrae", "sin", "lfet"]
RIGHT_WORDS = ["right", "r", "rt", "dexter", "dextra", "dextrum", "dextri", "dextrae", "dext", "rihgt"]


@pytest.mark.parametrize("word", LEFT_WORDS)
def test_words_for_left(word: str) -> None:
    assert split_side(["kidney", word]).sides == {Side.LEFT} == LEFT_ONLY
    if word != "sin":  # before its noun it is Spanish, and no side
        assert split_side([word, "kidney"]).words == ("kidney",)


@pytest.mark.parametrize("words", [("sin", "kidney"), ("lungs", "sin", "the", "heart"), ("lungs", "sin", "left")])
def test_the_spanish_preposition_is_no_side(words: tuple[str, ...]) -> None:
    assert "sin" in split_side(words).words
    assert spell_out_sides(words) == words


@pytest.mark.parametrize("words", [("ren", "sin"), ("ren", "sin", "and", "dext")])
def test_the_latin_abbreviation_is_a_side(words: tuple[str, ...]) -> None:
    assert split_side(words).words == ("ren",)


@pytest.mark.parametrize("word", RIGHT_WORDS)
def test_words_for_right(word: str) -> None:
    assert split_side(["kidney", word]).sides == {Side.RIGHT} == RIGHT_ONLY


@pytest.mark.parametrize("words", [["both"], ["bilateral"], ["left", "and", "right"], ["l", "r"], ["bilat"], ["bl"]])
def test_words_for_both(words: list[str]) -> None:
    found = split_side([*words, "kidney"])
    assert (found.sides, found.words) == (BOTH, ("kidney",))


@pytest.mark.parametrize("word", ["dextrose", "dextrocardia", "sinistration", "leftover", "rights", "ll", "upright"])
def test_lookalikes_are_not_sides(word: str) -> None:
    assert split_side([word]).sides == UNSAID


def test_only_abbreviations_are_explained() -> None:
    assert split_side(["lt", "kidney"]).note == "read 'lt' as left"
    assert split_side(["left", "kidney"]).note == ""
    assert split_side(["sinister", "ren"]).note == ""


def test_abbreviations_are_spelt_out_for_the_text_encoder() -> None:
    assert spell_out_sides(["rt", "lump"]) == ("right", "lump")
