"""Do network, configuration and store fit together?  Asked before training starts, answered in one sentence."""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

from openvocabct_training.data.augment import MAX_PACKED_LABELS
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.data.sampling import SamplingConfig, dataset_chances
from openvocabct_training.data.store import CaseRecord
from openvocabct_training.patch_training import PatchTraining
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.models.config import PreprocessingConfig
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def check_run(module: PatchTraining, data: PatchDataModule) -> None:
    """Check everything that a run needs to fit together.

    Raises:
        InputError: it does not.
    """
    check_sides("data.sampling.patch", data.sampling.patch, module.stride)
    check_sides("model.preprocessing.tile", module.preprocessing.tile, module.stride)
    compare_patch_with_tile(data.sampling.patch, module.preprocessing.tile)
    check_concepts(module.concepts)
    if module.closed_vocabulary:
        check_held_out(module.concepts, data.sampling)
    check_sampling(data.sampling)
    records = data.store.records()
    check_dataset_weights(data.sampling, records)
    check_spacing(records, module.preprocessing)


def check_precision(precision: str, device: str, cpu_has_bf16: bool) -> None:
    """Check that the device can multiply in the format of the run; a CPU that cannot would take 30 times as long.

    Raises:
        InputError: bfloat16 was asked for on a CPU without instructions for it.
    """
    if precision.startswith("bf16") and device == "cpu" and not cpu_has_bf16:
        raise InputError(
            f"trainer.precision is {precision}, but this CPU has no bfloat16 instructions",
            "add --trainer.precision 32-true",
        )


def check_checkpoint(place: str | None) -> None:
    """Check that the file that a run is to go on from is a checkpoint; words such as "last" are the trainer's.

    Raises:
        InputError: it is not there, or something else.
    """
    if place is None or "://" in place:
        return
    todo = "check --ckpt_path; last is the last one of the run"
    path = Path(place)
    if not path.exists() and place.endswith(".ckpt"):
        raise InputError(f"there is no checkpoint {place}", todo)
    # What torch.save writes is a zip, whose end comes last; that of a sharded run is a folder.
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"{place} is no checkpoint of a training, or is cut off", todo)


def check_sides(name: str, sides: Sequence[int], stride: int) -> None:
    """Check that the network can halve a patch as often as it does, and normalise what is left.

    Raises:
        InputError: a side is no multiple of ``stride``, or all equal it.
    """
    said = " x ".join(str(side) for side in sides)
    if any(side < stride or side % stride for side in sides):
        raise InputError(f"{name} is {said}", f"its sides must be multiples of {stride}, the network's stride")
    if all(side == stride for side in sides):
        # One voxel at the bottleneck has no variance to normalise by.
        raise InputError(f"{name} is {said}", f"at least one side must be larger than {stride}")


def compare_patch_with_tile(patch: Sequence[int], tile: Sequence[int]) -> None:
    """Warn where the network will see tiles of another size than it was trained on.

    Instance normalisation takes mean and deviation over the whole tile: with more air in it, structures come out larger
    or smaller (Training/COMPARISON.md has figures).
    """
    if tuple(patch) != tuple(tile):
        patch_sides, tile_sides = (" x ".join(str(side) for side in sides) for sides in (patch, tile))
        log.warning(
            "patches are %s voxels, but tiles %s: what is in a tile changes its normalisation, so choose the same size",
            patch_sides, tile_sides,
        )  # fmt: skip


def check_concepts(concepts: Sequence[str]) -> None:
    """Check the concepts that have a query of their own.

    Raises:
        InputError: one is not in the vocabulary, or is listed twice.
    """
    vocabulary = Vocabulary.load()
    for concept in concepts:
        if concept not in vocabulary:
            raise InputError(f"model.architecture.concepts names {concept!r}", "use ids of the vocabulary")
        if concepts.count(concept) > 1:
            raise InputError(f"model.architecture.concepts names {concept!r} twice", "list it once")


def check_held_out(concepts: Sequence[str], sampling: SamplingConfig) -> None:
    """Check that a closed vocabulary has no class that is never shown: its answers would be random.

    Raises:
        InputError: it has one.
    """
    for concept in sampling.exclude_concepts:
        if concept in concepts:
            raise InputError(
                f"{concept!r} is a class of the network and excluded from training",
                "take it out of model.init_args.concepts or of data.sampling.exclude_concepts",
            )


def check_sampling(sampling: SamplingConfig) -> None:
    """Check the numbers of prompts, and that what is held out exists.

    Raises:
        InputError: there are none, more than can be packed, or an excluded concept is unknown.
    """
    if not 1 <= sampling.positives <= MAX_PACKED_LABELS:
        raise InputError(f"data.sampling.positives is {sampling.positives}", f"choose 1 to {MAX_PACKED_LABELS}")
    if sampling.negatives < 0:
        raise InputError(f"data.sampling.negatives is {sampling.negatives}", "choose 0 or more")
    if not 0.0 <= sampling.pair_probability <= 1.0:
        raise InputError(f"data.sampling.pair_probability is {sampling.pair_probability:g}", "choose 0 to 1")
    vocabulary = Vocabulary.load()
    for concept in sampling.exclude_concepts:
        if concept not in vocabulary:
            raise InputError(f"data.sampling.exclude_concepts names {concept!r}", "use ids of the vocabulary")


def check_dataset_weights(sampling: SamplingConfig, records: Sequence[CaseRecord]) -> None:
    """Check that every data set that is sampled is in the store.

    Raises:
        InputError: one is not, or a weight is no chance.
    """
    known = sorted({record.dataset for record in records})
    chances = dataset_chances(sampling, [record for record in records if record.split == "train"])
    for name, weight in chances.items():
        if not (math.isfinite(weight) and weight >= 0.0):
            raise InputError(f"data.sampling.dataset_weights gives {name} the weight {weight:g}", "choose 0 or more")
        if name not in known:
            raise InputError(
                f"data.sampling.dataset_weights names {name!r}, which the store does not hold",
                f"choose among {', '.join(known)}",
            )
    if not any(chances.values()):
        raise InputError("data.sampling.dataset_weights has no weight above 0", "give at least one data set a weight")


def check_spacing(records: Sequence[CaseRecord], preprocessing: PreprocessingConfig) -> None:
    """Check that the store has the voxels that the exported model will make of a CT.

    Voxels have the wanted size only about, because a working grid keeps the extent of its scan: what must agree is the
    number of voxels that the extent gives.

    Raises:
        InputError: the store was prepared with another voxel size.
    """
    wanted = preprocessing.voxel_mm
    option = " ".join(f"{size:g}" for size in (wanted[:1] if len(set(wanted)) == 1 else wanted))
    for record in records:
        for side, spacing, size in zip(record.shape, record.spacing, wanted, strict=True):
            if abs(side * spacing / size - side) > 0.5 + 1e-6:
                raise InputError(
                    f"the store has voxels of {spacing:.2g} mm, model.preprocessing.spacing_mm is {size:g}",
                    f"run `openvocabct-train prepare` with --spacing {option}, or change the configuration",
                )
