"""Raw cases to the store: working grid, Hounsfield-unit labels, ruled-out concepts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from openvocabct_training.data import physics
from openvocabct_training.data.adapters import ADAPTERS, Adapter, RawCase
from openvocabct_training.data.jobs import in_order
from openvocabct_training.data.plan import (
    fingerprint,
    found_cases,
    known_concepts_only,
    missing_file,
    raw_cases,
    ruled_out,
)
from openvocabct_training.data.store import MANIFEST, SKIPPED, CaseRecord, CaseStore, SkippedCase
from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.inference.grid import WorkingGrid, to_working, working_grid
from OpenVocabCTLib.memory import is_out_of_memory
from OpenVocabCTLib.models.config import voxel_size
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume

__all__ = ["annotated_masks", "physics_labels", "prepare", "prepare_case", "raw_cases", "ruled_out"]

log = logging.getLogger(__name__)

OnError = Literal["stop", "skip"]
# A working voxel that is half inside belongs to the structure, however the resampling rounds.
_INSIDE = 0.5 - 1e-4
_LOCK = ".lock"


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


def annotated_masks(case: RawCase, volume: CTVolume, grid: WorkingGrid) -> tuple[dict[str, np.ndarray], set[str]]:
    """Labels of a case on the working grid, and concepts that are too small for it.

    A structure that is smaller than the working voxels can vanish.  It is in the scan all the same, so it must not
    be called absent either: it counts as not annotated.

    Raises:
        InputError: a label file cannot be read, lies on another grid, or holds a value that is not defined.
    """
    masks: dict[str, np.ndarray] = {}
    lost: set[str] = set()
    for concept, native in case.each_mask(volume.geometry):
        if not native.any():
            masks[concept] = np.zeros(grid.shape, bool)  # most classes of most scans: not worth resampling
            continue
        mask = to_working(native.astype(np.float32), grid, outside=0.0, clip=False).numpy() >= _INSIDE
        if not mask.any():
            lost.add(concept)
        else:
            masks[concept] = mask
    return masks, lost


def prepare_case(
    case: RawCase, store: CaseStore, vocabulary: Vocabulary, spacing_mm: float | Sequence[float], source: str = ""
) -> CaseRecord:
    """Resample one case, add its free labels and write it.

    Args:
        case: the case; its concepts are those of the vocabulary.
        store: where to write.
        vocabulary: says which concepts lie only in regions that the scan rules out.
        spacing_mm: size of the working voxels, one number or one along each of (S, A, R).
        source: hash of what the case is made from, see `CaseStore.finished`.

    Raises:
        InputError: the scan is no CT in HU, or its labels do not fit it.
        ResourceError: memory or disk is full.
    """
    volume = case.read()
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
        source=source,
        case=case.id,
        dataset=case.dataset,
        split=case.split,
        licence=case.licence,
        spacing=grid.spacing,
        absent=tuple(absent),
        symmetric=case.symmetric,
        patient=case.patient,
    )


@dataclass(frozen=True)
class _Unusable:
    """A case that cannot be used: what is wrong with it, and what to do about it."""

    case: RawCase
    what: str
    todo: str


@dataclass(frozen=True)
class _Job:
    """One case to prepare, with all that a process of its own needs."""

    case: RawCase
    store: Path
    spacing_mm: float | Sequence[float]
    source: str

    def __call__(self) -> CaseRecord | _Unusable:
        try:
            return prepare_case(self.case, CaseStore(self.store), Vocabulary.load(), self.spacing_mm, self.source)
        except InputError as error:
            return _Unusable(self.case, error.what, error.todo)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise ResourceError(
                    f"case {self.case.id} does not fit into memory",
                    "free memory, use fewer --jobs or a larger --spacing",
                ) from error
            raise


@contextmanager
def _only_writer(store: CaseStore) -> Iterator[None]:
    """Keep a second preparation out of the store; a killed process holds no lock."""
    from filelock import FileLock, Timeout

    store.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(store.root / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"another program is preparing {store.root}", "wait for it, or give another --store"
        ) from error


def prepare(
    source: Path,
    store: CaseStore,
    spacing_mm: float | Sequence[float],
    adapters: Mapping[str, Adapter] = ADAPTERS,
    *,
    jobs: int = 1,
    on_error: OnError = "stop",
) -> list[CaseRecord]:
    """Prepare every case of some data sets under ``source``.

    Cases that are in the store already, made from the same files in the same way, are kept, so an interrupted run goes
    on where it was.  The manifest is replaced at the end; its rows of other data sets stay.  Skipped cases are in
    `CaseStore.skipped`.

    Args:
        source: folder that holds one folder per data set.
        store: where to write.
        spacing_mm: size of the working voxels, one number for cubic ones or one along each of (S, A, R).
        adapters: the data sets to use.
        jobs: cases to prepare at the same time, each in a process of its own.
        on_error: what to do about a case that cannot be used: stop there, or skip it.

    Returns:
        The cases of these data sets, in the order of the adapters.

    Raises:
        InputError: the folder is not laid out as the adapters expect, no case can be used, or, unless such cases are
            skipped, a file is missing, a scan is no CT in HU or labels do not fit their scan.
        ResourceError: memory or disk is full; that concerns every case, so none is skipped for it.
    """
    try:
        voxel_size(spacing_mm)
    except (TypeError, ValueError) as error:
        raise InputError(f"{error}", "give for example --spacing 3, or one size along each of S, A and R") from error
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}", "give 1 or more")
    vocabulary = Vocabulary.load()
    cases = raw_cases(source, adapters) if on_error == "stop" else found_cases(source, adapters)
    cases = known_concepts_only(cases, vocabulary)
    with _only_writer(store):
        store.remove_unfinished()
        results = _results(cases, store, vocabulary, spacing_mm, jobs, on_error)
        records = [results[case.id] for case in cases]
        return _publish(store, set(adapters), records)


def _results(
    cases: Sequence[RawCase],
    store: CaseStore,
    vocabulary: Vocabulary,
    spacing_mm: float | Sequence[float],
    jobs: int,
    on_error: OnError,
) -> dict[str, CaseRecord | SkippedCase]:
    """Prepare what is not in the store yet; gives the outcome of every case by its id."""
    results: dict[str, CaseRecord | SkippedCase] = {}
    todo: list[_Job] = []
    for case in cases:
        missing = missing_file(case)
        if missing is not None:
            results[case.id] = _skip(_Unusable(case, f"{missing} is missing", "complete the data set"), on_error)
            continue
        made_from = fingerprint(case, vocabulary, spacing_mm)
        finished = store.finished(case.id, made_from)
        if finished is None:
            todo.append(_Job(case, store.root, spacing_mm, made_from))
        else:
            results[case.id] = finished
    _withdraw(store, {job.case.id for job in todo})
    if len(todo) < len(cases):
        log.info("%d of %d cases are to be prepared", len(todo), len(cases))
    with closing(in_order(todo, jobs)) as outcomes:
        for number, (job, outcome) in enumerate(zip(todo, outcomes, strict=True), start=1):
            if isinstance(outcome, _Unusable):
                results[job.case.id] = _skip(outcome, on_error)
            else:
                results[job.case.id] = outcome
                log.info("[%d/%d] %s: %s", number, len(todo), outcome.case, ", ".join(outcome.present))
    return results


def _skip(failed: _Unusable, on_error: OnError) -> SkippedCase:
    if on_error == "stop":
        raise InputError(
            f"case {failed.case.id}: {failed.what}", f"{failed.todo}, or go on without such cases: --on-error skip"
        )
    log.warning("%s is skipped: %s", failed.case.id, failed.what)
    return SkippedCase(failed.case.id, failed.case.dataset, f"{failed.what}: {failed.todo}")


def _withdraw(store: CaseStore, cases: set[str]) -> None:
    """Take cases out of the manifest before their files change, so that it never names what is not there."""
    if (store.root / MANIFEST).is_file():
        listed = store.records()
        kept = [record for record in listed if record.case not in cases]
        if len(kept) < len(listed):
            store.write_manifest(kept)


def _publish(store: CaseStore, datasets: set[str], results: Sequence[CaseRecord | SkippedCase]) -> list[CaseRecord]:
    """Write what these data sets hold now into the manifest and the list of skipped cases."""
    records = [result for result in results if isinstance(result, CaseRecord)]
    skipped = [result for result in results if isinstance(result, SkippedCase)]
    store.write_skipped([*(case for case in store.skipped() if case.dataset not in datasets), *skipped])
    if not records:
        first = skipped[0].reason if skipped else "there is none"
        raise InputError(f"no case can be used ({first})", f"see {store.root / SKIPPED}")
    others = store.records() if (store.root / MANIFEST).is_file() else []
    store.write_manifest([*(record for record in others if record.dataset not in datasets), *records])
    return records
