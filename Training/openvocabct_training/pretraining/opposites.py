"""The opposite of a caption, as a negative that differs in what counts and not in what is talked about."""

from __future__ import annotations

import re
from collections.abc import Callable

_DENIAL = re.compile(r"^(?:there (?:is|are) )?no (?:evidence |signs? )?(?:of )?", re.IGNORECASE)
# These compare with an earlier scan: "There is longer ..." would be nonsense, and its opposite may be as true.
_COMPARISON = re.compile(r"^(?:there (?:is|are) )?no (?:longer|(?:interval )?changes?)\b", re.IGNORECASE)
# Pairs of words of which a statement may hold one: the first rule that applies makes the opposite.
_SWAPPED = (
    ("is not enlarged", "is enlarged"),
    ("enlarged", "of normal size"),
    ("unremarkable", "abnormal"),
    ("normal", "abnormal"),
    ("small", "large"),
    ("very low", "very high"),
    ("hypodense", "hyperdense"),
    ("low attenuation", "high attenuation"),
    ("left", "right"),
    ("upper", "lower"),
    ("clear", "opacified"),
)
# "Clear" is normal where it says how something is, not in "a clear increase".
_NORMAL = re.compile(
    r"\b(?:normal|unremarkable|clear(?=\s*(?:$|[.,;:!]|and\b|of\b|bilaterally\b))|patent|intact|no)\b", re.IGNORECASE
)
_ABNORMAL = re.compile(r"\babnormal\b", re.IGNORECASE)
# The words of a normal finding in one that is none: "larger than normal", "above normal limits", "not clear".
_DEPARTURE = re.compile(
    r"\b(?:(?:not|no longer) (?:\w+ ){0,2}?(?:normal|unremarkable|clear|patent|intact)"
    r"|(?:than|above|below|beyond|exceeds?|exceeding) (?:\w+ ){0,2}?normal)\b",
    re.IGNORECASE,
)


def opposite(text: str, denied: bool | None = None) -> str | None:
    """Return the opposite statement, None where the rules know none.

    Args:
        text: one or more sentences; the first in which a rule applies is turned round.
        denied: whether the text denies a finding; None: it may or may not.
    """
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    for place, sentence in enumerate(sentences):
        turned = _turned(sentence, denied)
        if turned is not None:
            return " ".join((*sentences[:place], turned, *sentences[place + 1 :]))
    return None


def _turned(sentence: str, denied: bool | None) -> str | None:
    if _COMPARISON.match(sentence) or _DEPARTURE.search(sentence):
        return None
    if denied is not False:
        match = _DENIAL.match(sentence)
        if match:
            rest = sentence[match.end() :].lstrip()
            return f"There is {rest}" if rest else None
    if re.match(r"there (?:is|are) ", sentence, re.IGNORECASE):
        return "There is no " + re.sub(r"^there (?:is|are) (?:an? )?", "", sentence, flags=re.IGNORECASE)
    for one, other in _SWAPPED:
        for said, turned in ((one, other), (other, one)):
            found = re.search(rf"\b{said}\b", sentence, re.IGNORECASE)
            if found:
                return sentence[: found.start()] + _cased(found[0], turned) + sentence[found.end() :]
    return None


def _cased(like: str, text: str) -> str:
    change: Callable[[str], str] = str.capitalize if like[:1].isupper() else str
    return change(text)


def is_normal(statements: list[tuple[str, str]]) -> bool:
    """Say whether all statements about an organ, (text, polarity), call it normal or deny something."""
    return bool(statements) and all(
        polarity == "absent" or (polarity == "present" and _calls_normal(text)) for text, polarity in statements
    )


def _calls_normal(text: str) -> bool:
    return bool(_NORMAL.search(text)) and not (_ABNORMAL.search(text) or _DEPARTURE.search(text))
