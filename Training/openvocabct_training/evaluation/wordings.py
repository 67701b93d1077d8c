"""What is asked besides preferred names: other wordings, and prompts that must not be answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from OpenVocabCTLib.prompts.vocabulary import Concept, Side, Vocabulary

# Five wordings each that every version of this evaluation asks; ``lowest_paraphrase_dice`` is over these.
PARAPHRASES: Mapping[str, tuple[str, ...]] = {
    "left_parotid_gland": (
        "left parotid gland", "parotid gland on the left", "L parotid", "Parotid_L", "please outline the left parotid",
    ),
    "spinal_cord": ("spinal cord", "medulla spinalis", "SpinalCord", "the cord", "segment the spinal cord"),
    "mandible": ("mandible", "lower jaw", "jaw bone", "mandibula", "mandibular bone"),
}  # fmt: skip

CURATED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "brainstem": {
        "synonym": ("brain stem", "midbrain, pons and medulla", "stem of the brain"),
        "abbreviation": ("BrainStem", "BStem"),
        "latin": ("truncus encephali", "truncus cerebri"),
    },
    "spinal_cord": {
        "synonym": ("the cord", "spinal marrow", "nerve tissue inside the spinal canal"),
        "abbreviation": ("SpinalCord", "Cord_Spinal"),
        "latin": ("medulla spinalis", "myelon"),
    },
    "left_parotid_gland": {
        "synonym": ("parotid gland on the left", "parotid of the left side", "left salivary gland in front of the ear"),
        "abbreviation": ("L parotid", "Parotid_L", "lt parotid gland"),
        "latin": ("glandula parotis sinistra", "parotis sinistra"),
    },
    "right_parotid_gland": {
        "synonym": ("parotid gland on the right", "parotid of the right side", "right salivary gland before the ear"),
        "abbreviation": ("R parotid", "Parotid_R", "rt parotid gland"),
        "latin": ("glandula parotis dextra", "parotis dextra"),
    },
    "esophagus": {
        "synonym": ("oesophagus", "gullet", "food pipe", "tube that carries food to the stomach"),
        "abbreviation": ("Esoph", "oesoph"),
        "latin": ("œsophagus",),
    },
    "larynx": {
        "synonym": ("voice box", "organ of voice", "larynx with the vocal cords"),
        "abbreviation": ("Larynx_OAR", "LARYNX"),
    },
    "mandible": {
        "synonym": ("lower jaw", "jaw bone", "mandibular bone", "bone that carries the lower teeth"),
        "abbreviation": ("Bone_Mandible", "mand"),
        "latin": ("mandibula", "os mandibulae"),
    },
}
# Not among the sentences that training uses.
SENTENCES = (
    "please outline the {}", "can you show me the {} in this scan?", "I would like to contour the {}",
)  # fmt: skip
SYNONYMS_ASKED = 4

ABSENT_IN_HEAD_AND_NECK = (
    "liver", "left_kidney", "right_kidney", "urinary_bladder", "spleen", "left_femur", "prostate",
)  # fmt: skip
# Asked where the scan cannot show the part of the body that they lie in.
OUT_OF_VIEW = (
    *ABSENT_IN_HEAD_AND_NECK, "pancreas", "gallbladder", "stomach", "sacrum", "heart", "left_lung", "right_lung",
    "brainstem", "mandible", "left_parotid_gland",
)  # fmt: skip
# Nobody has these; situs inversus, which mirrors them, is in about one of 10,000 people.
WRONG_SIDE = ("right spleen", "left gallbladder", "left appendix", "right-sided descending colon", "left-sided cecum")
# None of these is among the phrases that training calls nonsense.
NONSENSE = (
    "seven wooden spoons", "the price of tomatoes", "an old bicycle bell", "a letter from my aunt", "kitchen cupboard",
    "xqzvk", "next Tuesday afternoon", "two tickets to the theatre",
)  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """One way to ask for a concept.

    Attributes:
        kind: "synonym", "abbreviation", "latin", "typo" or "sentence".
        text: what is typed.
    """

    kind: str
    text: str


def wordings(concept: Concept, vocabulary: Vocabulary) -> tuple[Wording, ...]:
    """Return how a concept is asked for besides its name; the same on every call.

    Concepts without a curated list have a few synonyms of the vocabulary instead.
    """
    curated = CURATED.get(concept.id) or {"synonym": _spread(vocabulary.phrases(concept)[1:], SYNONYMS_ASKED)}
    chosen = [Wording(kind, text) for kind, texts in curated.items() for text in texts]
    chosen += [Wording("typo", text) for text in typos(concept.name)]
    chosen += [Wording("sentence", sentence.format(concept.name)) for sentence in SENTENCES]
    known = {wording.text for wording in chosen} | {concept.name}
    chosen += [Wording("synonym", text) for text in PARAPHRASES.get(concept.id, ()) if text not in known]
    return tuple(chosen)


def typos(name: str) -> tuple[str, ...]:
    """Return two slips of the finger in the longest word of a name: neighbours swapped, a letter left out.

    A word that names a side is left alone: what becomes of a misspelt side is a matter of the parser's own tests.
    """
    words = name.split()
    places = [n for n, word in enumerate(words) if word not in {Side.LEFT.value, Side.RIGHT.value} and len(word) > 4]
    if not places:
        return ()
    place = max(places, key=lambda n: len(words[n]))
    word = words[place]
    middle = next((n for n in range(len(word) // 2, len(word) - 1) if word[n] != word[n + 1]), 1)
    swapped = word[:middle] + word[middle + 1] + word[middle] + word[middle + 2 :]
    shorter = word[:middle] + word[middle + 1 :]
    return tuple(
        " ".join([*words[:place], wrong, *words[place + 1 :]]) for wrong in (swapped, shorter) if wrong != word
    )


def out_of_view(rules_out: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[Concept]:
    """Return the concepts of `OUT_OF_VIEW` that lie only in regions that a scan cannot show."""
    for concept_id in OUT_OF_VIEW:
        concept = vocabulary.get(concept_id)
        if rules_out and set(concept.region) <= set(rules_out):
            yield concept


def _spread(phrases: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return ``count`` phrases from all over a list."""
    if len(phrases) <= count:
        return phrases
    return tuple(phrases[n * len(phrases) // count] for n in range(count))
