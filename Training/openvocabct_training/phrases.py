"""How prompts are worded in training: synonyms, short sentences, and phrases that name nothing anatomical."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder, TextEncoder

log = logging.getLogger(__name__)

TEMPLATES = ("{}", "segment the {}", "the {} on this CT")
NAME_PROBABILITY = 0.4

# Answers to these are always "not found".
NON_ANATOMICAL = (
    "the quick brown fox", "a red bicycle", "hello world", "lorem ipsum dolor sit amet", "my favourite song",
    "the weather tomorrow", "a wooden table", "chocolate cake", "an aeroplane in the sky", "stock market prices",
    "a cup of coffee", "the city of Paris", "quantum mechanics", "blue whale", "a football match", "train timetable",
    "the moon", "a mathematics lesson", "grocery list", "please help me", "what is your name", "nothing at all",
    "asdf qwer zxcv", "number forty two", "a dog and a cat", "piano concerto", "the president", "sunflower field",
    "computer keyboard", "open the window", "winter holidays", "a long road", "green tea", "an empty room", "jazz",
    "the lazy dog jumps", "write a poem", "translate this sentence", "fast car", "mountain river", "old castle",
    "user manual", "password", "paper airplane", "rubber duck", "yellow submarine", "a birthday party", "clouds",
)  # fmt: skip


class PhraseBook:
    """Every wording of the concepts that training asks for, with its embedding.

    Args:
        vocabulary: concepts and their synonyms.
        cache: file for the embeddings, written when it is missing, unreadable, incomplete or of another encoder.
        concepts: ids that will be asked for; all of the vocabulary's if None.
        encoder: the frozen text encoder; the default one if None.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        cache: Path,
        concepts: Iterable[str] | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        ids = [concept.id for concept in vocabulary] if concepts is None else sorted(set(concepts))
        self._phrases = {concept: vocabulary.phrases(vocabulary.get(concept)) for concept in ids}
        anatomical = [
            template.format(phrase)
            for phrases in self._phrases.values()
            for phrase in phrases
            for template in TEMPLATES
        ]
        encoder = HuggingFaceTextEncoder.default() if encoder is None else encoder
        self._bank = _cached_bank([*anatomical, *NON_ANATOMICAL], cache, encoder)
        self._nonsense = self._bank.embed(NON_ANATOMICAL)

    def sample(self, concept: str, generator: np.random.Generator) -> np.ndarray:
        """(dim,) embedding of a random wording of a concept; its preferred name is the most frequent."""
        if generator.random() < NAME_PROBABILITY:
            return self.name(concept)
        phrases = self._phrases[concept]
        phrase = phrases[generator.integers(len(phrases))]
        template = TEMPLATES[generator.integers(len(TEMPLATES))]
        return self._bank.embed([template.format(phrase)])[0]

    def name(self, concept: str) -> np.ndarray:
        """(dim,) embedding of the preferred name, which is also what inference asks for a known concept."""
        return self._bank.embed([self._phrases[concept][0]])[0]

    def nonsense(self, generator: np.random.Generator) -> np.ndarray:
        """(dim,) embedding of a phrase that names nothing in a body: a random known one or a mix of two."""
        first, second = self._nonsense[generator.integers(len(self._nonsense), size=2)]
        mixed = first + generator.random() * second
        return mixed / np.linalg.norm(mixed)


def _cached_bank(texts: Sequence[str], cache: Path, encoder: TextEncoder) -> EmbeddingBank:
    """Embeddings of ``texts``, from the cache if it holds all of them, made by this encoder."""
    bank = _read_bank(cache, encoder)
    if bank is None or bank.fingerprint != encoder.fingerprint or any(text not in bank for text in texts):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as temporary:
            EmbeddingBank.build(texts, encoder).write(temporary)
        # The file holds half precision: read it, so that the first run sees the very numbers of a resumed one.
        bank = EmbeddingBank.read(cache, encoder)
    return bank


def _read_bank(cache: Path, encoder: TextEncoder) -> EmbeddingBank | None:
    try:
        return EmbeddingBank.read(cache, encoder) if cache.is_file() else None
    except ModelError as error:
        log.warning("%s: it is made again", error.what)
        return None
