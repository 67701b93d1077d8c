"""When words are the name of a class, and when they only hold it: the wall of the aorta is no aorta.

A class of a network is a name and nothing else.  A text encoder finds "stent in aorta" near to "aorta", so what a text
says beside the name has to be looked at word by word.
"""

from __future__ import annotations

import re
import unicodedata

from OpenVocabCTLib.models.tables import apart
from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.kinds import content, foreign_word
from OpenVocabCTLib.prompts.laterality import only_side, split_side
from OpenVocabCTLib.prompts.normalise import sanitise, tokens, without_articles
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

# Everything but letters, numbers, ordinary punctuation and the hyphen within a word.
_SIGN = re.compile(r"[^\w\s.,?'\"-]|(?<!\w)-|-(?!\w)")


def literal(text: str) -> str:
    """A name up to case, underscores and spaces; signs stay: "Colon_Feces" is "colon feces", "colon - feces" is not."""
    return " ".join(apart(text).lower().replace("_", " ").split())


def own_key(text: str) -> tuple[tuple[str, ...], Side]:
    """What two ways to write the same name share: "left widget", "Widget_L" and "the widgets, left"."""
    sided = split_side(without_articles(tokens(apart(text))))
    return content(sided.words), only_side(sided.sides)


def sign_in(text: str) -> str:
    """The first sign of a text that may deny, take away or list, "" for none; a text encoder does not see it."""
    plain = unicodedata.normalize("NFKC", sanitise(text)).replace("\u2019", "'").rstrip(" .!?")
    found = _SIGN.search(plain)
    return found[0] if found else ""


def telling_word(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return the word that makes a text something else than the class that it resembles, "" for none.

    Args:
        text: free text.
        nearest: the class whose name resembles it most.
        vocabulary: knows its other names.
    """
    ways = (foreign_word, word_beside, _other_number)
    return next((word for way in ways if (word := way(text, nearest, vocabulary))), "")


def word_beside(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return the first word that a text says beside the whole name of a class, "" where it does not name it."""
    said, known = own_key(text)[0], _words_of(nearest, vocabulary)
    names = [frozenset(own_key(phrase)[0]) for phrase in vocabulary.phrases(nearest)]
    if not any(name and name.issubset(said) for name in names):
        return ""
    return next((word for word in said if word not in known), "")


def _other_number(text: str, nearest: Concept, vocabulary: Vocabulary) -> str:
    """Return a number that no name of a class says: a text encoder finds one segment as good as the next."""
    known = _words_of(nearest, vocabulary)
    return next((word for word in own_key(text)[0] if word not in known and not word.isalpha()), "")


def _words_of(concept: Concept, vocabulary: Vocabulary) -> frozenset[str]:
    return frozenset(word for phrase in vocabulary.phrases(concept) for word in own_key(phrase)[0])
