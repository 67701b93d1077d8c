"""The map from text to class vectors, and when it may not be used."""

from __future__ import annotations

import numpy as np

from OpenVocabCTLib.inference.tables.open_words import Phrases, TextMap, calibrated, leave_classes_out
from OpenVocabCTLib.models.tables import OpenWordsConfig

TEXT, VECTOR, CLASSES = 24, 6, 12


def phrases(seed: int = 0) -> Phrases:
    """Two phrases of each class that mean nearly the same."""
    rng = np.random.default_rng(seed)
    # Texts lie near each other, so that similarity says something.
    names = rng.normal(size=(CLASSES, 4)) @ rng.normal(size=(4, TEXT))
    rows = np.repeat(names, 2, axis=0) + 0.05 * rng.normal(size=(2 * CLASSES, TEXT))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Phrases(rows.astype(np.float32), np.repeat(np.arange(1, CLASSES + 1), 2), np.zeros(2 * CLASSES, int))


def learnable(known: Phrases) -> np.ndarray:
    """Class vectors that a linear map makes from the texts."""
    rng = np.random.default_rng(1)
    names = np.concatenate((np.zeros((1, TEXT), np.float32), known.embeddings[::2]))
    return (names @ rng.normal(size=(TEXT, VECTOR))).astype(np.float32)


def measured(config: OpenWordsConfig, known: Phrases, vectors: np.ndarray) -> OpenWordsConfig:
    return calibrated(config, [(known, vectors)], [leave_classes_out(known, vectors, config.ridge)])


def test_known_phrases_are_mapped_to_their_class() -> None:
    known = phrases()
    vectors = learnable(known)
    text_map = TextMap(known, vectors, 1e-6)
    for text, index in zip(known.embeddings, known.classes, strict=True):
        assert np.abs(text_map(text) - vectors[index]).max() < 0.3


def test_leaving_out_tells_a_map_from_none() -> None:
    known = phrases()
    good = measured(OpenWordsConfig(ridge=0.01), known, learnable(known))
    assert good.left_out[0] > 0.7 and good.near <= 1.0 and good.same_as <= 1.0
    random = np.random.default_rng(5).normal(size=(CLASSES + 1, VECTOR)).astype(np.float32)
    bad = measured(OpenWordsConfig(), known, random)
    assert bad.left_out[0] < 0.5 and bad.near > 1.0


def test_a_class_that_is_left_out_is_not_seen() -> None:
    known = phrases()
    vectors = learnable(known)
    changed = vectors.copy()
    changed[3] = 1000.0
    before, after = (leave_classes_out(known, one, 0.1)[2] for one in (vectors, changed))
    assert before.index == after.index == 3 and np.allclose(before.vector, after.vector)


def test_few_classes_prove_nothing() -> None:
    known = phrases()
    two = Phrases(known.embeddings[:4], known.classes[:4], known.sides[:4])
    found = measured(OpenWordsConfig(), two, learnable(known))
    assert found.near > 1.0 and found.left_out == (0.0,)


def test_only_phrases_of_the_same_side_count() -> None:
    known = phrases()
    sides = np.where(known.classes == 1, 1, -1)
    similarity, order = Phrases(known.embeddings, known.classes, sides).nearest(known.embeddings[0], -1)
    assert order[0] != 1 and similarity < 1.0
