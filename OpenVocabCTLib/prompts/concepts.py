"""What the vocabulary knows of one structure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from OpenVocabCTLib.prompts.terminology import Terminology

REGIONS = frozenset({"head", "neck", "chest", "abdomen", "pelvis", "arm", "leg", "whole_body"})
LANGUAGES = ("de", "fr", "es")

# What a structure is, with the colour of those that name none.
KINDS: dict[str, tuple[int, int, int]] = {
    "airway": (182, 228, 255),
    "artery": (216, 101, 79),
    "bone": (241, 214, 145),
    "brain_part": (250, 250, 225),
    "cartilage": (111, 184, 210),
    "disc": (111, 184, 210),
    "duct": (0, 145, 30),
    "fat": (230, 220, 70),
    "finding": (144, 238, 144),
    "fluid": (170, 250, 250),
    "gland": (70, 163, 117),
    "heart_part": (206, 110, 84),
    "joint": (111, 184, 210),
    "lung_part": (197, 165, 145),
    "lymph_node": (68, 172, 100),
    "muscle": (192, 104, 88),
    "nerve": (244, 214, 49),
    "object": (220, 245, 20),
    "organ": (221, 130, 101),
    "organ_part": (221, 130, 101),
    "space": (255, 244, 209),
    "substance": (218, 255, 255),
    "tissue": (230, 158, 140),
    "vein": (0, 151, 206),
    "vessel": (216, 101, 79),
}

# Positions along the body from the vertex down, in vertebrae; what lies beyond the spine is about as far as that many.
LEVELS: dict[str, int] = {
    "vertex": -6,
    "orbit": -3,
    "skull_base": 0,
    **{f"C{n}": n for n in range(1, 8)},
    **{f"T{n}": n + 7 for n in range(1, 13)},
    **{f"L{n}": n + 19 for n in range(1, 6)},
    **{f"S{n}": n + 24 for n in range(1, 6)},
    "hip": 30,
    "thigh": 36,
    "knee": 44,
    "ankle": 58,
    "sole": 60,
}


class Side(StrEnum):
    """Side of the patient's body (not of the screen)."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"

    @property
    def sign(self) -> float:
        """1 for left, -1 for right, 0 for none: how the side enters the query head."""
        return {"left": 1.0, "right": -1.0}.get(self.value, 0.0)


@dataclass(frozen=True)
class Concept:
    """One structure, or a group of structures.

    Attributes:
        id: snake_case identifier that never changes, for example "left_parotid_gland".
        name: preferred name, for example "left parotid gland".
        synonyms: other ways to write it, in their natural spelling.
        side: side of the patient that the name fixes.
        mirror: id of the concept that a left-right reflection of the patient gives, None when there is none.
        members: ids whose union this concept is; empty for a single structure.
        region: where in the body, a subset of `REGIONS`.
        terminology: codes, None where no published code is known to fit.
        colour: display colour, red, green, blue, 0..255.
        kind: what it is, one of `KINDS`, or the id of the structure that it is one of; "" where nothing fits.
        part_of: ids of structures that it lies in or belongs to.
        parts: ids that make up a single structure without a gap; who knows them all knows the structure.
        names: (language, preferred name) in other languages, a subset of `LANGUAGES`.
        level: first and last of `LEVELS` that it usually reaches, from the head down; None where it has no place.
        hu: usual mean intensity in HU, least and most, without and with contrast agent; None where unknown.
        volume_ml: usual volume in an adult in ml, least and most; None where unknown.
    """

    id: str
    name: str
    synonyms: tuple[str, ...]
    side: Side
    mirror: str | None
    members: tuple[str, ...]
    region: tuple[str, ...]
    terminology: Terminology | None
    colour: tuple[int, int, int]
    kind: str = ""
    part_of: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    level: tuple[int, int] | None = None
    hu: tuple[float, float] | None = None
    volume_ml: tuple[float, float] | None = None
