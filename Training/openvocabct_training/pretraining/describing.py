"""Reports of what can be measured in a labelled scan, for pretraining where no radiologist wrote any.

They say which structures are in view, how large and how dense they are, on which side they are larger, and where a
tumour lies.  They are no diagnosis and read as what they are; they exercise the whole path at small size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from openvocabct_training.data.store import CaseRecord, CaseStore
from openvocabct_training.pretraining.views import view_image, view_masks
from OpenVocabCTLib.prompts.concepts import Side
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

_EVERYWHERE = ("body", "bones", "adipose_tissue")
_THIRDS = ("upper", "middle", "lower")
# Words that name no organ: "bone density" would be read as a statement about bones.
_ATTENUATIONS = (
    (-400.0, "very low"), (-20.0, "low"), (25.0, "intermediate"), (70.0, "moderately high"), (250.0, "high"),
    (np.inf, "very high"),
)  # fmt: skip
# Volumes in ml that part small, medium and large, from an adult's usual range where the vocabulary has none.
_SMALL, _LARGE = 0.75, 1.25


def describe(store: CaseStore, record: CaseRecord, view: Sequence[int], vocabulary: Vocabulary) -> str:
    """Write the report of what is measured in the view of a case.

    Args:
        store: where the voxels are.
        record: the case.
        view: (S, A, R) working voxels, see `views`.
        vocabulary: names and usual sizes.
    """
    image = view_image(store, record, view)
    names = [concept for concept in record.present if concept in vocabulary]
    masks = dict(zip(names, view_masks(store, record, names, vocabulary, view), strict=True))
    seen = {name: mask for name, mask in masks.items() if mask is not None and mask.any()}
    lines = list(_extent(seen, record.spacing))
    volumes = {name: float(mask.sum() * np.prod(record.spacing) / 1000.0) for name, mask in seen.items()}
    for name, mask in seen.items():
        if name not in _EVERYWHERE:
            lines += _structure(name, mask, image, volumes, record.spacing, vocabulary)
    lines += _comparisons(volumes, vocabulary)
    tumour = "soft_tissue_sarcoma"
    if tumour in record.absent:
        lines.append("No soft tissue sarcoma.")
    return "FINDINGS:\n" + "\n".join(lines) + "\n\nIMPRESSION:\n" + _impression(seen, vocabulary) + "\n"


def _extent(seen: dict[str, np.ndarray], spacing: Sequence[float]) -> Iterator[str]:
    if "body" in seen:
        length, depth, width = (_span(seen["body"], axis) * spacing[axis] / 10.0 for axis in range(3))
        yield f"The body is in view over {round(length)} cm and measures {round(width)} x {round(depth)} cm across."


def _structure(
    concept: str,
    mask: np.ndarray,
    image: np.ndarray,
    volumes: dict[str, float],
    spacing: Sequence[float],
    vocabulary: Vocabulary,
) -> Iterator[str]:
    name, volume = vocabulary.get(concept).name, volumes[concept]
    size, attenuation = _size(concept, volume, vocabulary), _attenuation(float(image[mask].mean()))
    length = _span(mask, 0) * spacing[0] / 10.0
    level = _THIRDS[int(3.0 * _middle(mask))]
    if concept == "soft_tissue_sarcoma":
        largest = max(_span(mask, axis) * spacing[axis] for axis in range(3)) / 10.0
        what = f"A soft tissue sarcoma of {round(largest)} cm, {size}, of {attenuation} attenuation,"
        yield f"{what} lies in the {level} third of the view."
        return
    what = f"The {name} is {size}, of {attenuation} attenuation, and"
    yield f"{what} lies in the {level} third of the view over {round(length)} cm."


def _comparisons(volumes: dict[str, float], vocabulary: Vocabulary) -> Iterator[str]:
    for concept, volume in volumes.items():
        entry = vocabulary.get(concept)
        if entry.side is not Side.LEFT or entry.mirror not in volumes:
            continue
        other, pair = volumes[entry.mirror], vocabulary.pair_of(entry)
        what = entry.name.removeprefix("left ")
        if volume > 1.2 * other or other > 1.2 * volume:
            larger, smaller = ("left", "right") if volume > other else ("right", "left")
            yield f"The {larger} {what} is larger than the {smaller} one."
        elif pair is not None:
            yield f"The {pair.name} are of equal size."


def _impression(seen: dict[str, np.ndarray], vocabulary: Vocabulary) -> str:
    """Name the parts of the body in view, and no single structure: what is said of one is said of it alone."""
    counts = Counter(region for name in seen if name not in _EVERYWHERE for region in vocabulary.get(name).region)
    if not counts:
        return "No named structure is in view."
    regions = [region for region, _ in sorted(counts.items(), key=lambda pair: -pair[1])]
    return f"{len(seen)} structures in view, of {', '.join(regions)}."


def _middle(mask: np.ndarray) -> float:
    """Place of a mask between the top (0) and the bottom (1) of the view; S grows upwards."""
    planes = np.flatnonzero(mask.any((1, 2)))
    return float(np.clip(1.0 - (planes.mean() + 0.5) / mask.shape[0], 0.0, 0.999))


def _span(mask: np.ndarray, axis: int) -> int:
    planes = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
    return int(planes[-1] - planes[0] + 1) if planes.size else 0


def _attenuation(hu: float) -> str:
    return next(name for limit, name in _ATTENUATIONS if hu < limit)


def _size(concept: str, volume: float, vocabulary: Vocabulary) -> str:
    usual = vocabulary.get(concept).volume_ml
    if usual is None:
        return f"about {_rounded(volume)} ml large"
    middle = (usual[0] + usual[1]) / 2.0
    word = "small" if volume < _SMALL * middle else "large" if volume > _LARGE * middle else "of medium size"
    return f"{word} with {_rounded(volume)} ml"


def _rounded(volume: float) -> int:
    """Two leading digits: more would be noise of the coarse grid."""
    return int(float(f"{volume:.1g}")) if volume < 10 else int(float(f"{volume:.2g}"))
