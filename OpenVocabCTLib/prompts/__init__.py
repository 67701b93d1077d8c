"""Prompts: the structures a person can name, and reading what was typed."""

from __future__ import annotations

from OpenVocabCTLib.prompts.expressions import Expression
from OpenVocabCTLib.prompts.parsing import Prompt, PromptSet
from OpenVocabCTLib.prompts.terminology import Code, Terminology
from OpenVocabCTLib.prompts.vocabulary import Concept, Side, Vocabulary

__all__ = ["Code", "Concept", "Expression", "Prompt", "PromptSet", "Side", "Terminology", "Vocabulary"]
