"""``openvocabct prompts``: how texts are understood, without a CT."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from OpenVocabCTLib.commands.options import JsonOption, ModelOption, typed_text
from OpenVocabCTLib.commands.results import NOTHING, code_record
from OpenVocabCTLib.commands.terminal import print_json, print_table

if TYPE_CHECKING:
    from OpenVocabCTLib.prompts import Concept, Prompt, Vocabulary

TRAINED, RELATED, UNTESTED = "trained", "related", "untested"


def prompts(
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT...", parser=typed_text, help='Prompts, for example "lt parotid".'),
    ],
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
            _understood(record),
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
    concept, expression = prompt.concept, prompt.expression
    named = list(expression.concepts()) if expression else [concept] if concept else []
    return {
        "prompt": prompt.label,
        "match": prompt.match,
        "canonical": concept.id if concept else None,
        "name": concept.name if concept else None,
        "side": concept.side.value if concept else None,
        "expression": expression.formula if expression else None,
        "structures": list(dict.fromkeys(leaf.id for one in named for leaf in vocabulary.leaves(one))),
        "kind": concept.kind if concept else None,
        "part_of": list(concept.part_of) if concept else [],
        "names": dict(concept.names) if concept else {},
        "code": code_record(concept.terminology) if concept else None,
        "region": list(dict.fromkeys(region for one in named for region in one.region)),
        "training": training_status(prompt, vocabulary, trained),
        "note": prompt.note,
        "suggestions": list(prompt.suggestions),
    }


def training_status(prompt: Prompt, vocabulary: Vocabulary, trained: Collection[str]) -> str | None:
    """Say what a model knows of a prompt: "trained", "related" or "untested"; None where it names nothing."""
    if prompt.match in ("unclear", "nothing"):
        return None
    if prompt.expression is not None:
        # An expression is known as well as the least known of its structures.
        known = [_concept_status(concept, vocabulary, trained) for concept in prompt.expression.concepts()]
        return max(known, key=(TRAINED, RELATED, UNTESTED).index)
    return UNTESTED if prompt.concept is None else _concept_status(prompt.concept, vocabulary, trained)


def _concept_status(concept: Concept, vocabulary: Vocabulary, trained: Collection[str]) -> str:
    leaves = [leaf.id for leaf in vocabulary.leaves(concept)]
    if concept.id in trained or all(leaf in trained for leaf in leaves):
        return TRAINED
    neighbours = {*leaves, *concept.parts, *concept.part_of, concept.mirror, *_groups_of(concept, vocabulary)}
    return RELATED if neighbours.intersection(trained) else UNTESTED


def _understood(record: dict[str, Any]) -> str:
    """What the table shows beside the typed text."""
    if record["match"] == "free":
        return "free text"
    return str(record["name"] or record["expression"] or NOTHING)


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
