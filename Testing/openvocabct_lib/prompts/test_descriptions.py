"""Descriptions in lay words: read as the structure they mean, and never as another one."""

from __future__ import annotations

import pytest

from OpenVocabCTLib.prompts import PromptSet

DESCRIPTIONS = {
    "esophagus": (
        "tube that carries food to the stomach",
        "the tube which brings food into the stomach",
        "show me the pipe carrying food to the stomach",
        "tube carrying food from the mouth to the stomach",
    ),
    "trachea": ("tube that takes air to the lungs", "the pipe carrying air into the lungs"),
    "spinal_cord": ("nerve tissue inside the spinal canal", "nerves within the spinal canal"),
    "left_parotid_gland": ("left salivary gland before the ear", "the large salivary gland in front of my left ear"),
    "right_parotid_gland": ("right salivary gland before the ear", "salivary gland anterior to the right ear"),
    "larynx": ("larynx with the vocal cords", "the organ which holds the vocal cords"),
    "mandible": ("bone that carries the lower teeth", "bone holding the lower teeth"),
    "urinary_bladder": ("the organ collecting urine", "sac that stores urine"),
    "gallbladder": ("organ storing bile",),
    "liver": ("organ that produces bile",),
    "heart": ("the muscle pumping blood",),
}
# One word away from a description above.
OTHERS = (
    "tube that carries food from the stomach",
    "tube that carries urine to the bladder",
    "bone that carries the upper teeth",
    "organ that makes insulin",
    "artery that carries blood from the heart to the lungs",
    "vein that carries blood from the heart to the legs",
    "tube that does not carry food to the stomach",
    "nerve tissue inside the skull",
    "salivary gland below the tongue before the ear",
    "the lower teeth",
    "food in the stomach",
    "tube to stomach",
)


@pytest.mark.parametrize(("concept", "texts"), DESCRIPTIONS.items(), ids=list(DESCRIPTIONS))
def test_descriptions(concept: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        prompt = PromptSet.parse([text])[0]
        assert prompt.concept is not None, text
        assert prompt.concept.id == concept, text


def test_what_only_looks_like_a_description_is_not_read_as_one() -> None:
    described = {concept for concept in DESCRIPTIONS if not concept.endswith("parotid_gland")}
    for text in OTHERS:
        concept = PromptSet.parse([text])[0].concept
        assert concept is None or concept.id not in described, text


def test_the_side_of_a_description_counts() -> None:
    for text in ("left tube that carries food to the stomach", "both tubes that carry food to the stomach"):
        assert PromptSet.parse([text])[0].concept is None, text
    assert PromptSet.parse(["salivary gland before the ear"])[0].concept is None or (
        PromptSet.parse(["salivary gland before the ear"])[0].concept.id == "parotid_glands"  # type: ignore[union-attr]
    )


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("LICA", "left_internal_carotid_artery"),
        ("RICA", "right_internal_carotid_artery"),
        ("RIJV", "right_internal_jugular_vein"),
        ("pancraes", "pancreas"),
        ("kolon", "colon"),
        ("vena cava", "venae_cavae"),
        ("vena kava", "venae_cavae"),
        ("Kava", "venae_cavae"),
        ("inferior vena kava", "inferior_vena_cava"),
    ],
)
def test_abbreviations_and_slips_of_the_finger(text: str, concept: str) -> None:
    prompt = PromptSet.parse([text])[0]
    assert prompt.concept is not None
    assert prompt.concept.id == concept
    assert "both" not in prompt.note, "neither vein has a side"
