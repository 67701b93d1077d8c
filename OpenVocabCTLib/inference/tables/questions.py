"""What a model with class tables is asked: its classes, by the vocabulary or by their own names, and other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from OpenVocabCTLib.inference.composition import Formula
from OpenVocabCTLib.inference.questions import Part, Question, QuestionMaker, Wording, side_of
from OpenVocabCTLib.inference.tables.naming import literal, own_key, sign_in, telling_word, word_beside
from OpenVocabCTLib.inference.tables.open_words import Floats, Phrases, TextMap, least_same_as
from OpenVocabCTLib.models.class_table import ClassTable
from OpenVocabCTLib.models.tables import OWN_NAME, NetworkConfig, TableConfig, plain
from OpenVocabCTLib.prompts.kinds import told_apart
from OpenVocabCTLib.prompts.parsing import Prompt
from OpenVocabCTLib.prompts.vocabulary import Concept, Side, Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank

_PHRASES_OF_A_CLASS = 8
_NAMED = 3
_NO_COLOUR = (0, 0, 0)


@dataclass(frozen=True)
class ClassPlace:
    """Where a class is: number of the network, row of its table."""

    network: int
    row: int


def class_phrases(network: NetworkConfig, row: int, vocabulary: Vocabulary) -> tuple[tuple[str, ...], Side]:
    """What a class is called, its name first, and its side of the patient."""
    concept = network.concept_of(row)
    if concept in vocabulary:
        known = vocabulary.get(concept)
        return vocabulary.phrases(known)[:_PHRASES_OF_A_CLASS], known.side
    words = plain(network.classes[row])
    return (words,), side_of(words)


def phrases_of(network: NetworkConfig, vocabulary: Vocabulary, bank: EmbeddingBank) -> Phrases:
    """Phrases of all classes of a network but the background."""
    texts: list[str] = []
    classes: list[int] = []
    sides: list[int] = []
    for row in range(1, len(network.classes)):
        phrases, side = class_phrases(network, row, vocabulary)
        texts += phrases
        classes += [row] * len(phrases)
        sides += [int(side.sign)] * len(phrases)
    embeddings = bank.embed(texts) if texts else np.zeros((0, 1), np.float32)
    return Phrases(embeddings, np.array(classes, np.int64), np.array(sides, np.int64))


def with_biases(table: ClassTable) -> Floats:
    """(C, E + 1) vectors of the classes with their biases as one more component."""
    return np.concatenate((table.vectors.numpy(), table.biases.numpy()[:, None]), axis=1)


class TableQuestionMaker(QuestionMaker):
    """Decides which prompts a model with class tables can answer.

    Args:
        vocabulary: concepts and groups.
        bank: embeddings of the phrases of the classes.
        cases: concept id -> number of scans that the source states for it.
        config: of the model.
        tables: of its networks.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bank: EmbeddingBank,
        cases: Mapping[str, int],
        config: TableConfig,
        tables: Sequence[ClassTable],
    ) -> None:
        super().__init__(vocabulary, bank, cases, config.decision)
        self.config, self.tables = config, tables
        self.places: dict[str, ClassPlace] = {}
        self._own_names: dict[str, str] = {}
        self._own_keys: dict[tuple[tuple[str, ...], Side], str] = {}
        for number, network in enumerate(config.networks):
            for row in range(1, len(network.classes)):
                self._add(network, number, row)

    def _add(self, network: NetworkConfig, number: int, row: int) -> None:
        name, concept = network.classes[row], network.concept_of(row)
        self.places.setdefault(concept, ClassPlace(number, row))
        if concept.startswith(OWN_NAME):
            self._own_names.setdefault(literal(name), concept)
            key = own_key(name)
            # "mass" and "mass_tissue" share theirs: then only the name as it is written tells them apart. So it does
            # where signs are lost: "Brain~" is a part of the brain, "Lungs-GTV" what the tumor leaves of the lungs.
            if not key[0] or sign_in(name) or self._own_keys.setdefault(key, concept) != concept:
                self._own_keys[key] = ""

    def ask(self, prompt: Prompt) -> Question:
        """Turn one prompt into a question: a class by its own name, a known structure, or other words."""
        # Only the name as it is written: with a sign in it ("colon - feces", "!widget") the text means something else.
        own = self._own_names.get(literal(prompt.text))
        if own is not None:
            return self._own(prompt, own)
        question = super().ask(prompt)
        if question.refusal and prompt.concept is not None:
            return self._other_words(prompt, prompt.concept.name, question.refusal)
        return question

    def _own(self, prompt: Prompt, concept: str) -> Question:
        place = self.places[concept]
        name = plain(self.config.networks[place.network].classes[place.row])
        # How the vocabulary would have read it ("one segment: liver minus tumor") does not matter for a name.
        return self._one_part(replace(prompt, note=""), Wording(name, Side.NONE, concept), "")

    def _one_part(self, prompt: Prompt, wording: Wording, note: str) -> Question:
        part = Part(wording, None, self.decision.threshold, self.decision.presence_threshold)
        return Question(prompt, (part,), note=note, formula=Formula(None, part=0))

    def _free(self, prompt: Prompt, text: str) -> Question:
        sign = sign_in(prompt.text)
        if sign:
            return Question(prompt, (), f"'{sign}' is not understood here: write one name, without signs")
        own = self._own_keys.get(own_key(text))
        if own:
            return self._own(prompt, own)
        similarity, place = self.nearest(text)[0]
        if similarity >= self.decision.text_similarity:
            word = telling_word(text, self._concept(place), self.vocabulary)
            if word:
                return Question(prompt, (), told_apart(word, self._name(place)))
        if similarity >= self._same_as:
            concept = self.config.networks[place.network].concept_of(place.row)
            note = f"read as other words for {self._name(place)} (similarity {similarity:.2f}): check the result"
            return self._one_part(prompt, Wording(text, side_of(text), concept), note)
        return self._other_words(prompt, text, "names no structure that this model knows")

    def _other_words(self, prompt: Prompt, text: str, refusal: str) -> Question:
        """Answer a new structure from its words, or refuse it and name what comes nearest."""
        found = self.nearest(text)
        named = ", ".join(dict.fromkeys(self._name(place) for _, place in found[:_NAMED]))
        similarity, place = found[0]
        if similarity < self.config.open_words.near:
            return Question(prompt, (), f"{refusal}; nearest in words: {named}")
        word = word_beside(text, self._concept(place), self.vocabulary)
        if word:
            # What words say of a structure and what they say of something in it cannot be told apart by their vectors.
            return Question(prompt, (), f"{refusal}; {told_apart(word, self._name(place))}")
        note = f"guessed from words alone, nearest to {named} (similarity {similarity:.2f}): check the result"
        return self._one_part(prompt, Wording(text, side_of(text)), note)

    def _concept(self, place: ClassPlace) -> Concept:
        """What the vocabulary knows of a class; its name alone where it knows nothing."""
        network = self.config.networks[place.network]
        concept = network.concept_of(place.row)
        if concept in self.vocabulary:
            return self.vocabulary.get(concept)
        name = plain(network.classes[place.row])
        return Concept(concept, name, (), side_of(name), None, (), (), None, _NO_COLOUR)

    @cached_property
    def _same_as(self) -> float:
        """As stated, but never less than few classes justify: models of older versions state too little."""
        classes = sum(len(network.classes) - 1 for network in self.config.networks)
        return max(self.config.open_words.same_as, least_same_as(classes))

    def nearest(self, text: str) -> list[tuple[float, ClassPlace]]:
        """Classes in order of the similarity of their nearest phrase with a text, those of the text's side only."""
        embedding, side = self.bank.embed([text])[0], int(side_of(text).sign)
        found = []
        for number, phrases in enumerate(self.phrases):
            similarity = np.where(phrases.sides == side, phrases.embeddings @ embedding, -1.0)
            found += [
                (float(similarity[phrases.classes == row].max()), ClassPlace(number, int(row)))
                for row in np.unique(phrases.classes)
            ]
        return sorted(found, key=lambda one: -one[0])

    def new_query(self, text: str) -> tuple[int, Floats]:
        """Network that a new structure is asked of, that of the nearest class, and its vector with its bias."""
        place = self.nearest(text)[0][1]
        return place.network, self._maps[place.network](self.bank.embed([text])[0])

    @cached_property
    def phrases(self) -> list[Phrases]:
        """Phrases of the classes of each network."""
        return [phrases_of(network, self.vocabulary, self.bank) for network in self.config.networks]

    @cached_property
    def _maps(self) -> list[TextMap]:
        pairs = zip(self.phrases, self.tables, strict=True)
        return [TextMap(phrases, with_biases(table), self.config.open_words.ridge) for phrases, table in pairs]

    def part(self, concept: Concept) -> Part:
        """Return the query of a structure that can be asked for directly."""
        # The other side is a class like any other: the best of all classes wins anyway.
        return replace(super().part(concept), rival=None)

    def _name(self, place: ClassPlace) -> str:
        concept = self.config.networks[place.network].concept_of(place.row)
        known = concept in self.vocabulary
        return self.vocabulary.get(concept).name if known else self.config.networks[place.network].classes[place.row]
