"""How far a surface may be off before the normalised surface Dice counts it as wrong, in mm, by structure.

Sources:
    Head and neck: Nikolov et al., J Med Internet Res 2021;23(7):e26151 (arXiv:1809.04430), agreement between readers.
    Abdomen: the FLARE 2022 challenge's published tolerances.
    Everything else: 3 mm, as in Wasserthal et al., Radiology: AI 2023;5(5):e230024 (TotalSegmentator).

They hold for grids of about 1 mm. On grids whose voxels are larger than the tolerance (OpenKBP: up to 5.4 mm) a surface
must hit the very voxel, so that figures compare between systems on the same scans, not with those papers.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_MM = 3.0

_SINGLE: Mapping[str, float] = {
    "brainstem": 2.5,
    "spinal_cord": 2.93,
    "mandible": 1.01,
    "liver": 5.0,
    "spleen": 3.0,
    "pancreas": 5.0,
    "aorta": 2.0,
    "inferior_vena_cava": 2.0,
    "gallbladder": 2.0,
    "esophagus": 3.0,
    "stomach": 5.0,
    "duodenum": 7.0,
}
_PAIRED: Mapping[str, float] = {
    "parotid_gland": 2.85,
    "submandibular_gland": 2.02,
    "kidney": 3.0,
    "adrenal_gland": 2.0,
}
TOLERANCES_MM: Mapping[str, float] = {
    **_SINGLE,
    **{f"{side}_{organ}": value for organ, value in _PAIRED.items() for side in ("left", "right")},
}


def tolerance_mm(concept: str) -> float:
    """Return the tolerance of a concept in mm."""
    return TOLERANCES_MM.get(concept, DEFAULT_MM)
