"""``openvocabct prompts``: how texts are understood, without a CT."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from OpenVocabCTLib.commands.options import JsonOption, ModelOption
from OpenVocabCTLib.commands.results import NOTHING, code_record
from OpenVocabCTLib.commands.terminal import print_json, print_table

if TYPE_CHECKING:
    from OpenVocabCTLib.prompts import Concept, Prompt, Vocabulary

TRAINED, RELATED, UNTESTED = "trained", "related", "untested"


def prompts(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help='Prompts, for example "lt parotid".')],
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how texts are understood.

    Structure, side, code, and what the model knows of it. trained: it learned all of it, from enough scans; related: a
    part of it, its other side, or a group it belongs to; untested: none of these.
    """
    from OpenVocabCTLib.models.checkpoints import read_config, resolve
    from OpenVocabCTLib.models.config import answered_concepts
    from OpenVocabCTLib.prompts import PromptSet, Vocabulary

    parsed = PromptSet.parse(texts)
    vocabulary = Vocabulary.load()
    folder = resolve(model)
    trained = answered_concepts(read_config(folder))
    records = [prompt_record(prompt, vocabulary, trained) for prompt in parsed]
    if as_json:
        print_json({"model": folder.resolve().name, "prompts": records})
        return
    rows = [
        (
            record["prompt"],
            record["name"] or ("free text" if record["match"] == "free" else NOTHING),
            record["side"] or NOTHING,
            _code_text(record["code"]),
            record["training"] or NOTHING,
            record["note"],
        )
        for record in records
    ]
    print_table(("prompt", "understood as", "side", "code", "model", ""), rows)


def prompt_record(prompt: Prompt, vocabulary: Vocabulary, trained: Collection[str]) -> dict[str, Any]:
    """Describe one prompt for ``--json``.

    Args:
        prompt: what was understood.
        vocabulary: where its concept comes from.
        trained: ids of the concepts that the model was trained on.
    """
    concept = prompt.concept
    return {
        "prompt": prompt.label,
        "match": prompt.match,
        "canonical": concept.id if concept else None,
        "name": concept.name if concept else None,
        "side": concept.side.value if concept else None,
        "structures": [leaf.id for leaf in vocabulary.leaves(concept)] if concept else [],
        "code": code_record(concept.terminology) if concept else None,
        "region": list(concept.region) if concept else [],
        "training": training_status(prompt, vocabulary, trained),
        "note": prompt.note,
    }


def training_status(prompt: Prompt, vocabulary: Vocabulary, trained: Collection[str]) -> str | None:
    """Say what a model knows of a prompt: "trained", "related" or "untested"; None where it names nothing."""
    if prompt.match in ("unclear", "nothing"):
        return None
    if prompt.concept is None:
        return UNTESTED
    leaves = [leaf.id for leaf in vocabulary.leaves(prompt.concept)]
    if prompt.concept.id in trained or all(leaf in trained for leaf in leaves):
        return TRAINED
    neighbours = {*leaves, prompt.concept.mirror, *_groups_of(prompt.concept, vocabulary)}
    return RELATED if neighbours.intersection(trained) else UNTESTED


def _groups_of(concept: Concept, vocabulary: Vocabulary) -> set[str]:
    return {
        group.id
        for group in vocabulary
        if group.members and concept.id in {leaf.id for leaf in vocabulary.leaves(group)}
    }


def _code_text(code: dict[str, str] | None) -> str:
    if code is None:
        return NOTHING
    modifier = f", {code['modifier']}" if "modifier" in code else ""
    return f"{code['scheme']} {code['value']} {code['meaning']}{modifier}"
