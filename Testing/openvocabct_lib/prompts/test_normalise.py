"""Making text safe, and reducing spelling to one form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from OpenVocabCTLib.prompts.normalise import (
    LABEL_LENGTH,
    canonical_word,
    is_plural,
    make_label,
    sanitise,
    split_camel_case,
    strip_command,
    tokens,
)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("  left \t\n kidney ", "left kidney"),
        ("\x1b[31mliver\x1b[0m", "liver"),
        ("\x1b]0;title\x07liver", "liver"),
        ("\x9b1mliver", "liver"),
        ("\x1b[31", ""),
        ("\u202eliver\u202c", "liver"),
        ("li\u200bver\ufeff", "liver"),
        ("liver\x00\x07", "liver"),
        ("a\u2028b", "a b"),
        ("lung\ud800", "lung"),
        ("Œsophagus", "Œsophagus"),
        ("肝臓", "肝臓"),
    ],
)
def test_sanitise_keeps_only_what_can_be_seen(typed: str, shown: str) -> None:
    assert sanitise(typed) == shown


def test_label_is_cut_with_an_ellipsis() -> None:
    label = make_label("kidney " * 50)
    assert len(label) <= LABEL_LENGTH
    assert label.endswith("…")
    assert make_label("x" * LABEL_LENGTH) == "x" * LABEL_LENGTH


@given(st.text())
def test_label_is_safe_short_and_idempotent(text: str) -> None:
    label = make_label(text)
    assert len(label) <= LABEL_LENGTH
    assert not any(unicodedata.category(character)[0] == "C" for character in label)
    assert make_label(label) == label
    label.encode("utf-8")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Left-Kidney, (the)!", ("left", "kidney", "the")),
        ("Parotid_L", ("parotid", "l")),
        ("T-12", ("t12",)),
        ("L 5", ("l5",)),
        ("L 5 vertebra", ("l5", "vertebra")),
        ("rib L 5", ("rib", "l", "5")),
        ("Rib05_L", ("rib", "05", "l")),
        ("L-spine", ("lumbar", "spine")),
        ("\uff2c\uff29\uff36\uff25\uff32", ("liver",)),  # full-width letters
        ("inferior_vena_cava", ("inferior", "vena", "cava")),
        ("fémur", ("femur",)),
        ("A_Carotid_L", ("artery", "carotid", "l")),
        ("a. subclavia", ("artery", "subclavia")),
        ("V. cava inferior", ("vein", "cava", "inferior")),
        ("common iliac v.", ("common", "iliac", "vein")),
        ("liver segment V.", ("liver", "segment", "v")),
        ("patient's liver", ("patient", "liver")),
        ("parotid b/l", ("parotid", "bl")),
        ("B/L kidneys", ("bl", "kidneys")),
        ("l'estomac", ("estomac",)),
        ("l\u2019\u0153il droit", ("oeil", "droit")),
        ("...", ()),
    ],
)
def test_tokens(typed: str, words: tuple[str, ...]) -> None:
    assert tokens(typed) == words


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("kidneys", "kidney"),
        ("arteries", "artery"),
        ("vertebrae", "vertebra"),
        ("femora", "femur"),
        ("masses", "mass"),
        ("oesophagus", "esophagus"),
        ("haemorrhage", "hemorrhage"),
        ("tumours", "tumor"),
        ("metastases", "metastasis"),
        ("hepatic", "liver"),
        ("twelfth", "12"),
        ("12th", "12"),
        ("05", "5"),
    ],
)
def test_spellings_of_one_word_compare_equal(word: str, same: str) -> None:
    assert canonical_word(word) == canonical_word(same) == same


@pytest.mark.parametrize("word", ["pancreas", "uterus", "pelvis", "psoas", "humerus", "pons", "abscess", "lens"])
def test_singular_words_that_look_plural_stay(word: str) -> None:
    assert canonical_word(word) == word
    assert not is_plural([word])


@pytest.mark.parametrize(
    "typed",
    [
        "please segment the left kidney",
        "Can you show me the left kidney, please?",
        "could you outline the left kidney for me",
        "I'd like to see the left kidney",
        "where is the left kidney?",
        "left kidney, thank you very much",
        "left kidney segmentation",
        "contour of the left kidney on CT",
        "left kidney",
    ],
)
def test_commands_and_courtesies_are_taken_off(typed: str) -> None:
    assert strip_command(tokens(typed)) == ("left", "kidney")


def test_segment_is_a_noun_before_a_number() -> None:
    assert strip_command(tokens("show segment IV of the liver")) == ("segment", "iv", "of", "the", "liver")
    assert strip_command(tokens("segment the liver")) == ("liver",)


@pytest.mark.parametrize(("typed", "split"), [("ParotidL", "Parotid L"), ("LKidney", "L Kidney"), ("IVC", "IVC")])
def test_camel_case_is_split(typed: str, split: str) -> None:
    assert split_camel_case(typed) == split
