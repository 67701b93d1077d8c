"""The bundled vocabulary: required structures, a sound data file, quick loading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from OpenVocabCTLib.prompts import Concept, Side, Vocabulary
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import phrase_index
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.vocabulary import REGIONS, expand_entry

ROOT = Path(__file__).resolve().parents[3]

SINGLE = [
    "brainstem", "spinal_cord", "esophagus", "larynx", "mandible", "airway", "heart", "pulmonary_artery", "aorta",
    "brachiocephalic_trunk", "celiac_trunk", "superior_mesenteric_artery", "spleen", "gallbladder", "liver",
    "stomach", "pancreas", "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate", "sacrum",
    "lumbar_vertebrae", "vertebrae", "inferior_vena_cava", "portal_and_splenic_vein", "costal_cartilage", "bones",
    "body", "adipose_tissue", "soft_tissue_sarcoma",
]  # fmt: skip
PAIRED = {
    "parotid_gland": "parotid_glands",
    "lung": "lungs",
    "common_carotid_artery": "common_carotid_arteries",
    "subclavian_artery": "subclavian_arteries",
    "kidney": "kidneys",
    "adrenal_gland": "adrenal_glands",
    "common_iliac_artery": "common_iliac_arteries",
    "common_iliac_vein": "common_iliac_veins",
    "femur": "femurs",
    "hip_bone": "hip_bones",
    "gluteus_maximus": "gluteus_maximus_muscles",
    "gluteus_medius": "gluteus_medius_muscles",
    "gluteus_minimus": "gluteus_minimus_muscles",
    "erector_spinae": "erector_spinae_muscles",
    "iliopsoas": "iliopsoas_muscles",
    "ribs": "ribs",
}
TRAINED = (*SINGLE, *(f"{side}_{name}" for name in PAIRED for side in ("left", "right")))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


@pytest.mark.parametrize("concept_id", TRAINED)
def test_trained_structures_have_a_name_and_six_synonyms(vocabulary: Vocabulary, concept_id: str) -> None:
    concept = vocabulary.get(concept_id)
    assert len(concept.synonyms) >= 6
    assert vocabulary.phrases(concept)[0] == concept.name == concept_id.replace("_", " ")


@pytest.mark.parametrize(("name", "group"), PAIRED.items())
def test_a_group_is_the_union_of_left_and_right(vocabulary: Vocabulary, name: str, group: str) -> None:
    assert vocabulary.get(group).members == (f"left_{name}", f"right_{name}")


def test_all_spinal_levels_and_ribs_exist(vocabulary: Vocabulary) -> None:
    levels = [f"c{n}" for n in range(1, 8)] + [f"t{n}" for n in range(1, 13)] + [f"l{n}" for n in range(1, 6)] + ["s1"]
    expected = {f"vertebra_{level}" for level in levels}
    expected |= {f"{side}_rib_{n}" for side in ("left", "right") for n in range(1, 13)}
    assert expected <= {concept.id for concept in vocabulary}


def test_no_phrase_belongs_to_two_concepts(vocabulary: Vocabulary) -> None:
    assert phrase_index(vocabulary).collisions == []


def test_concepts_are_complete(vocabulary: Vocabulary) -> None:
    for concept in vocabulary:
        assert concept.id == "_".join(tokens(concept.id)), concept.id
        assert concept.synonyms, concept.id
        assert all(isinstance(phrase, str) and phrase.strip() == phrase for phrase in vocabulary.phrases(concept)), (
            concept.id
        )
        assert not any(set("{}") & set(phrase) for phrase in vocabulary.phrases(concept)), concept.id
        assert len(set(vocabulary.phrases(concept))) == len(vocabulary.phrases(concept)), concept.id
        assert concept.region, concept.id
        assert REGIONS.issuperset(concept.region), concept.id
        assert len(concept.colour) == 3, concept.id
        assert all(0 <= value <= 255 for value in concept.colour), concept.id


def test_mirrors_are_symmetric_and_have_opposite_sides(vocabulary: Vocabulary) -> None:
    for concept in vocabulary:
        if concept.mirror is None:
            continue
        mirror = vocabulary.get(concept.mirror)
        assert mirror.mirror == concept.id
        assert {concept.side, mirror.side} == {Side.LEFT, Side.RIGHT}
        assert concept.colour == mirror.colour
        assert len(concept.synonyms) == len(mirror.synonyms)


def test_every_phrase_of_a_sided_concept_says_its_side(vocabulary: Vocabulary) -> None:
    abbreviated = {
        "LPA",
        "RPA",
        "LAA",
        "LA",
        "LV",
        "RA",
        "RV",
        "RML",
        "middle lobe",
        "middle lung lobe",
        "lobus medius",
    }
    for concept in vocabulary:
        for phrase in vocabulary.phrases(concept):
            sides = split_side(tokens(phrase)).sides
            if concept.side is Side.NONE:
                assert len(sides) != 1 or not concept.members, (concept.id, phrase)
            elif concept.mirror is not None and sides:
                assert sides == {concept.side}, (concept.id, phrase)
            elif concept.mirror is None and phrase not in abbreviated:
                assert sides <= {concept.side}, (concept.id, phrase)


def test_codes_carry_the_side(vocabulary: Vocabulary) -> None:
    left, right = vocabulary.get("left_kidney").terminology, vocabulary.get("right_kidney").terminology
    assert left is not None
    assert left.type == right.type
    assert (left.modifier.value, right.modifier.value) == ("7771000", "24028007")
    assert vocabulary.get("kidneys").terminology.modifier is None
    cyst = vocabulary.get("left_kidney_cyst").terminology
    assert (cyst.modifier, cyst.region.meaning, cyst.region_modifier.meaning) == (None, "Kidney", "Left")


def test_leaves_expand_groups_and_keep_single_structures(vocabulary: Vocabulary) -> None:
    def ids(concept_id: str) -> list[str]:
        return [leaf.id for leaf in vocabulary.leaves(vocabulary.get(concept_id))]

    assert ids("liver") == ["liver"]
    assert ids("lungs") == ["left_lung", "right_lung"]
    assert len(ids("gluteal_muscles")) == 6
    assert ids("bony_pelvis") == ["left_hip_bone", "right_hip_bone", "sacrum"]


def _concept(concept_id: str, mirror: str | None = None, members: tuple[str, ...] = ()) -> Concept:
    return Concept(concept_id, concept_id, ("x",), Side.NONE, mirror, members, ("head",), None, (0, 0, 0))


@pytest.mark.parametrize(
    "concepts",
    [
        (_concept("a"), _concept("a")),
        (_concept("a", mirror="b"),),
        (_concept("a", members=("b",)),),
    ],
)
def test_unsound_vocabularies_are_refused(concepts: tuple[Concept, ...]) -> None:
    with pytest.raises(ValueError, match="a"):
        Vocabulary(concepts)


def test_nested_groups_give_each_leaf_once() -> None:
    vocabulary = Vocabulary(
        (_concept("a"), _concept("b"), _concept("ab", members=("a", "b")), _concept("all", members=("ab", "b")))
    )
    assert [leaf.id for leaf in vocabulary.leaves(vocabulary.get("all"))] == ["a", "b"]


def test_a_pair_entry_makes_left_right_and_both() -> None:
    entry = {
        "id": "thing",
        "pair": True,
        "group": "things",
        "synonyms": ["Thing_{S}", "res {f}"],
        "region": ["head"],
        "colour": [1, 2, 3],
    }
    left, right, both = expand_entry(entry)
    assert (left.id, left.name, left.mirror, left.side) == ("left_thing", "left thing", "right_thing", Side.LEFT)
    assert right.synonyms == ("thing right", "R thing", "Thing_R", "res dextra")
    assert (both.id, both.members, both.terminology) == ("things", ("left_thing", "right_thing"), None)


def test_a_series_entry_makes_one_concept_per_number() -> None:
    entry = {
        "id": "level_{n}",
        "name": "level {n}",
        "synonyms": ["{nth} level", "{ordinal} level", "L{nn}", "level {roman}"],
        "numbers": {2: [22, "Second"], 11: [33, "Eleventh"]},
        "extra": {2: ["the one"]},
        "region": ["head"],
        "colour": [1, 2, 3],
    }
    second, eleventh = expand_entry(entry)
    assert second.synonyms == ("2nd level", "second level", "L02", "level II", "the one")
    assert (eleventh.id, eleventh.synonyms[0], eleventh.terminology.type.value) == ("level_11", "11th level", "33")


def test_unknown_ids_raise_key_error(vocabulary: Vocabulary) -> None:
    assert "no_such_structure" not in vocabulary
    with pytest.raises(KeyError):
        vocabulary.get("no_such_structure")


def test_loading_is_quick_and_happens_once() -> None:
    """In a fresh interpreter, where nothing is cached; the best of three, because machines are busy."""
    code = (
        "import time; from OpenVocabCTLib.prompts.vocabulary import DATA_FILE, Vocabulary\n"
        "def seconds():\n"
        "    start = time.process_time(); Vocabulary.from_file(DATA_FILE); return time.process_time() - start\n"
        "print(min(seconds() for _ in range(3)), Vocabulary.load() is Vocabulary.load())"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seconds, same = output.split()
    assert float(seconds) < 0.1
    assert same == "True"
