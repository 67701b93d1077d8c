from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openvocabct_training import evaluation
from openvocabct_training.phrases import NAME_PROBABILITY, NON_ANATOMICAL, TEMPLATES, PhraseBook
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from Testing.openvocabct_training.toys import TEXT_DIM, HashEncoder

CONCEPTS = ("left_parotid_gland", "right_parotid_gland", "spinal_cord")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "new" / "phrases.safetensors"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


def book(vocabulary: Vocabulary, cache: Path, encoder: HashEncoder | None = None, concepts=CONCEPTS) -> PhraseBook:
    return PhraseBook(vocabulary, cache, concepts, encoder or HashEncoder())


def wordings(vocabulary: Vocabulary, concept: str) -> np.ndarray:
    texts = [
        template.format(phrase) for phrase in vocabulary.phrases(vocabulary.get(concept)) for template in TEMPLATES
    ]
    return HashEncoder().encode(texts)


def holds(rows: np.ndarray, row: np.ndarray) -> bool:
    return bool(np.abs(rows - row).max(1).min() < 2e-3)  # half precision


# The cache


def test_embeddings_are_computed_once(vocabulary: Vocabulary, cache: Path) -> None:
    first, second = HashEncoder(), HashEncoder()
    made = book(vocabulary, cache, first)
    assert cache.is_file() and first.encoded
    read = book(vocabulary, cache, second)
    assert second.encoded == []
    for concept in CONCEPTS:
        np.testing.assert_array_equal(made.name(concept), read.name(concept))


def test_a_first_run_sees_the_numbers_of_a_resumed_one(vocabulary: Vocabulary, cache: Path) -> None:
    first, second = (
        book(vocabulary, cache).nonsense(np.random.default_rng(3)),
        book(vocabulary, cache).nonsense(np.random.default_rng(3)),
    )
    np.testing.assert_array_equal(first, second)


def test_more_concepts_make_it_again(vocabulary: Vocabulary, cache: Path) -> None:
    book(vocabulary, cache)
    encoder = HashEncoder()
    more = book(vocabulary, cache, encoder, (*CONCEPTS, "liver"))
    assert "liver" in encoder.encoded
    assert holds(wordings(vocabulary, "liver"), more.name("liver"))
    again = HashEncoder()
    book(vocabulary, cache, again)
    assert again.encoded == []


def test_another_encoder_makes_it_again(vocabulary: Vocabulary, cache: Path) -> None:
    book(vocabulary, cache)
    other = HashEncoder(dim=32, fingerprint="another")
    assert book(vocabulary, cache, other).name("spinal_cord").shape == (32,)
    assert other.encoded


def test_a_damaged_file_is_made_again(vocabulary: Vocabulary, cache: Path) -> None:
    book(vocabulary, cache)
    cache.write_bytes(cache.read_bytes()[:100])
    assert book(vocabulary, cache).name("spinal_cord").shape == (TEXT_DIM,)


def test_the_whole_vocabulary_by_default(vocabulary: Vocabulary, cache: Path) -> None:
    everything = PhraseBook(vocabulary, cache, encoder=HashEncoder())
    for concept in vocabulary:
        assert np.linalg.norm(everything.name(concept.id)) == pytest.approx(1.0, abs=1e-2)


# Wordings


def test_samples_are_wordings_of_their_own_concept(vocabulary: Vocabulary, cache: Path) -> None:
    phrases, generator = book(vocabulary, cache), np.random.default_rng(0)
    for concept in CONCEPTS:
        own = wordings(vocabulary, concept)
        others = np.concatenate([wordings(vocabulary, other) for other in CONCEPTS if other != concept])
        drawn = np.stack([phrases.sample(concept, generator) for _ in range(150)])
        assert all(holds(own, row) and not holds(others, row) for row in drawn)
        # Many wordings, the preferred name most often.
        names = (np.abs(drawn - phrases.name(concept)).max(1) == 0).mean()
        assert len(np.unique(drawn, axis=0)) > 15
        assert names == pytest.approx(NAME_PROBABILITY, abs=0.15)


def test_the_name_is_what_inference_asks(vocabulary: Vocabulary, cache: Path) -> None:
    (expected,) = HashEncoder().encode(["left parotid gland"])
    np.testing.assert_allclose(book(vocabulary, cache).name("left_parotid_gland"), expected, atol=2e-3)


# Nonsense


def test_nonsense_is_no_anatomical_phrase(vocabulary: Vocabulary) -> None:
    anatomical = {
        template.format(phrase).casefold()
        for concept in vocabulary
        for phrase in vocabulary.phrases(concept)
        for template in TEMPLATES
    }
    assert not anatomical & {text.casefold() for text in NON_ANATOMICAL}
    assert len(set(NON_ANATOMICAL)) == len(NON_ANATOMICAL)


def test_nonsense_is_understood_as_no_structure() -> None:
    assert [prompt.text for prompt in PromptSet.parse(NON_ANATOMICAL) if prompt.concept is not None] == []


def test_nonsense_vectors_are_new_and_of_unit_length(vocabulary: Vocabulary, cache: Path) -> None:
    phrases, generator = book(vocabulary, cache), np.random.default_rng(0)
    anatomical = np.concatenate([wordings(vocabulary, concept) for concept in CONCEPTS])
    drawn = np.stack([phrases.nonsense(generator) for _ in range(200)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, rtol=1e-3)
    assert not any(holds(anatomical, row) for row in drawn)
    assert len(np.unique(drawn.round(4), axis=0)) > 150


def test_evaluation_asks_other_nonsense_than_training() -> None:
    assert not {text.casefold() for text in evaluation.NONSENSE} & {text.casefold() for text in NON_ANATOMICAL}
