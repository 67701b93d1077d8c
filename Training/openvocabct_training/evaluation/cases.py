"""What is evaluated: scans with reference masks, from a data set's adapter or from a list of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvocabct_training.data.adapters import HEAD_AND_NECK_SLAB_RULES_OUT, OPENKBP_CONCEPTS, LabelMap, adapters_named
from openvocabct_training.data.plan import known_concepts_only
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.vocabulary import REGIONS, Vocabulary
from OpenVocabCTLib.volume import CTVolume

References = Mapping[str, CroppedMask]


@dataclass(frozen=True)
class EvaluationCase:
    """A scan and what is known about it; nothing is read before `read`.

    Attributes:
        case: id within the data set.
        dataset: name of the data set.
        ct: file or DICOM folder of the scan.
        masks: grid of the scan -> reference masks one at a time, concept id and bool (K, J, I); InputError where they
            do not fit.
        files: the files that must be there.
        absent: concepts that a reader looked for and did not see.
        rules_out: body regions that cannot be in this scan.
        suspect: concepts whose reference is doubtful; they are measured, but kept out of the means.
        patient: who was scanned; scans of one patient are drawn together when intervals are made. The case by default.
        meaning: plain data that changes with what the files of the references mean, see ``Labels.meaning``.
    """

    case: str
    dataset: str
    ct: Path
    masks: Callable[[Geometry], Iterable[tuple[str, np.ndarray]]]
    files: tuple[Path, ...] = ()
    absent: tuple[str, ...] = ()
    rules_out: tuple[str, ...] = ()
    suspect: tuple[str, ...] = ()
    patient: str = ""
    meaning: Any = None

    def read(self) -> tuple[CTVolume, dict[str, CroppedMask]]:
        """Read the scan and its references, which lie on the scan's own grid.

        Raises:
            InputError: a file is missing or unreadable, or the references are not on the grid of the scan.
        """
        missing = [path for path in (self.ct, *self.files) if not path.exists()]
        if missing:
            raise InputError(f"case {self.case} lacks {missing[0]}", "complete the data set, or leave the case out")
        volume = CTVolume.read(self.ct)
        try:
            # Cropped one by one: whole grids of over a hundred structures may not fit into memory.
            references = {concept: CroppedMask.from_full(mask) for concept, mask in self.masks(volume.geometry)}
        except RuntimeError as error:  # SimpleITK
            raise InputError(
                f"the references of case {self.case} cannot be read", "get the files again, or leave the case out"
            ) from error
        return volume, references

    def stamp(self) -> str:
        """Tell by sha256 (hex) whether the case is the one that was measured: its annotation, file sizes and times.

        What the label values mean is part of the annotation: a list that is corrected gives other references.
        """
        files = [path for path in (self.ct, *self.files) if path.exists()]
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        about = (self.dataset, self.case, self.absent, self.rules_out, self.suspect, self.patient, self.meaning, facts)
        return hashlib.sha256(repr(about).encode()).hexdigest()


def find_cases(source: Path, dataset: str, split: str, listing: Path | None = None) -> list[EvaluationCase]:
    """Return the cases of one split of a data set, or those of a list.

    Args:
        source: folder that holds one folder per data set.
        dataset: name of the data set, as ``prepare --dataset`` takes it.
        split: "train" or "validation".
        listing: JSON-lines file with the cases, instead of a data set; see `listed_cases`.

    Raises:
        InputError: there is no such data set, it has no cases in that split, or the list is not valid.
    """
    if listing is not None:
        cases = list(listed_cases(listing))
        place = str(listing)
    elif dataset == "openkbp":
        cases = list(openkbp_cases(source, split))
        place = str(source / "openkbp" / split)
    else:
        cases = list(adapter_cases(source, dataset, split))
        place = f"split {split!r} of {dataset} in {source}"
    if not cases:
        raise InputError(f"there are no patients in {place}", "give the folder that holds one folder per data set")
    repeated = {case.case for case in cases if sum(other.case == case.case for other in cases) > 1}
    if repeated:
        raise InputError(f"case {sorted(repeated)[0]!r} is there twice", "give every case its own id")
    return cases


def openkbp_cases(source: Path, split: str) -> Iterator[EvaluationCase]:
    """Return all OpenKBP patients of a split.

    Unlike the training data they keep small scans and suspect references: who evaluates wants to see both.
    """
    place = source / "openkbp" / split
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        if not folder.is_dir():
            continue
        meta = _openkbp_meta(folder / "meta.json")
        values = {OPENKBP_CONCEPTS[organ]: (value,) for organ, value in meta["organ_values"].items()}
        labels = LabelMap(folder / "organs.nii.gz", values)
        yield EvaluationCase(
            case=meta["id"],
            dataset="openkbp",
            ct=folder / "ct.nii.gz",
            masks=labels.each,
            files=(labels.path,),
            rules_out=HEAD_AND_NECK_SLAB_RULES_OUT,
            suspect=tuple(OPENKBP_CONCEPTS[organ] for organ in meta["suspect"] if organ in OPENKBP_CONCEPTS),
            meaning=labels.meaning(),
        )


def _openkbp_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing", "give the folder that holds one folder per data set")
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"id", "organ_values", "suspect"} - set(meta)
        unknown = set(meta.get("organ_values", ())) - set(OPENKBP_CONCEPTS)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not valid JSON", "get the file again") from error
    if missing or unknown:
        wrong = f"has no entry {min(missing)!r}" if missing else f"names an unknown organ {min(unknown)!r}"
        raise InputError(f"{path} {wrong}", "give the data set as its README describes it")
    return meta


def adapter_cases(source: Path, dataset: str, split: str) -> Iterator[EvaluationCase]:
    """Return the cases of a split as the training data's adapter knows them.

    Raises:
        InputError: there is no such data set, or its folder is laid out in another way.
    """
    found = (raw for adapter in adapters_named([dataset]).values() for raw in adapter(source))
    for raw in known_concepts_only(found, Vocabulary.load()):
        if raw.split == split:
            yield EvaluationCase(
                case=raw.case,
                dataset=raw.dataset,
                ct=raw.ct,
                masks=raw.each_mask,
                files=tuple(path for path in raw.files if path != raw.ct),
                absent=tuple(raw.absent),
                rules_out=tuple(raw.rules_out),
                patient=raw.patient,
                meaning=None if raw.labels is None else raw.labels.meaning(),
            )


def listed_cases(listing: Path) -> Iterator[EvaluationCase]:
    """Return the cases of a JSON-lines file, one object per line.

    ``{"case": "a1", "ct": "a1/ct.nii.gz", "labels": "a1/labels.nii.gz", "values": {"liver": [1]}}``, and optionally
    ``"patient"``, ``"absent"``, ``"rules_out"`` and ``"suspect"``. Paths are relative to the file's folder; ``values``
    are label values whose union is the concept.

    Raises:
        InputError: a line is not like that, or names a concept or region that the vocabulary does not have.
    """
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list of cases {listing} cannot be read", "give a JSON-lines file") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _listed(listing, f"line {number} of {listing.name}", line)


def _listed(listing: Path, where: str, line: str) -> EvaluationCase:
    todo = 'write {"case": ..., "ct": ..., "labels": ..., "values": {"concept": [1]}} on every line'
    try:
        row = json.loads(line)
        values = {str(concept): tuple(int(value) for value in members) for concept, members in row["values"].items()}
        labels = LabelMap(listing.parent / row["labels"], values)
        lists = {name: _strings(row.get(name, ())) for name in ("absent", "rules_out", "suspect")}
        case, ct, patient = str(row["case"]), listing.parent / row["ct"], str(row.get("patient", ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where} does not describe a case ({error})", todo) from error
    vocabulary = Vocabulary.load()
    unknown = [name for name in (*values, *lists["absent"], *lists["suspect"]) if name not in vocabulary]
    unknown += [name for name in lists["rules_out"] if name not in REGIONS]
    if unknown:
        raise InputError(f"{where} names {unknown[0]!r}, which the vocabulary does not have", "use its ids and regions")
    meaning = labels.meaning()
    return EvaluationCase(
        case, listing.stem, ct, labels.each, (labels.path,), patient=patient, meaning=meaning, **lists
    )


def _strings(values: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError("a list is needed, not a single word")
    return tuple(str(value) for value in values)
