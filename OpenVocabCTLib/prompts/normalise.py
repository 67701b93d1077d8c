"""Turning what a person typed into comparable words.

Two levels: `sanitise` and `make_label` keep the text readable but safe for terminals, files and screens; `tokens` and
`canonical_word` reduce spelling to one form, so that "Œsophagus", "oesophagus" and "ESOPHAGUS" compare equal.
Every function runs in time linear in its input.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from OpenVocabCTLib.prompts.laterality import side_of_word
from OpenVocabCTLib.prompts.words import ARTICLES, ASKING_AFTER, ASKING_BEFORE, ORDINALS, PLURALS, SAME_WORD, SPELLINGS

LABEL_LENGTH = 80
# A prompt names one structure. What is longer than this is not read further, which bounds the time for hostile input.
READ_LENGTH = 4000

_ANSI = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKEN = re.compile(r"[^\W_]+")
_COMBINING = re.compile(r"[\u0300-\u036f]+")
_WORD_THEN_NUMBER = re.compile(r"([^\W\d_]{3,})(\d{1,2})")
# "A_Femoral_L", and without underscores where no noun follows that an article could stand before.
_TG263_PREFIX = re.compile(
    r"\A(?:(a|v|glnd|musc)_|([av]) (?=(?:pulmonary|femoral|vertebral|hepatic|splenic|renal|gastric|carotid|iliac|"
    r"subclavian|axillary|brachial|mesenteric|coronary|celiac|jugular|portal)"
    r"(?:[ _](?:l|r|lt|rt|left|right|s|i|int|ext|cmn))*\Z))",
    re.IGNORECASE,
)
_TG263_MEANING = {"a": "artery", "v": "vein", "glnd": "gland", "musc": "muscle"}
# "a. subclavia", "common iliac v."; but not "liver segment V."
_LATIN_VESSEL = re.compile(r"(?<!segment )\b(?:([av])\.(?=\s|\Z)|([AV])\.(?=\s+[a-z]))")
_SPINAL_LEVEL = re.compile(r"(?:c|t|th|d|l|s)\d{1,2}")
_SPINE_SECTIONS = {"c": "cervical", "t": "thoracic", "th": "thoracic", "l": "lumbar", "s": "sacral"}
_SPINE_WORDS = frozenset({"spine", "vertebra", "vertebrae", "vertebral", "level", "body", "vb", "lumbar", "thoracic"})

# "b/l" is bilateral; read as letters it would be the left side.
_BILATERAL = re.compile(r"(?<![^\W_])b\s?[/.]\s?l(?![^\W_])", re.IGNORECASE)
# The French article of "l'estomac", which is no "l" for left.
_ELIDED_ARTICLE = re.compile(r"(?<![^\W_])l'(?=[^\W\d_])")

# "Re: parotid" is about the parotid, "re parotid" is German for the right one.
_ABOUT = re.compile(r"\A\s*re\s*:", re.IGNORECASE)
# "Patient's", but "kidney(s)" is a plural; "we're" holds no "re" for German "rechts".
_POSSESSIVE = re.compile(r"'s(?![^\W_])")
_OPTIONAL_PLURAL = re.compile(r"(?<=[^\W\d_]) ?\(s\)")
_CONTRACTED_ARE = re.compile(r"(?<=[^\W\d_])'re(?![^\W_])")
# "Rib no. 7", but not "no 7th rib" nor "no 3 cm lesion".
_NUMBER_SIGN = re.compile(r"(?<=[^\W_]) (?:no|nr|n\u00ba|n\u00b0)\.? ?(?=\d{1,2}(?![\w.,]| ?(?:mm|cm)))", re.IGNORECASE)

# Ligatures, and the typographic apostrophes.
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "\u2018": "'", "\u2019": "'", "\u02bc": "'", "`": "'"})

_KEEP_FINAL_S = ("ss", "us", "is", "as")

_NTH = re.compile(r"0*(\d{1,2})(?:st|nd|rd|th)?")

_ENDINGS = frozenset(ASKING_AFTER)
_LONGEST_ENDING = max(map(len, ASKING_AFTER))

_NUMERAL = re.compile(r"\d+|[ivx]+")


def sanitise(text: str) -> str:
    """Remove what must not reach a terminal, a file name or a layout, and collapse white space.

    Terminal escape sequences, control and format characters (bidirectional overrides, zero-width characters), lone
    surrogates and private or unassigned code points go; everything visible stays as typed.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    visible = (_visible(character) for character in _ANSI.sub("", text))
    return " ".join("".join(visible).split())


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc" or category[0] == "Z":
        return " "
    return "" if category[0] == "C" else character


def make_label(text: str) -> str:
    """Return the text sanitised and cut to `LABEL_LENGTH` characters, for lists, files and terminals."""
    label = sanitise(text[:READ_LENGTH])
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1].rstrip() + "…"


