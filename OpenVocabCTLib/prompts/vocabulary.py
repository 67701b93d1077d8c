"""The structures that OpenVocabCT knows by name, read from ``vocabulary.yaml``.

The data file writes a left/right pair or a numbered series (vertebrae, ribs) once; `expand_entry` turns each of its
entries into concepts, so that left and right can never drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from OpenVocabCTLib.prompts.terminology import Code, Terminology
from OpenVocabCTLib.prompts.words import ORDINALS

DATA_FILE = Path(__file__).with_name("vocabulary.yaml")
REGIONS = frozenset({"head", "neck", "chest", "abdomen", "pelvis", "arm", "leg", "whole_body"})

CATEGORIES: Mapping[str, Code] = {
    "anatomy": Code("SCT", "123037004", "Anatomical Structure"),
    "tissue": Code("SCT", "85756007", "Tissue"),
    "finding": Code("SCT", "49755003", "Morphologically Altered Structure"),
    "substance": Code("SCT", "91720002", "Body Substance"),
    "object": Code("SCT", "260787004", "Physical object"),
}

_ORDINALS = tuple(ORDINALS)
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_NTH_SUFFIX = {1: "st", 2: "nd", 3: "rd"}
# How a sideless term of a pair becomes the phrase of one side.
_PAIR_TEMPLATES = ("{side} %s", "%s {side}", "{S} %s")


class Side(StrEnum):
    """Side of the patient's body (not of the screen)."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"

    @property
    def sign(self) -> float:
        """1 for left, -1 for right, 0 for none: how the side enters the query head."""
        return {"left": 1.0, "right": -1.0}.get(self.value, 0.0)


_SIDE_CODES = {Side.LEFT: Code("SCT", "7771000", "Left"), Side.RIGHT: Code("SCT", "24028007", "Right")}
_SIDE_WORDS: Mapping[Side, Mapping[str, str]] = {
    Side.LEFT: {"side": "left", "Side": "Left", "S": "L", "m": "sinister", "f": "sinistra", "n": "sinistrum"},
    Side.RIGHT: {"side": "right", "Side": "Right", "S": "R", "m": "dexter", "f": "dextra", "n": "dextrum"},
}


@dataclass(frozen=True)
class Concept:
    """One structure, or a group of structures.

    Attributes:
        id: snake_case identifier that never changes, for example "left_parotid_gland".
        name: preferred name, for example "left parotid gland".
        synonyms: other ways to write it, in their natural spelling.
        side: side of the patient that the name fixes.
        mirror: id of the concept that a left-right reflection of the patient gives, None when there is none.
        members: ids whose union this concept is; empty for a single structure.
        region: where in the body, a subset of `REGIONS`.
        terminology: codes, None where no published code is known to fit.
        colour: display colour, red, green, blue, 0..255.
    """

    id: str
    name: str
    synonyms: tuple[str, ...]
    side: Side
    mirror: str | None
    members: tuple[str, ...]
    region: tuple[str, ...]
    terminology: Terminology | None
    colour: tuple[int, int, int]


class Vocabulary:
    """An ordered collection of concepts.

    Args:
        concepts: the concepts, with unique ids.

    Raises:
        ValueError: two concepts share an id, or a mirror or member is not among them.
    """

    def __init__(self, concepts: tuple[Concept, ...]) -> None:
        self._by_id = {concept.id: concept for concept in concepts}
        if len(self._by_id) != len(concepts):
            ids = [concept.id for concept in concepts]
            raise ValueError(f"concept ids used twice: {sorted({i for i in ids if ids.count(i) > 1})}")
        for concept in concepts:
            referred = concept.members if concept.mirror is None else (*concept.members, concept.mirror)
            unknown = [i for i in referred if i not in self._by_id]
            if unknown:
                raise ValueError(f"{concept.id} refers to unknown concepts {unknown}")

    @classmethod
    def load(cls) -> Vocabulary:
        """Return the bundled vocabulary; it is read once and shared, because it does not change."""
        return _load_bundled()

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read a vocabulary in the format that the head of the bundled ``vocabulary.yaml`` explains."""
        import yaml  # type: ignore[import-untyped]

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader is ten times faster
        with path.open(encoding="utf-8") as stream:
            # Safe: both loaders build plain data only.
            entries = yaml.load(stream, Loader=loader)["concepts"]
        return cls(tuple(concept for entry in entries for concept in expand_entry(entry)))

    def get(self, concept_id: str) -> Concept:
        """Return the concept with this id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[concept_id]

    def __contains__(self, concept_id: object) -> bool:
        return concept_id in self._by_id

    def __iter__(self) -> Iterator[Concept]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def phrases(self, concept: Concept) -> tuple[str, ...]:
        """Return every way to write the concept, its name first."""
        return (concept.name, *concept.synonyms)

    def leaves(self, concept: Concept) -> tuple[Concept, ...]:
        """Return the single structures that make up the concept, each once; itself when it has no members."""
        if not concept.members:
            return (concept,)
        found: dict[str, Concept] = {}
        for member in concept.members:
            found.update((leaf.id, leaf) for leaf in self.leaves(self.get(member)))
        return tuple(found.values())


