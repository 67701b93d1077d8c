"""Names of structures for radiotherapy, after AAPM TG-263.

Source: Mayo et al., American Association of Physicists in Medicine Task Group 263, Int J Radiat Oncol Biol Phys 100
(2018) 1057-1066, and its list of names. Structures that the list does not name keep their plain name.
"""

from __future__ import annotations

_SINGLE = {
    "anal_canal": "Canal_Anal",
    "aorta": "A_Aorta",
    "ascending_aorta": "A_Aorta_Asc",
    "bile_duct": "BileDuct_Common",
    "body": "Body",
    "bony_pelvis": "Bone_Pelvic",
    "bowel": "Bowel",
    "brain": "Brain",
    "brainstem": "Brainstem",
    "celiac_trunk": "A_Celiac",
    "cerebellum": "Cerebellum",
    "cerebrum": "Cerebrum",
    "colon": "Bowel_Large",
    "coronary_arteries": "A_Coronary",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "gallbladder": "Gallbladder",
    "heart": "Heart",
    "hyoid_bone": "Bone_Hyoid",
    "ileum": "Ileum",
    "inferior_vena_cava": "V_Venacava_I",
    "jejunum": "Jejunum",
    "kidneys": "Kidneys",
    "larynx": "Larynx",
    "lips": "Lips",
    "liver": "Liver",
    "lungs": "Lungs",
    "mandible": "Bone_Mandible",
    "nasal_cavity": "Cavity_Nasal",
    "oral_cavity": "Cavity_Oral",
    "optic_chiasm": "OpticChiasm",
    "pancreas": "Pancreas",
    "parotid_glands": "Parotids",
    "penile_bulb": "PenileBulb",
    "pericardium": "Pericardium",
    "pituitary_gland": "Pituitary",
    "portal_vein": "V_Portal",
    "prostate": "Prostate",
    "pulmonary_artery": "A_Pulmonary",
    "pulmonary_vein": "V_Pulmonary",
    "rectum": "Rectum",
    "sigmoid_colon": "Colon_Sigmoid",
    "skin": "Skin",
    "small_bowel": "Bowel_Small",
    "spinal_canal": "SpinalCanal",
    "spinal_cord": "SpinalCord",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "superior_vena_cava": "V_Venacava_S",
    "thyroid_gland": "Glnd_Thyroid",
    "tongue": "Tongue",
    "trachea": "Trachea",
    "urethra": "Urethra",
    "urinary_bladder": "Bladder",
    "vagina": "Vagina",
}
# Followed by _L or _R; the vocabulary's ids start with left_ or right_.
_PAIRED = {
    "adrenal_gland": "Glnd_Adrenal",
    "brachial_plexus": "BrachialPlex",
    "breast": "Breast",
    "clavicle": "Clavicle",
    "cochlea": "Cochlea",
    "eye": "Eye",
    "femoral_head": "Femur_Head",
    "femur": "Femur",
    "hippocampus": "Hippocampus",
    "humerus": "Humerus",
    "kidney": "Kidney",
    "lacrimal_gland": "Glnd_Lacrimal",
    "lens": "Lens",
    "lung": "Lung",
    "main_bronchus": "Bronchus_Main",
    "masseter_muscle": "Musc_Masseter",
    "optic_nerve": "OpticNrv",
    "ovary": "Ovary",
    "parotid_gland": "Parotid",
    "scapula": "Scapula",
    "submandibular_gland": "Glnd_Submand",
    "testis": "Testis",
    "ureter": "Ureter",
}
_SIDES = {"left_": "_L", "right_": "_R"}
_CHAMBERS = {"left_atrium": "Atrium_L", "right_atrium": "Atrium_R"} | {
    "left_ventricle": "Ventricle_L",
    "right_ventricle": "Ventricle_R",
}


def tg263_name(concept: str | None) -> str | None:
    """Return the TG-263 name of a concept of the vocabulary; None where there is none."""
    if concept is None:
        return None
    for prefix, ending in _SIDES.items():
        base = _PAIRED.get(concept.removeprefix(prefix))
        if concept.startswith(prefix) and base is not None:
            return base + ending
    return _SINGLE.get(concept) or _CHAMBERS.get(concept)


def tg263_concepts() -> dict[str, str]:
    """Return all concepts that have a TG-263 name, with it."""
    pairs = {f"{prefix}{base}": name + end for base, name in _PAIRED.items() for prefix, end in _SIDES.items()}
    return _SINGLE | _CHAMBERS | pairs
