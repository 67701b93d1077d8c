"""Raw cases to the store: working grid, Hounsfield-unit labels, ruled-out concepts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from openvocabct_training.data import physics
from openvocabct_training.data.adapters import ADAPTERS, Adapter, RawCase
from openvocabct_training.data.store import CaseRecord, CaseStore
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.inference.grid import WorkingGrid, to_working, working_grid
from OpenVocabCTLib.models.config import voxel_size
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume

log = logging.getLogger(__name__)

# A working voxel that is half inside belongs to the structure, however the resampling rounds.
_INSIDE = 0.5 - 1e-4


def physics_labels(hu: np.ndarray, voxel_ml: float, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """The Hounsfield-unit labels among ``wanted`` that the rules can decide.

    Args:
        hu: (S, A, R) on the working grid.
        voxel_ml: volume of a voxel.
        wanted: concept ids out of body, bones, adipose_tissue, left_lung, right_lung.
    """
    wanted = set(wanted)
    inside = physics.body(hu)
    labels = {"body": inside}
    if "bones" in wanted:
        labels["bones"] = physics.bones(hu, inside, voxel_ml)
    if "adipose_tissue" in wanted:
        labels["adipose_tissue"] = physics.adipose_tissue(hu, inside)
    if wanted & {"left_lung", "right_lung"}:
        found = physics.lungs(hu, inside, voxel_ml)
        if found.left is not None and found.right is not None:
            labels |= {"left_lung": found.left, "right_lung": found.right}
    return {concept: mask for concept, mask in labels.items() if concept in wanted}


def ruled_out(vocabulary: Vocabulary, regions: Iterable[str]) -> tuple[str, ...]:
    """Concepts that lie only in ``regions``."""
    outside = set(regions)
    return tuple(concept.id for concept in vocabulary if concept.region and set(concept.region) <= outside)


def annotated_masks(case: RawCase, volume: CTVolume, grid: WorkingGrid) -> tuple[dict[str, np.ndarray], set[str]]:
    """Labels of a case on the working grid, and concepts that are too small for it.

    A structure that is smaller than the working voxels can vanish.  It is in the scan all the same, so it must not
    be called absent either: it counts as not annotated.

    Raises:
        InputError: the labels do not lie on the grid of the CT.
    """
    masks: dict[str, np.ndarray] = {}
    lost: set[str] = set()
    for concept, native in case.masks(volume.geometry).items():
        mask = to_working(native.astype(np.float32), grid, outside=0.0, clip=False).numpy() >= _INSIDE
        if native.any() and not mask.any():
            lost.add(concept)
        else:
            masks[concept] = mask
    return masks, lost


def prepare_case(
    case: RawCase, store: CaseStore, vocabulary: Vocabulary, spacing_mm: float | Sequence[float]
) -> CaseRecord:
    """Resample one case, add its free labels and write it."""
    volume = CTVolume.read(case.ct)
    grid = working_grid(volume.geometry, spacing_mm)
    image = to_working(volume.array, grid).round().numpy().astype(np.int16)
    masks, lost = annotated_masks(case, volume, grid)
    voxel_ml = float(np.prod(grid.spacing)) / 1000.0
    for concept, mask in physics_labels(image, voxel_ml, case.physics).items():
        masks.setdefault(concept, mask)
    absent = {*case.absent, *ruled_out(vocabulary, case.rules_out)} - set(masks) - lost
    return store.write_case(
        image,
        masks,
        case=f"{case.dataset}/{case.case}",
        dataset=case.dataset,
        split=case.split,
        licence=case.licence,
        spacing=grid.spacing,
        absent=tuple(absent),
        symmetric=case.symmetric,
    )


def raw_cases(source: Path, adapters: Mapping[str, Adapter] = ADAPTERS) -> list[RawCase]:
    """Every case of every data set under ``source``; no voxel is read yet.

    Raises:
        InputError: a file is missing, or the folder is laid out in another way.
    """
    cases = [case for adapter in adapters.values() for case in adapter(source)]
    for case in cases:
        for path in case.files:
            if not path.is_file():
                raise InputError(f"{path} is missing", f"complete the data set {case.dataset}, or give another folder")
    return cases


def prepare(
    source: Path, store: CaseStore, spacing_mm: float | Sequence[float], adapters: Mapping[str, Adapter] = ADAPTERS
) -> list[CaseRecord]:
    """Prepare every case of every data set under ``source``.

    Args:
        source: folder that holds one folder per data set.
        store: where to write.
        spacing_mm: size of the working voxels, one number for cubic ones or one along each of (S, A, R).
        adapters: the data sets to use.

    Raises:
        InputError: the folder is not laid out as the adapters expect, or a scan is no CT in HU.
    """
    try:
        voxel_size(spacing_mm)
    except (TypeError, ValueError) as error:
        raise InputError(f"{error}", "give for example --spacing 3, or one size along each of S, A and R") from error
    vocabulary = Vocabulary.load()
    records = []
    for case in raw_cases(source, adapters):
        records.append(prepare_case(case, store, vocabulary, spacing_mm))
        log.info("%s: %s", records[-1].case, ", ".join(records[-1].present))
    store.write_manifest(records)
    return records
