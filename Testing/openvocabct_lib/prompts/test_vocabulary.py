"""The bundled vocabulary: required structures, a sound data file, quick loading."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from OpenVocabCTLib.prompts import Concept, Side, Vocabulary
from OpenVocabCTLib.prompts.compiling import FACTS, LANGUAGE_NAMES, SOURCE_FOLDER, SOURCES, compile_entries
from OpenVocabCTLib.prompts.concepts import KINDS, LANGUAGES
from OpenVocabCTLib.prompts.laterality import split_side
from OpenVocabCTLib.prompts.matching import phrase_index
from OpenVocabCTLib.prompts.normalise import tokens
from OpenVocabCTLib.prompts.vocabulary import COMPILED_FILE, REGIONS, expand_entry

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


def test_the_compiled_file_is_what_the_sources_say() -> None:
    assert COMPILED_FILE.read_text(encoding="utf-8") == compile_entries()


def test_every_source_file_is_read() -> None:
    files = {path.stem for path in SOURCE_FOLDER.glob("*.yaml")}
    assert files == {*SOURCES, FACTS, LANGUAGE_NAMES}


def test_facts_of_an_unknown_entry_are_refused(tmp_path: Path) -> None:
    shutil.copytree(SOURCE_FOLDER, tmp_path / "structures")
    with (tmp_path / "structures" / "facts.yaml").open("a", encoding="utf-8") as stream:
        stream.write("no_such_entry: {kind: organ}\n")
    with pytest.raises(ValueError, match="no_such_entry"):
        compile_entries(tmp_path / "structures")


def test_there_are_many_concepts_of_every_kind(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) >= 1000
    assert len({concept.kind for concept in vocabulary}) >= 20
    assert all(concept.kind in KINDS or concept.kind in vocabulary for concept in vocabulary)


def test_part_of_has_no_cycle_and_parts_are_parts(vocabulary: Vocabulary) -> None:
    def wholes(concept: Concept, seen: tuple[str, ...] = ()) -> None:
        assert concept.id not in seen, seen
        for whole in concept.part_of:
            wholes(vocabulary.get(whole), (*seen, concept.id))

    for concept in vocabulary:
        wholes(concept)
        assert not (concept.parts and concept.members), concept.id
        for part in concept.parts:
            assert vocabulary.get(part).side in (concept.side, Side.NONE) or concept.side is Side.NONE


def test_what_is_part_of_one_side_lies_on_that_side(vocabulary: Vocabulary) -> None:
    for concept in vocabulary:
        for whole in concept.part_of:
            assert {concept.side, vocabulary.get(whole).side} != {Side.LEFT, Side.RIGHT}, concept.id


def test_ranges_rise_and_levels_go_down_the_body(vocabulary: Vocabulary) -> None:
    for concept in vocabulary:
        for ends in (concept.level, concept.hu, concept.volume_ml):
            assert ends is None or ends[0] <= ends[1], concept.id
        assert concept.volume_ml is None or concept.volume_ml[0] > 0
        assert concept.hu is None or (concept.hu[0] >= -1024 and concept.hu[1] <= 3000)


def test_sides_of_a_pair_have_the_same_facts(vocabulary: Vocabulary) -> None:
    for concept in vocabulary:
        if concept.mirror is not None:
            other = vocabulary.get(concept.mirror)
            facts = [(one.kind, one.level, one.hu, one.volume_ml, one.region) for one in (concept, other)]
            assert facts[0] == facts[1], concept.id


def test_codes_are_well_formed(vocabulary: Vocabulary) -> None:
    """Identifiers of SNOMED CT end with a check digit by Verhoeff's dihedral scheme."""
    for concept in vocabulary:
        if concept.terminology is None:
            continue
        for code in (concept.terminology.type, concept.terminology.region):
            if code is None:
                continue
            assert code.scheme in ("SCT", "DCM") and code.meaning and code.value.isdigit(), concept.id
            assert code.scheme != "SCT" or has_check_digit(code.value), (concept.id, code)


def test_codes_mean_what_dicom_says(vocabulary: Vocabulary) -> None:
    """Of the codes that DICOM's own dictionary has: 64038003 once stood for the psoas and is a lymph node."""
    from pydicom.sr._concepts_dict import concepts as dictionary

    meanings = {"51185008": {"ches"}}  # there it is the thoracic structure
    for entries in dictionary["SCT"].values():
        for value, (meaning, _) in entries.items():
            meanings.setdefault(value, set()).update(word[:4] for word in tokens(meaning))
    known = 0
    for concept in vocabulary:
        terms = concept.terminology
        for code in (terms.type, terms.modifier, terms.region, terms.region_modifier) if terms else ():
            if code is not None and code.value in meanings:
                known += 1
                assert meanings[code.value] & {word[:4] for word in tokens(code.meaning)}, (concept.id, code)
    assert known > 900


def has_check_digit(value: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(value)):
        check = _dihedral(check, _permuted(int(digit), place))
    return check == 0


def _dihedral(first: int, second: int) -> int:
    """Product in the dihedral group of a pentagon: 0..4 turn it, 5..9 flip it."""
    if first < 5:
        return (first + second) % 5 if second < 5 else (first + second) % 5 + 5
    return (first - second) % 5 + 5 if second < 5 else (first - second) % 5


def _permuted(digit: int, place: int) -> int:
    for _ in range(place % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def test_trained_structures_have_names_in_three_languages(vocabulary: Vocabulary) -> None:
    for concept_id in (*TRAINED, *PAIRED.values()):
        assert [language for language, _ in vocabulary.get(concept_id).names] == list(LANGUAGES), concept_id


@pytest.mark.parametrize(
    ("concept_id", "names"),
    [
        ("left_kidney", ("linke Niere", "rein gauche", "riñón izquierdo")),
        ("right_femur", ("rechter Oberschenkelknochen", "fémur droit", "fémur derecho")),
        ("right_parotid_gland", ("rechte Ohrspeicheldrüse", "glande parotide droite", "glándula parótida derecha")),
    ],
)
def test_names_in_other_languages_agree_with_their_noun(
    vocabulary: Vocabulary, concept_id: str, names: tuple[str, ...]
) -> None:
    assert tuple(name for _, name in vocabulary.get(concept_id).names) == names


def test_a_row_entry_makes_one_concept_per_row() -> None:
    entry = {
        "id": "between_{a}_{b}",
        "synonyms": ["{a}/{b}"],
        "each": [{"a": "x", "b": "y"}, {"a": "y", "b": "z"}],
        "region": ["head"],
        "kind": "disc",
    }
    assert [(one.id, one.synonyms) for one in expand_entry(entry)] == [
        ("between_x_y", ("x/y",)),
        ("between_y_z", ("y/z",)),
    ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "thing"}, "colour"),
        ({"level": ["T1", "T13"]}, "T13"),
        ({"category": "thing", "code": [1, "x"]}, "category"),
    ],
)
def test_unknown_kinds_levels_and_categories_are_refused(fault: dict[str, object], message: str) -> None:
    entry = {"id": "thing", "region": ["head"], "kind": "organ"} | fault
    with pytest.raises(ValueError, match=message):
        list(expand_entry(entry))


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
        "import time; from OpenVocabCTLib.prompts.vocabulary import COMPILED_FILE, Vocabulary\n"
        "def seconds():\n"
        "    start = time.process_time(); Vocabulary.from_file(COMPILED_FILE); return time.process_time() - start\n"
        "print(min(seconds() for _ in range(3)), Vocabulary.load() is Vocabulary.load())"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seconds, same = output.split()
    assert float(seconds) < 0.1
    assert same == "True"
