"""Making ``structures.json`` from the files in ``structures/``: ``python -m OpenVocabCTLib.prompts.compiling``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.prompts.vocabulary import COMPILED_FILE

SOURCE_FOLDER = Path(__file__).with_name("structures")
# Their order is the order of the vocabulary.
SOURCES = (
    "head_and_neck",
    "chest",
    "abdomen",
    "pelvis",
    "bones_and_muscles",
    "whole_body",
    "lymph_nodes",
    "findings",
    "objects",
)
FACTS, LANGUAGE_NAMES = "facts", "languages"


def compile_entries(folder: Path = SOURCE_FOLDER) -> str:
    """Return the content of ``structures.json``.

    Args:
        folder: where the YAML files are.

    Raises:
        ValueError: facts or names are given for an entry that does not exist.
    """
    entries = [entry for source in SOURCES for entry in _read(folder / f"{source}.yaml")]
    facts, names = _read(folder / f"{FACTS}.yaml"), _read(folder / f"{LANGUAGE_NAMES}.yaml")
    unknown = {*facts, *names} - {entry["id"] for entry in entries}
    if unknown:
        raise ValueError(f"facts or names of unknown entries: {sorted(unknown)}")
    merged = [
        entry | facts.get(entry["id"], {}) | ({"names": names[entry["id"]]} if entry["id"] in names else {})
        for entry in entries
    ]
    # The keys of a series are numbers, which JSON cannot write.
    lines = [json.dumps(_without_number_keys(entry), ensure_ascii=False) for entry in merged]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _read(path: Path) -> Any:
    import yaml  # type: ignore[import-untyped]

    # libyaml reads ten times as fast as Python code; PyYAML comes with it nearly everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as stream:
        return yaml.load(stream, Loader=loader)


def _without_number_keys(entry: dict[str, Any]) -> dict[str, Any]:
    """Write ``numbers: {1: code}`` as ``numbers: [[1, code]]``, and the same for ``extra``."""
    return {key: list(value.items()) if key in ("numbers", "extra") else value for key, value in entry.items()}


def main() -> None:
    """Write ``structures.json``."""
    with replacing(COMPILED_FILE, ".json") as temporary:
        temporary.write_text(compile_entries(), encoding="utf-8")


if __name__ == "__main__":
    main()
