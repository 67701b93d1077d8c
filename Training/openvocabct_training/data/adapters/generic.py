"""A person's own data: nnU-Net raw folders, and folders of CT, label map and a table of labels.

Concepts are named by their id or by any phrase of the vocabulary, so "Left Kidney", "kidney_left" and "left_kidney" are
the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from openvocabct_training.data.adapters.base import Adapter, DataSet, Found
from openvocabct_training.data.adapters.labels import LabelMap
from openvocabct_training.data.adapters.layout import folders_in, pairs, read_json, read_table, stated_licence
from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.prompts.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_IGNORE = "ignore"  # nnU-Net's name for voxels that nobody decided about
_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
_SPLITS = ("train", "validation")


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


@lru_cache(maxsize=1)
def _concepts_by_phrase() -> Mapping[str, str]:
    vocabulary = Vocabulary.load()
    phrases = {_plain(phrase): c.id for c in vocabulary for phrase in reversed(vocabulary.phrases(c))}
    return {**phrases, **{_plain(c.id): c.id for c in vocabulary}}


def concept_named(name: str) -> str | None:
    """Find the concept that an id or a phrase of the vocabulary means, None if there is none."""
    return _concepts_by_phrase().get(_plain(name))


def _label_values(path: Path, labels: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Label name -> its values, from the ``labels`` of a ``dataset.json``; a region has several."""
    values: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(isinstance(v, int) and not isinstance(v, bool) for v in listed):
            raise InputError(
                f"{path}: the label {name!r} is {value!r}, no number and no list of numbers",
                'write it as nnU-Net of version 2 has it, for example "kidney": [1, 2]',
            )
        values[name] = tuple(listed)
    return values


def _named_concepts(root: Path, values: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Concept id -> label values, by ``labels.csv`` (columns label, concept) if there is one, else by the names."""
    table = root / "labels.csv"
    if table.is_file():
        meant = [(row["label"], row["concept"]) for row in read_table(table, "label", "concept")]
        for label, _ in meant:
            if label not in values:
                raise InputError(f"{table} names the label {label!r}, which dataset.json does not have", "correct it")
    else:
        meant = [(name, concept_named(name) or "") for name in values if name.lower() not in ("background", _IGNORE)]
        for name, concept in meant:
            if not concept:
                log.info(
                    "%s: no concept is called %r; say in labels.csv what it is, or it is left out", root.name, name
                )
            elif set(_plain(name).split()) != set(_plain(concept).split()):  # an abbreviation, or another word
                log.info("%s: %r is taken for %s; say in labels.csv if it is something else", root.name, name, concept)
    concepts: dict[str, tuple[int, ...]] = {}
    for label, name in meant:
        if name:
            concept = concept_named(name) or name
            concepts[concept] = tuple(dict.fromkeys((*concepts.get(concept, ()), *values[label])))
    return concepts


def _nnunet(root: Path) -> Iterator[Found]:
    path = root / "dataset.json"
    if path.is_file() and "modality" in read_json(path):
        raise InputError(f"{path} is of nnU-Net version 1", "convert it: nnUNetv2_convert_old_nnUNet_dataset")
    description = read_json(path, "channel_names", "labels", "file_ending")
    channels, ending = description["channel_names"], description["file_ending"]
    if not isinstance(channels, dict) or [str(name).upper() for name in channels.values()] != ["CT"]:
        raise InputError(f"{path} has the channels {channels!r}", 'give a data set whose only channel is "CT"')
    if not isinstance(description["labels"], dict):
        raise InputError(f"{path}: 'labels' is no object", "write it as nnU-Net of version 2 has it")
    values = _label_values(path, description["labels"])
    concepts = _named_concepts(root, values)
    if not concepts:
        raise InputError(
            f"{path} has no label that the vocabulary knows", f"say in {root / 'labels.csv'} what they are"
        )
    known = frozenset({0, *(v for name, listed in values.items() if name != _IGNORE for v in listed)})
    licence = stated_licence(description)
    for case, ct, labels in pairs(root / "imagesTr", root / "labelsTr", f"*_0000{ending}", f"*{ending}"):
        yield Found(case, ct, LabelMap(labels, concepts, known), licence=licence)


def _table_of_labels(path: Path) -> dict[str, tuple[int, ...]]:
    """Concept id -> label values; a concept may have several rows, and so may a value."""
    concepts: dict[str, tuple[int, ...]] = {}
    for row in read_table(path, "value", "concept", todo="write a table with the columns value and concept"):
        if not row["value"].isdigit():
            raise InputError(f"{path} has the value {row['value']!r}", "give the whole number that the label map holds")
        if not row["concept"]:
            continue  # known, but nothing to learn
        concept = concept_named(row["concept"]) or row["concept"]
        concepts[concept] = tuple(dict.fromkeys((*concepts.get(concept, ()), int(row["value"]))))
    if not concepts:
        raise InputError(f"{path} names no concept", "write a table with the columns value and concept")
    return concepts


def _volume(folder: Path, name: str) -> Path:
    """The file of this name in any known format; the first format where there is none, for the error to name."""
    places = [folder / f"{name}{suffix}" for suffix in _VOLUMES]
    return next((place for place in places if place.is_file()), places[0])


def _folder(root: Path) -> Iterator[Found]:
    concepts = _table_of_labels(root / "labels.csv")
    known = frozenset({0, *(int(row["value"]) for row in read_table(root / "labels.csv", "value"))})
    table = root / "cases.csv"
    described = {row["case"]: row for row in read_table(table, "case")} if table.is_file() else {}
    splits = _splits_of_patients(table, described)
    folders = folders_in(root)
    for case in sorted(set(described) - {folder.name for folder in folders}):
        log.warning("%s describes the case %s, of which there is no folder", table, case)
    for folder in folders:
        row = described.get(folder.name, {})
        split = row.get("split", "") or splits.get(row.get("patient", ""), "")
        labels = LabelMap(_volume(folder, "labels"), concepts, known)
        patient = f"{root.name}/{row['patient']}" if row.get("patient") else ""
        yield Found(folder.name, _volume(folder, "ct"), labels, split, patient, row.get("licence", ""))


def _splits_of_patients(table: Path, described: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Patient -> the split that the table gives any of the patient's cases; it holds for all of them.

    Raises:
        InputError: there is no such split, or a patient is in both.
    """
    splits: dict[str, str] = {}
    for case, row in described.items():
        patient, split = row.get("patient", ""), row.get("split", "")
        if split not in ("", *_SPLITS):
            raise InputError(f"{table}: the split of {case} is {split!r}", "write train, validation or nothing")
        if patient and split and splits.setdefault(patient, split) != split:
            raise InputError(
                f"{table}: the patient {patient!r} both trains and validates", "give all cases of a patient one split"
            )
    return splits


_KINDS = {"nnunet": _nnunet, "folder": _folder}


def own_data(spec: str) -> Adapter | None:
    """Return the adapter for ``nnunet:FOLDER`` or ``folder:FOLDER``, None for any other text.

    Raises:
        InputError: the folder has no plain name.
    """
    kind, colon, name = spec.partition(":")
    if not colon or kind not in _KINDS:
        return None
    if not name or name.startswith(".") or Path(name).name != name:
        raise InputError(f"{spec!r} names no folder", f"write {kind}: and the name of a folder in the source folder")
    return DataSet(
        name=name,
        title=name,
        licence="not stated",
        page="your own data",
        folders=(name,),
        find=_KINDS[kind],
        physics=("body",),
    )
