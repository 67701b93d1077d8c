"""The structures that OpenVocabCT knows by name, read from the files in ``structures/``.

Those files are written and reviewed by people.  ``structures.json`` holds the same entries in the form that loads
fastest, because start-up waits for it; ``python -m OpenVocabCTLib.prompts.compiling`` makes it from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

from OpenVocabCTLib.prompts.concepts import REGIONS, Concept, Side
from OpenVocabCTLib.prompts.expansion import expand_entry

__all__ = ["COMPILED_FILE", "REGIONS", "Concept", "Side", "Vocabulary", "expand_entry"]

COMPILED_FILE = Path(__file__).with_name("structures.json")


class Vocabulary:
    """An ordered collection of concepts.

    Args:
        concepts: the concepts, with unique ids.

    Raises:
        ValueError: two concepts share an id, or a concept refers to one that is not among them.
    """

    def __init__(self, concepts: tuple[Concept, ...]) -> None:
        self._by_id = {concept.id: concept for concept in concepts}
        if len(self._by_id) != len(concepts):
            ids = [concept.id for concept in concepts]
            raise ValueError(f"concept ids used twice: {sorted({i for i in ids if ids.count(i) > 1})}")
        for concept in concepts:
            referred = (*concept.members, *concept.part_of, *concept.parts, concept.mirror or concept.id)
            unknown = [i for i in referred if i not in self._by_id]
            if unknown:
                raise ValueError(f"{concept.id} refers to unknown concepts {unknown}")

    @classmethod
    def load(cls) -> Vocabulary:
        """Return the bundled vocabulary; it is read once and shared, because it does not change."""
        return _load_bundled()

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read compiled entries: a JSON list of mappings in the format that ``structures/README.md`` explains."""
        entries = json.loads(path.read_text(encoding="utf-8"))
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
        """Return every way to write the concept in English and Latin, its name first."""
        return (concept.name, *concept.synonyms)

    def leaves(self, concept: Concept) -> tuple[Concept, ...]:
        """Return the single structures that make up the concept, each once; itself when it has no members."""
        if not concept.members:
            return (concept,)
        found: dict[str, Concept] = {}
        for member in concept.members:
            found.update((leaf.id, leaf) for leaf in self.leaves(self.get(member)))
        return tuple(found.values())

    def pair_of(self, concept: Concept) -> Concept | None:
        """Return the group of this concept and its mirror, None where there is none."""
        return None if concept.mirror is None else self._pairs.get(frozenset({concept.id, concept.mirror}))

    @cached_property
    def _pairs(self) -> dict[frozenset[str], Concept]:
        return {frozenset(concept.members): concept for concept in self if len(concept.members) == 2}


@lru_cache(maxsize=1)
def _load_bundled() -> Vocabulary:
    return Vocabulary.from_file(COMPILED_FILE)