def naming_words(text: str) -> tuple[str, ...]:
    """Return the tokens of a text that can name something: without what asks, and without articles."""
    return without_articles(strip_command(tokens(text)))


def split_camel_case(text: str) -> str:
    """Return "ParotidL" as "Parotid L" and "LKidney" as "L Kidney"."""
    return _CAMEL_CASE.sub(" ", text)


def spell_bilateral(text: str) -> str:
    """Return "parotid b/l" as "parotid bl", so that its letters stay together."""
    return _BILATERAL.sub("bl", text)


def tokens(text: str) -> tuple[str, ...]:
    """Split text into lower-case words and numbers without punctuation or accents; articles are kept.

    A spinal level is one word however it is written ("T-12", "T 12"), and letters followed by a number are two
    ("Rib05" is "rib", "05").
    """
    text = _ABOUT.sub("", sanitise(text[:READ_LENGTH]), count=1)
    text = _TG263_PREFIX.sub(lambda prefix: _TG263_MEANING[(prefix[1] or prefix[2]).lower()] + " ", text, count=1)
    text = _LATIN_VESSEL.sub(lambda vessel: _TG263_MEANING[vessel[0][0].lower()] + " ", spell_bilateral(text))
    text = unicodedata.normalize("NFKC", _NUMBER_SIGN.sub(" number ", text)).casefold().translate(_LETTERS)
    text = _CONTRACTED_ARE.sub(" are", _POSSESSIVE.sub("", _OPTIONAL_PLURAL.sub("s", text)))
    text = _ELIDED_ARTICLE.sub("", text)
    if not text.isascii():
        text = _COMBINING.sub("", unicodedata.normalize("NFKD", text))
    found: list[str] = []
    for word in _TOKEN.findall(text):
        numbered = _WORD_THEN_NUMBER.fullmatch(word)
        found += numbered.groups() if numbered else (word,)
    return _join_spinal_levels(found)


def _join_spinal_levels(words: list[str]) -> tuple[str, ...]:
    """Write "l 5" as "l5" and "l spine" as "lumbar spine" before anyone reads the letter as "left"."""
    joined: list[str] = []
    about_spine = len(words) == 2 or not _SPINE_WORDS.isdisjoint(words)
    for word in words:
        before = joined[-1] if joined else ""
        if before in _SPINE_SECTIONS and word in {"spine", "vertebra", "vertebrae"}:
            joined[-1:] = [_SPINE_SECTIONS[before], word]
        elif about_spine and _SPINAL_LEVEL.fullmatch(f"{before}{word}") and before.isalpha():
            joined[-1] = before + word
        else:
            joined.append(word)
    return tuple(joined)


@lru_cache(maxsize=8192)
def canonical_word(word: str) -> str:
    """Return the form by which a token is compared: American spelling, singular, numbers without ordinal ending."""
    if word in ORDINALS:
        return ORDINALS[word]
    number = _NTH.fullmatch(word)
    if number:
        return number[1]
    for british, american in SPELLINGS.items():
        word = word.replace(british, american)
    word = _singular(SAME_WORD.get(word, word))
    return SAME_WORD.get(word, word)


def _singular(word: str) -> str:
    if word in PLURALS:
        return PLURALS[word]
    if len(word) < 4:
        return word
    if word.endswith("ae"):
        return word[:-1]
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(_KEEP_FINAL_S):
        return word[:-1]
    return word


def is_plural(words: Sequence[str]) -> bool:
    """Tell whether any of the tokens was written in the plural."""
    return any(_singular(word) != word for word in words)


def without_articles(words: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens without articles and possessives."""
    return tuple(
        word
        for place, word in enumerate(words)
        if word not in ARTICLES or (word == "a" and place and _is_letter_of(words, place))
    )


def _is_letter_of(words: Sequence[str], place: int) -> bool:
    """Tell whether an "a" belongs to what stands before it, as in "segment IV a", "renal a left", and is no article."""
    return _NUMERAL.fullmatch(words[place - 1]) is not None or all(map(side_of_word, words[place + 1 :]))


def strip_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens without what asks for the structure: "can you please show me the liver, thanks" -> "liver"."""
    start, end = 0, len(words)
    while start < end and (words[start] in ASKING_BEFORE or words[start] in ARTICLES):
        # "segment" before a number or "of" is a noun ("segment 4 of the liver", "segment of the lung").
        following = words[start + 1] if start + 1 < end else ""
        if words[start] in ("segment", "seg") and (following == "of" or _NUMERAL.fullmatch(following)):
            break
        if words[start] == "u" and following == "shaped":
            break
        start += 1
    shortened = True
    while shortened and start < end:
        shortened = False
        for length in range(min(_LONGEST_ENDING, end - start), 0, -1):
            if tuple(words[end - length : end]) in _ENDINGS:
                end -= length
                shortened = True
                break
    return tuple(words[start:end])
