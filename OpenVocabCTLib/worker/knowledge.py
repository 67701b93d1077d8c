"""What the worker knows without a CT: its vocabulary, its models, and how it reads prompts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from OpenVocabCTLib.prompts import Concept, Vocabulary


def vocabulary_report(model: str | None) -> dict[str, Any]:
    """List every phrase of the vocabulary, for completion.

    Args:
        model: whose training counts; None is the library's default.
    """
    from OpenVocabCTLib.prompts import Vocabulary

    return {"phrases": _phrases(Vocabulary.load(), frozenset(_trained(model)))}


def models_report() -> dict[str, Any]:
    """Describe the models that are installed; where they lie is nobody's business."""
    from OpenVocabCTLib.commands.models import model_record
    from OpenVocabCTLib.models.checkpoints import available_models

    records = [model_record(info) for info in available_models()]
    return {"models": [{name: value for name, value in record.items() if name != "folder"} for record in records]}


def prompts_report(texts: Sequence[str], model: str | None) -> dict[str, Any]:
    """Say how texts are understood, as ``openvocabct prompts --json`` does.

    Raises:
        InputError: a text is empty.
        ModelError: the model is missing.
    """
    from OpenVocabCTLib.commands.prompts import prompt_record
    from OpenVocabCTLib.models.checkpoints import resolve
    from OpenVocabCTLib.prompts import PromptSet, Vocabulary

    parsed, vocabulary, trained = PromptSet.parse(texts), Vocabulary.load(), _trained(model)
    records = [prompt_record(prompt, vocabulary, trained) for prompt in parsed]
    return {"model": resolve(model).resolve().name, "prompts": records}


def findings_report(report: str) -> dict[str, Any]:
    """Say what a radiology report finds, and what to segment to see it: ``{"prompts": [{"prompt", "sentences"}]}``.

    Raises:
        InputError: it names no finding that is there.
    """
    from OpenVocabCTLib.reports import ReportPrompts

    found = ReportPrompts.of(report)
    prompts = [{"prompt": prompt, "sentences": list(sentences)} for prompt, sentences in found.sentences.items()]
    return {"prompts": prompts, "findings": found.records()}


def _trained(model: str | None) -> dict[str, Any]:
    from OpenVocabCTLib.models.checkpoints import read_config, resolve
    from OpenVocabCTLib.models.config import answered_concepts

    return answered_concepts(read_config(resolve(model)))


@lru_cache(maxsize=4)
def _phrases(vocabulary: Vocabulary, trained: frozenset[str]) -> list[dict[str, Any]]:
    return [
        {"phrase": phrase, "name": concept.name, "trained": _is_trained(concept, vocabulary, trained)}
        for concept in vocabulary
        for phrase in vocabulary.phrases(concept)
    ]


def _is_trained(concept: Concept, vocabulary: Vocabulary, trained: Collection[str]) -> bool:
    return concept.id in trained or all(leaf.id in trained for leaf in vocabulary.leaves(concept))
