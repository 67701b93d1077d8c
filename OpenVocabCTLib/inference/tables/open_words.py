"""Words that are not in the table: a map from text embeddings to class vectors, and when it may be used.

Every class has several phrases (its name and synonyms) and one vector.  A kernel ridge regression from phrase
embeddings to vectors (with its class's bias as one more component) gives a query for any text.  How much that is worth
is measured by leaving every class out and predicting its vector from its name alone; where the measure is bad, new
structures are refused, and only other words for known structures are answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from OpenVocabCTLib.models.tables import OpenWordsConfig

# Cosine similarities of sentence embeddings differ by about as much within a topic.
_KERNEL_WIDTH = 0.3
# A predicted vector of which half points elsewhere finds other structures.
_GOOD_COSINE = 0.5
_ENOUGH_CLASSES = 5
_PRECISION = 0.95
_THRESHOLDS = tuple(round(0.7 + 0.05 * step, 2) for step in range(6))
# The same words in another spelling; nothing else comes as near, whatever the classes are.
_NEARLY_IDENTICAL = 0.99
# Among few classes nearly every synonym finds its own, because there is nothing else to find; that says nothing of the
# texts that name what is no class.
_MANY_CLASSES = 50
_MANY_SYNONYMS = 60
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Phrases:
    """What the classes of one network are called.

    Attributes:
        embeddings: (N, T) unit-length text embeddings.
        classes: (N,) class of each phrase; the first phrase of a class is its name.
        sides: (N,) 1 for phrases of the patient's left, -1 for the right, 0 for no side.
    """

    embeddings: Floats
    classes: NDArray[np.int64]
    sides: NDArray[np.int64]

    def without(self, index: int) -> Phrases:
        """All phrases but those of one class."""
        kept = self.classes != index
        return Phrases(self.embeddings[kept], self.classes[kept], self.sides[kept])

    def nearest(self, text: Floats, side: int) -> tuple[float, list[int]]:
        """How similar a text is to the nearest phrase of its side, and the classes in order of similarity."""
        similarity = np.where(self.sides == side, self.embeddings @ text, -1.0)
        order = list(dict.fromkeys(self.classes[np.argsort(-similarity)].tolist()))
        return float(similarity.max(initial=-1.0)), order


class TextMap:
    """Kernel ridge regression from text embeddings to class vectors.

    Args:
        phrases: of the classes.
        vectors: (C, V) vector of each class, for example its weights and bias.
        ridge: penalty.
    """

    def __init__(self, phrases: Phrases, vectors: Floats, ridge: float) -> None:
        self._phrases = phrases
        known = np.unique(phrases.classes)
        self.mean: Floats = vectors[known].mean(0)
        kernel = _kernel(phrases.embeddings, phrases.embeddings)
        targets = (vectors - self.mean)[phrases.classes]
        self._weights = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), targets.astype(np.float64))

    def __call__(self, text: Floats) -> Floats:
        """(T,) unit-length text embedding -> (V,) vector."""
        kernel = _kernel(text[None], self._phrases.embeddings)[0]
        return np.asarray(self.mean + kernel @ self._weights, np.float32)


def _kernel(one: Floats, other: Floats) -> NDArray[np.float64]:
    return np.exp((one.astype(np.float64) @ other.T.astype(np.float64) - 1.0) / _KERNEL_WIDTH)


@dataclass(frozen=True)
class LeftOut:
    """A class whose vector was predicted by a map that did not know it.

    Attributes:
        index: the class.
        cosine: between true and predicted vector, both without the mean of the other classes, of which every map knows.
        similarity: of its name with the nearest phrase of another class.
        vector: as predicted.
    """

    index: int
    cosine: float
    similarity: float
    vector: Floats


def leave_classes_out(phrases: Phrases, vectors: Floats, ridge: float) -> list[LeftOut]:
    """Predict every class that has a phrase from all others; nothing where there are fewer than three."""
    every = np.unique(phrases.classes).tolist()
    found = []
    for index in every if len(every) > 2 else []:
        others = phrases.without(index)
        place = int(np.flatnonzero(phrases.classes == index)[0])
        name = phrases.embeddings[place]
        text_map = TextMap(others, vectors, ridge)
        vector = text_map(name)
        cosine = _cosine(vectors[index] - text_map.mean, vector - text_map.mean)
        similarity = float((others.embeddings @ name).max())
        found.append(LeftOut(index, cosine, similarity, vector))
    return found


def _cosine(one: Floats, other: Floats) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 0 else 0.0


def calibrated(
    config: OpenWordsConfig, networks: Sequence[tuple[Phrases, Floats]], left_out: Sequence[Sequence[LeftOut]]
) -> OpenWordsConfig:
    """Choose from which similarity on other words are answered.

    Args:
        config: its ``ridge`` is kept.
        networks: phrases and class vectors of each network.
        left_out: what ``leave_classes_out`` found for each network.

    Returns:
        ``same_as``: where at least 95% of synonyms, each left out, find their own class, nearly 1 where there are too
        few classes or synonyms to measure it; ``near``: where classes that were left out had a mean cosine of at least
        0.5, at least five of them; above 1 where there is no such place.
    """
    every = [one for network in left_out for one in network]
    means = tuple(float(np.mean([one.cosine for one in network])) if network else 0.0 for network in left_out)
    pairs = [pair for phrases, _ in networks for pair in _synonyms_left_out(phrases)]
    classes = sum(len(np.unique(phrases.classes)) for phrases, _ in networks)
    same_as = max(_same_as(pairs), least_same_as(classes))
    near = next((s for s in _THRESHOLDS if _is_good([one.cosine for one in every if one.similarity >= s])), 2.0)
    return replace(config, same_as=same_as, near=near, left_out=means)


def least_same_as(classes: int) -> float:
    """From which similarity on a model of so many classes may read other words as one of them, at least."""
    return 0.0 if classes >= _MANY_CLASSES else _NEARLY_IDENTICAL


def _same_as(pairs: Sequence[tuple[float, bool]]) -> float:
    for threshold in _THRESHOLDS:
        right = [one for similarity, one in pairs if similarity >= threshold]
        if len(right) >= _MANY_SYNONYMS and _share(right) >= _PRECISION:
            return threshold
    return _NEARLY_IDENTICAL


def _is_good(cosines: Sequence[float]) -> bool:
    return len(cosines) >= _ENOUGH_CLASSES and float(np.mean(cosines)) >= _GOOD_COSINE


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _synonyms_left_out(phrases: Phrases) -> list[tuple[float, bool]]:
    """Similarity of every phrase to the nearest other one of its side, and whether that is of the same class."""
    similarity = phrases.embeddings @ phrases.embeddings.T
    np.fill_diagonal(similarity, -1.0)
    similarity = np.where(phrases.sides[:, None] == phrases.sides[None], similarity, -1.0)
    best = similarity.argmax(1)
    places = np.arange(len(best))
    right = phrases.classes[best] == phrases.classes
    # A class with one phrase cannot be found without it.
    several = np.bincount(phrases.classes)[phrases.classes] > 1
    return [(float(similarity[p, best[p]]), bool(right[p])) for p in places[several]]
