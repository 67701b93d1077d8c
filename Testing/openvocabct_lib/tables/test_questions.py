"""What a converted model is asked, with the real text encoder: a class, never what only holds the name of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from OpenVocabCTLib.inference.questions import Question
from OpenVocabCTLib.inference.tables.open_words import calibrated, leave_classes_out
from OpenVocabCTLib.inference.tables.questions import TableQuestionMaker, phrases_of, with_biases
from OpenVocabCTLib.models.class_table import ClassTable
from OpenVocabCTLib.models.converting.names import known_concepts
from OpenVocabCTLib.models.tables import InputConfig, NetworkConfig, OpenWordsConfig, TableConfig
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.text.bank import EmbeddingBank
from OpenVocabCTLib.text.encoder import HuggingFaceTextEncoder

AMOS = [
    *("background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "aorta"),
    *("postcava", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus"),
]
BONES = ["background", "femur_left", "femur_right", "hip_left", "hip_right", "sacrum"]
OWN = ["background", "liver", "aorta", "aorta_thrombus", "colon", "colon_feces", "thingamajig", "widget_L", "widget_R"]
# Near to a class in words, and another thing.
HOLDING_A_NAME = [
    "tissue around the liver",
    "stent in aorta",
    "wall of the aorta",
    "gallbladder wall",
    "gallbladder polyp",
    "small bowel obstruction",
    "half of the liver",
    "surface of the liver",
    "liver capsule",
    "liver transplant",
    "where the liver should be",
    "stomach contents",
    "spleen fluid",
    "left kidney transplant",
]


@pytest.fixture(scope="module")
def bank() -> EmbeddingBank:
    return EmbeddingBank({}, HuggingFaceTextEncoder.default())


def maker(bank: EmbeddingBank, classes: Sequence[str], words: OpenWordsConfig | None = None) -> TableQuestionMaker:
    vocabulary = Vocabulary.load()
    concepts = known_concepts(classes)
    network = NetworkConfig("one", "file", "stunet", {}, 1, tuple(classes), concepts, InputConfig())
    table = ClassTable(
        torch.randn(len(classes), 17, generator=torch.Generator().manual_seed(0)), torch.zeros(len(classes))
    )
    known = phrases_of(network, vocabulary, bank), with_biases(table)
    words = words or calibrated(OpenWordsConfig(), [known], [leave_classes_out(*known, 0.3)])
    config = TableConfig((network,), open_words=words)
    return TableQuestionMaker(vocabulary, bank, dict.fromkeys(concepts.values(), 1000), config, [table])


def ask(questions: TableQuestionMaker, text: str) -> Question:
    return questions.ask(PromptSet.parse([text])[0])


def asked(question: Question) -> list[str | None]:
    return [part.wording.concept for part in question.parts]


@pytest.mark.parametrize("text", HOLDING_A_NAME)
@pytest.mark.parametrize("words", [None, OpenWordsConfig(same_as=0.7)], ids=["calibrated now", "of an older version"])
def test_what_only_holds_the_name_of_a_class_is_refused(
    bank: EmbeddingBank, text: str, words: OpenWordsConfig | None
) -> None:
    question = ask(maker(bank, AMOS, words), text)
    assert question.refusal and not question.parts


@pytest.mark.parametrize("text", ["left femur nail", "nail in left femur", "left femur fracture"])
def test_a_side_does_not_hide_what_else_is_said(bank: EmbeddingBank, text: str) -> None:
    assert "tells it from left femur" in ask(maker(bank, BONES), text).refusal


def test_a_refusal_says_which_word_it_is(bank: EmbeddingBank) -> None:
    questions = maker(bank, AMOS)
    told = "'{}' tells it from {}, which is nearest in words"
    assert ask(questions, "tissue around the liver").refusal == told.format("around", "liver")
    assert ask(questions, "where the liver should be").refusal == told.format("should", "liver")
    assert ask(maker(bank, OWN), "thingamajig stent").refusal == told.format("stent", "thingamajig")


def test_a_number_tells_structures_apart(bank: EmbeddingBank) -> None:
    classes = ["background", *(f"widget_{number}" for number in range(1, 61))]
    questions = maker(bank, classes, OpenWordsConfig(same_as=0.7))
    assert asked(ask(questions, "the widget 7")) == ["class:widget_7"]
    assert "'77' tells it from" in ask(questions, "the widget 77").refusal


def test_few_classes_let_only_the_same_words_pass(bank: EmbeddingBank) -> None:
    for classes in (["background", "liver"], AMOS, BONES):
        assert maker(bank, classes).config.open_words.same_as >= 0.99


def test_known_structures_are_still_asked(bank: EmbeddingBank) -> None:
    questions = maker(bank, AMOS)
    assert asked(ask(questions, "hepatic parenchyma")) == ["liver"]
    assert asked(ask(questions, "kidneys")) == ["left_kidney", "right_kidney"]
    assert asked(ask(questions, "prostate/uterus")) == ["class:prostate/uterus"]


@pytest.mark.parametrize(
    "text",
    [
        *("colon - feces", "colon-feces", "colon / feces", "aorta - thrombus", "(aorta) - (thrombus)"),
        *("aorta + thrombus", "!thingamajig", "~thingamajig", "-thingamajig", "thingamajig (-)", "thingamajig: 0"),
        *("liver - thingamajig", "not thingamajig", "thingamajig \u2212 liver", "widget_L - widget_R"),
    ],
)
def test_a_sign_is_never_lost_in_a_name(bank: EmbeddingBank, text: str) -> None:
    question = ask(maker(bank, OWN, OpenWordsConfig(same_as=0.5, near=-1.0)), text)
    assert question.refusal and not question.parts


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("Colon_Feces", "class:colon_feces"),
        ("colon feces", "class:colon_feces"),
        ("  AORTA  thrombus", "class:aorta_thrombus"),
        ("thingamajig?", "class:thingamajig"),
        ("please show me the thingamajigs", "class:thingamajig"),
        ("left widget", "class:widget_L"),
        ("Widget (right)", None),
        ("right widget", "class:widget_R"),
    ],
)
def test_a_class_by_its_own_name(bank: EmbeddingBank, text: str, concept: str | None) -> None:
    question = ask(maker(bank, OWN), text)
    assert asked(question) == ([] if concept is None else [concept]) and not question.notes


def test_names_that_differ_by_a_word_without_meaning_are_not_mixed_up(bank: EmbeddingBank) -> None:
    questions = maker(bank, ["background", "thingamajig", "thingamajig_tissue", "whole organ"])
    assert asked(ask(questions, "thingamajig")) == ["class:thingamajig"]
    assert asked(ask(questions, "thingamajig tissue")) == ["class:thingamajig_tissue"]
    assert ask(questions, "the structure inside of it").refusal


@pytest.mark.parametrize(("name", "text"), [("Lungs-GTV", "lungs gtv"), ("Brain~", "brain"), ("!spleen", "the spleen")])
def test_a_sign_is_never_lost_in_the_name_of_a_class(bank: EmbeddingBank, name: str, text: str) -> None:
    questions = maker(bank, ["background", "liver", name])
    assert asked(ask(questions, name)) == [f"class:{name}"]
    assert ask(questions, text).refusal


def test_the_name_of_a_class_is_not_read_as_an_expression(bank: EmbeddingBank) -> None:
    questions = maker(bank, ["background", "liver", "liver_tumor", "liver_minus_tumor"])
    assert asked(ask(questions, "liver_minus_tumor")) == ["class:liver_minus_tumor"]
    assert ask(questions, "liver_minus_tumor").notes == ()
    assert len(ask(questions, "liver without tumor").parts) == 2


def test_a_new_structure_is_not_guessed_from_the_name_of_another(bank: EmbeddingBank) -> None:
    guessing = replace(OpenWordsConfig(), same_as=1.0, near=0.3)
    questions = maker(bank, AMOS, guessing)
    assert ask(questions, "liver vessels").refusal.endswith("'vessel' tells it from liver, which is nearest in words")
    assert ask(questions, "right atrium").note.startswith("guessed from words alone")
