"""Names of known structures that look like what was typed, for "did you mean"."""

from __future__ import annotations

from difflib import SequenceMatcher

from OpenVocabCTLib.prompts.laterality import SidedWords
from OpenVocabCTLib.prompts.matching import PhraseIndex, canonical

_MOST = 3
_LONGEST_WORD = 24
_MOST_WORDS = 5
_LIKE = 0.75


def suggestions(sided: SidedWords, index: PhraseIndex) -> tuple[str, ...]:
    """Return names that differ from the words by one word that looks alike, the most alike first.

    Nothing is ever done with them but showing them; the words may have more mistakes than would be corrected.
    """
    core = canonical(sided.words)
    unknown = [word for word in core if not index.knows(word)]
    if len(core) > _MOST_WORDS or len(unknown) != 1 or len(unknown[0]) > _LONGEST_WORD:
        return ()
    (wrong,) = unknown
    alike: dict[str, float] = {}
    for known in index.words_near(wrong):
        ratio = SequenceMatcher(None, wrong, known, autojunk=False).ratio()
        if ratio < _LIKE:
            continue
        words = tuple(known if word == wrong else word for word in core)
        match = index.find(SidedWords(sided.sides, words, ""))
        if match is not None:
            alike[match.concept.name] = max(ratio, alike.get(match.concept.name, 0.0))
    return tuple(sorted(alike, key=lambda name: (-alike[name], name))[:_MOST])
