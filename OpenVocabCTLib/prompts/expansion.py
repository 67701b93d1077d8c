"""From the entries of the data files, which write a pair or a series once, to concepts.

So left and right can never drift apart.  The format is explained in ``structures/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from OpenVocabCTLib.prompts.concepts import KINDS, LEVELS, Concept, Side
from OpenVocabCTLib.prompts.terminology import Code, Terminology
from OpenVocabCTLib.prompts.words import ORDINALS

CATEGORIES: Mapping[str, Code] = {
    "anatomy": Code("SCT", "123037004", "Anatomical Structure"),
    "tissue": Code("SCT", "85756007", "Tissue"),
    "finding": Code("SCT", "49755003", "Morphologically Altered Structure"),
    "substance": Code("SCT", "91720002", "Body Substance"),
    "substance_given": Code("SCT", "105590001", "Substance"),
    "object": Code("SCT", "260787004", "Physical object"),
}

_ORDINALS = tuple(ORDINALS)
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_NTH_SUFFIX = {1: "st", 2: "nd", 3: "rd"}
# How a sideless term of a pair becomes the phrase of one side.
_PAIR_TEMPLATES = ("{side} %s", "%s {side}", "{S} %s")

_SIDE_CODES = {Side.LEFT: Code("SCT", "7771000", "Left"), Side.RIGHT: Code("SCT", "24028007", "Right")}
_SIDE_WORDS: Mapping[Side, Mapping[str, str]] = {
    Side.LEFT: {
        **{"side": "left", "Side": "Left", "S": "L", "m": "sinister", "f": "sinistra", "n": "sinistrum"},
        **{"linke": "linke", "linker": "linker", "linkes": "linkes"},
        **{"gauche": "gauche", "gauche_f": "gauche", "izquierdo": "izquierdo", "izquierda": "izquierda"},
    },
    Side.RIGHT: {
        **{"side": "right", "Side": "Right", "S": "R", "m": "dexter", "f": "dextra", "n": "dextrum"},
        **{"linke": "rechte", "linker": "rechter", "linkes": "rechtes"},
        **{"gauche": "droit", "gauche_f": "droite", "izquierdo": "derecho", "izquierda": "derecha"},
    },
}


def expand_entry(entry: Mapping[str, Any]) -> Iterator[Concept]:
    """Yield the concepts that one entry of the data files stands for.

    Args:
        entry: mapping as written in the files.

    Yields:
        One concept for a plain entry; left, right and the group of both for a pair; these once per number or row for
        a series.

    Raises:
        KeyError: a required field is missing.
        ValueError: a kind, level or category is unknown.
    """
    for one in _series(entry):
        if one.get("pair"):
            yield from _expand_pair(one)
        else:
            yield _plain_concept(one)


def _series(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "numbers" in entry:
        extra = dict(entry.get("extra", {}))  # compiled entries have lists of pairs where the files have mappings
        for number, code in dict(entry["numbers"]).items():
            rest = {key: value for key, value in entry.items() if key != "numbers"} | {"extra": extra.get(number, [])}
            yield {key: _fill(value, _number_words(number)) for key, value in rest.items()} | {"code": code}
    elif "each" in entry:
        for row in entry["each"]:
            words = {f"{{{key}}}": value for key, value in row.items()}
            yield {key: _fill(value, words) for key, value in entry.items() if key != "each"}
    else:
        yield entry


def _number_words(number: int) -> Mapping[str, str]:
    return {
        "{n}": str(number),
        "{nn}": f"{number:02d}",
        "{nth}": f"{number}{_NTH_SUFFIX.get(number, 'th')}",
        "{ordinal}": _ORDINALS[number - 1],
        "{roman}": _ROMAN[number - 1],
    }


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
    side = Side(entry.get("side", "none"))
    return Concept(
        id=entry["id"],
        name=name,
        synonyms=_without_repeats(name, [*entry.get("synonyms", ()), *entry.get("extra", ())]),
        side=side,
        mirror=entry.get("mirror"),
        members=tuple(entry.get("members", ())),
        region=tuple(entry["region"]),
        terminology=_terminology(entry, Side(entry.get("code_side", "none"))),
        names=tuple(entry.get("names", {}).items()),
        **_facts(entry),
    )


def _expand_pair(entry: Mapping[str, Any]) -> Iterator[Concept]:
    base = entry["id"]
    terms = [entry.get("name", base.replace("_", " ")), *entry.get("terms", ())]
    templates = [template % term for term in terms for template in _PAIR_TEMPLATES]
    templates += [*entry.get("synonyms", ()), *entry.get("extra", ())]
    for side, other in ((Side.LEFT, Side.RIGHT), (Side.RIGHT, Side.LEFT)):
        words = {f"{{{key}}}": word for key, word in _SIDE_WORDS[side].items()}
        phrases = _fill(templates, words)
        sided = {key: _fill(entry[key], words) for key in ("part_of", "parts") if key in entry}
        if f"parts_{side}" in entry:  # where the sides are not alike, as the lungs
            sided["parts"] = entry[f"parts_{side}"]
        yield Concept(
            id=f"{side}_{base}",
            name=phrases[0],
            synonyms=_without_repeats(phrases[0], phrases[1:]),
            side=side,
            mirror=f"{other}_{base}",
            members=(),
            region=tuple(entry["region"]),
            terminology=_terminology(entry, side),
            names=tuple((language, _fill(name[0], words)) for language, name in entry.get("names", {}).items()),
            **_facts({**entry, **sided}),
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
    # Ranges are those of one side, and what one side is part of need not hold for both.
    shared = {key: value for key, value in entry.items() if key not in ("part_of", "parts", "volume_ml")}
    return Concept(
        id=entry["group"],
        name=name,
        synonyms=_without_repeats(name, synonyms),
        side=Side.NONE,
        mirror=None,
        members=(f"left_{entry['id']}", f"right_{entry['id']}"),
        region=tuple(entry["region"]),
        terminology=_terminology(entry, Side.NONE),
        names=tuple((language, name[1]) for language, name in entry.get("names", {}).items()),
        **_facts(shared),
    )


def _facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields that mean the same in every form of an entry."""
    kind = entry.get("kind", "")
    colour = entry.get("colour") or KINDS.get(kind) or KINDS.get(entry.get("category", ""))
    if colour is None:
        raise ValueError(f"{entry['id']} has neither a colour nor a kind that gives one")
    red, green, blue = colour
    level = entry.get("level")
    return {
        "colour": (red, green, blue),
        "kind": kind,
        "part_of": tuple(entry.get("part_of", ())),
        "parts": tuple(entry.get("parts", ())),
        "level": None if level is None else (_level(level[0]), _level(level[1])),
        "hu": _range(entry.get("hu")),
        "volume_ml": _range(entry.get("volume_ml")),
    }


def _level(name: str) -> int:
    if name not in LEVELS:
        raise ValueError(f"{name} is no level of the body: it must be one of {', '.join(LEVELS)}")
    return LEVELS[name]


def _range(values: list[float] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    low, high = values
    return float(low), float(high)


def _terminology(entry: Mapping[str, Any], side: Side) -> Terminology | None:
    code = entry.get("code")
    if code is None:
        return None
    value, meaning = code
    scheme = entry.get("code_scheme", "SCT")
    region = entry.get("code_region")
    category = entry.get("category", "anatomy")
    if category not in CATEGORIES:
        raise ValueError(f"{entry['id']} has the unknown category {category}")
    return Terminology(
        category=CATEGORIES[category],
        type=Code(scheme, str(value), meaning),
        modifier=_SIDE_CODES.get(side) if region is None else None,
        region=None if region is None else Code("SCT", str(region[0]), region[1]),
        region_modifier=None if region is None else _SIDE_CODES.get(side),
    )


def _without_repeats(name: str, phrases: Iterable[str]) -> tuple[str, ...]:
    return tuple(phrase for phrase in dict.fromkeys(phrases) if phrase != name)
