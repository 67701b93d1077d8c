"""The vocabulary as a terminology file of 3D Slicer.

``python -m OpenVocabCTLib.prompts.slicer_terminology FILE.term.json`` writes it; the one that the Slicer module brings
along is ``OpenVocabCT/Resources/SegmentationCategoryTypeModifier-OpenVocabCT.term.json``, and a test compares it with
the vocabulary.  Only structures with a published code are in it, each code once, with its sides as modifiers.

Format: dcmqi's ``segment-context-schema.json``, which Slicer's Terminologies module reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.prompts.concepts import Concept
from OpenVocabCTLib.prompts.terminology import Code
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

CONTEXT_NAME = "Segmentation category and type - OpenVocabCT"
_SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def terminology_context(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the content of a ``.term.json`` file."""
    categories: dict[Code, dict[Code, list[Concept]]] = {}
    for concept in vocabulary:
        if concept.terminology is not None:
            types = categories.setdefault(concept.terminology.category, {})
            types.setdefault(concept.terminology.type, []).append(concept)
    return {
        "SegmentationCategoryTypeContextName": CONTEXT_NAME,
        "@schema": _SCHEMA,
        "SegmentationCodes": {
            "Category": [
                _code(category)
                | {"showAnatomy": _has_regions(types)}
                | {"Type": [_type(code, concepts) for code, concepts in types.items()]}
                for category, types in categories.items()
            ]
        },
    }


def _has_regions(types: dict[Code, list[Concept]]) -> bool:
    """Tell whether a category holds what does not say by itself where it is, so that Slicer asks for the region."""
    concepts = (concept for every in types.values() for concept in every)
    return any(concept.terminology is not None and concept.terminology.region is not None for concept in concepts)


def _type(code: Code, concepts: list[Concept]) -> dict[str, Any]:
    """Describe one code; its modifiers are the sides that any of its concepts has."""
    plain = next((one for one in concepts if one.terminology and one.terminology.modifier is None), concepts[0])
    modifiers = {
        one.terminology.modifier: one for one in reversed(concepts) if one.terminology and one.terminology.modifier
    }
    # Where several structures share a code, none of them gives it its name.
    is_one = len([one for one in concepts if one.terminology and one.terminology.modifier is None]) <= 1
    label = {"3dSlicerLabel": plain.name} if is_one else {}
    described = _code(code) | label | {"recommendedDisplayRGBValue": list(plain.colour)}
    if modifiers:
        described["Modifier"] = [
            _code(modifier) | {"3dSlicerLabel": one.name, "recommendedDisplayRGBValue": list(one.colour)}
            for modifier, one in sorted(modifiers.items(), key=lambda item: item[0].meaning)
        ]
    return described


def _code(code: Code) -> dict[str, Any]:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value, "CodeMeaning": code.meaning}


def as_text(vocabulary: Vocabulary) -> str:
    """Return the file's text."""
    return json.dumps(terminology_context(vocabulary), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file named on the command line."""
    with replacing(Path(sys.argv[1]), ".json") as temporary:
        temporary.write_text(as_text(Vocabulary.load()), encoding="utf-8")


if __name__ == "__main__":
    main()
