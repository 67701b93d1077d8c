"""The closed list of organs that a report is taken apart into; every one is a concept of the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from OpenVocabCTLib.prompts.concepts import Concept, Side
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

# Order matters to people only.  Both sides of a pair belong to the list too.
BASE_ORGANS = (
    "lungs", "pleura", "airway", "mediastinum", "heart", "pericardium", "aorta", "pulmonary_artery", "esophagus",
    "thyroid_gland", "breasts", "diaphragm", "chest_wall", "liver", "gallbladder", "bile_duct", "spleen", "pancreas",
    "kidneys", "ureters", "adrenal_glands", "stomach", "duodenum", "small_bowel", "colon", "rectum", "appendix",
    "urinary_bladder", "prostate", "uterus", "ovaries", "peritoneum", "lymph_node", "vertebrae", "ribs", "sternum",
    "clavicles", "scapulae", "humeri", "hip_bones", "sacrum", "femurs", "skull", "mandible", "bones", "skeletal_muscle",
    "adipose_tissue", "brain", "brainstem", "spinal_cord", "parotid_glands", "submandibular_glands", "larynx",
    "pharynx", "nasal_cavity", "paranasal_sinuses", "tongue", "eyes", "inferior_vena_cava", "soft_tissue_sarcoma",
)  # fmt: skip
# Findings and structures that belong to an organ of the list by what they are, not by what the vocabulary joins.
_BELONGS_TO = {
    "pleural_effusion": "pleura", "left_pleural_effusion": "pleura", "right_pleural_effusion": "pleura",
    "pneumothorax": "pleura", "left_pneumothorax": "pleura", "right_pneumothorax": "pleura",
    "pericardial_effusion": "pericardium", "ascites": "peritoneum", "gallstone": "gallbladder",
    "spinal_canal": "spinal_cord", "intervertebral_discs": "vertebrae", "trachea": "airway", "bowel": "colon",
}  # fmt: skip


@lru_cache(maxsize=1)
def organ_ids() -> tuple[str, ...]:
    """Ids of the closed list: the organs, and the left and the right one where there are two."""
    vocabulary = Vocabulary.load()
    ids: dict[str, None] = {}
    for organ in BASE_ORGANS:
        ids[organ] = None
        ids.update(dict.fromkeys(_sides(vocabulary.get(organ), vocabulary).values()))
    return tuple(ids)


def organ_of(concept: Concept, side: Side, vocabulary: Vocabulary) -> str | None:
    """Return the organ of the list that a concept is, lies in or belongs to; the one of a pair where the side is known.

    Args:
        concept: structure or finding.
        side: of the patient, as the report says it.
        vocabulary: says what lies in what.
    """
    known = frozenset(organ_ids())
    seen: set[str] = set()
    waiting = [concept]
    while waiting:
        place = waiting.pop(0)
        if place.id in seen:
            continue
        seen.add(place.id)
        organ = _BELONGS_TO.get(place.id, place.id)
        if organ in known:
            wanted = side if side is not Side.NONE else concept.side
            # The way up may have led through one of a pair although nobody spoke of a side.
            organ = pair_of(organ, vocabulary) if wanted is Side.NONE else organ
            return _sides(vocabulary.get(organ), vocabulary).get(wanted, organ)
        waiting += _around(place, vocabulary)
    return None


def pair_of(organ: str, vocabulary: Vocabulary) -> str:
    """Return the organ without its side: the kidneys for the left kidney."""
    pair = vocabulary.pair_of(vocabulary.get(organ))
    return pair.id if pair is not None and pair.id in organ_ids() else organ


def _around(concept: Concept, vocabulary: Vocabulary) -> Iterable[Concept]:
    """Return what a concept lies in, its pair, the place of its first member, and what it is one of, nearest first."""
    pair = vocabulary.pair_of(concept)
    if pair is not None:
        yield pair
    yield from (vocabulary.get(whole) for whole in concept.part_of)
    if concept.members:
        yield vocabulary.get(concept.members[0])
    if concept.kind in vocabulary and concept.kind not in ("finding", "organ"):
        yield vocabulary.get(concept.kind)


def _sides(concept: Concept, vocabulary: Vocabulary) -> dict[Side, str]:
    members = [vocabulary.get(member) for member in concept.members]
    sides: dict[Side, str] = {member.side: member.id for member in members if member.side is not Side.NONE}
    return dict(sides) if len(members) == len(sides) == 2 else {}