@lru_cache(maxsize=1)
def _load_bundled() -> Vocabulary:
    return Vocabulary.from_file(DATA_FILE)


def expand_entry(entry: Mapping[str, Any]) -> Iterator[Concept]:
    """Yield the concepts that one entry of the data file stands for.

    Args:
        entry: mapping as written in ``vocabulary.yaml``.

    Yields:
        One concept for a plain entry; left, right and the group of both for a pair; these once per number for a series.
    """
    for numbered in _numbered(entry):
        if numbered.get("pair"):
            yield from _expand_pair(numbered)
        else:
            yield _plain_concept(numbered)


def _numbered(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "numbers" not in entry:
        yield entry
        return
    for number, code in entry["numbers"].items():
        words = {
            "{n}": str(number),
            "{nn}": f"{number:02d}",
            "{nth}": f"{number}{_NTH_SUFFIX.get(number, 'th')}",
            "{ordinal}": _ORDINALS[number - 1],
            "{roman}": _ROMAN[number - 1],
        }
        rest = {key: value for key, value in entry.items() if key != "numbers"}
        rest["extra"] = rest.get("extra", {}).get(number, [])
        yield {key: _fill(value, words) for key, value in rest.items()} | {"code": code}


def _fill(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for placeholder, word in words.items():
            value = value.replace(placeholder, word)
        return value
    if isinstance(value, list):
        return [_fill(item, words) for item in value]
    return value


def _plain_concept(entry: Mapping[str, Any]) -> Concept:
    name = entry.get("name", entry["id"].replace("_", " "))
    return Concept(
        id=entry["id"],
        name=name,
        synonyms=_without_repeats(name, [*entry.get("synonyms", ()), *entry.get("extra", ())]),
        side=Side(entry.get("side", "none")),
        mirror=entry.get("mirror"),
        members=tuple(entry.get("members", ())),
        region=tuple(entry["region"]),
        terminology=_terminology(entry, Side(entry.get("code_side", "none"))),
        colour=_colour(entry["colour"]),
    )


def _expand_pair(entry: Mapping[str, Any]) -> Iterator[Concept]:
    base = entry["id"]
    terms = [entry.get("name", base.replace("_", " ")), *entry.get("terms", ())]
    templates = [template % term for term in terms for template in _PAIR_TEMPLATES]
    templates += [*entry.get("synonyms", ()), *entry.get("extra", ())]
    for side, other in ((Side.LEFT, Side.RIGHT), (Side.RIGHT, Side.LEFT)):
        words = {f"{{{key}}}": word for key, word in _SIDE_WORDS[side].items()}
        phrases = _fill(templates, words)
        yield Concept(
            id=f"{side}_{base}",
            name=phrases[0],
            synonyms=_without_repeats(phrases[0], phrases[1:]),
            side=side,
            mirror=f"{other}_{base}",
            members=(),
            region=tuple(entry["region"]),
            terminology=_terminology(entry, side),
            colour=_colour(entry["colour"]),
        )
    if "group" in entry:
        yield _group_of_pair(entry, terms)


def _group_of_pair(entry: Mapping[str, Any], terms: list[str]) -> Concept:
    name = entry.get("group_name", entry["group"].replace("_", " "))
    synonyms = [
        f"both {name}",
        f"bilateral {name}",
        f"left and right {terms[0]}",
        *entry.get("group_synonyms", ()),
    ]
    return Concept(
        id=entry["group"],
        name=name,
        synonyms=_without_repeats(name, synonyms),
        side=Side.NONE,
        mirror=None,
        members=(f"left_{entry['id']}", f"right_{entry['id']}"),
        region=tuple(entry["region"]),
        terminology=_terminology(entry, Side.NONE),
        colour=_colour(entry["colour"]),
    )


def _terminology(entry: Mapping[str, Any], side: Side) -> Terminology | None:
    code = entry.get("code")
    if code is None:
        return None
    value, meaning = code
    region = entry.get("code_region")
    return Terminology(
        category=CATEGORIES[entry.get("category", "anatomy")],
        type=Code("SCT", str(value), meaning),
        modifier=_SIDE_CODES.get(side) if region is None else None,
        region=None if region is None else Code("SCT", str(region[0]), region[1]),
        region_modifier=None if region is None else _SIDE_CODES.get(side),
    )


def _colour(values: list[int]) -> tuple[int, int, int]:
    red, green, blue = values
    return red, green, blue


def _without_repeats(name: str, phrases: list[str]) -> tuple[str, ...]:
    return tuple(phrase for phrase in dict.fromkeys(phrases) if phrase != name)
