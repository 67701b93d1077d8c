"""Organs with their tumours: KiTS23, LiTS, and the CT tasks of the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from openvocabct_training.data.adapters.base import DataSet, Found
from openvocabct_training.data.adapters.labels import LabelScheme
from openvocabct_training.data.adapters.layout import (
    first_folder,
    folders_in,
    listed,
    numbered,
    read_json,
    stated_licence,
)
from OpenVocabCTLib.errors import InputError

KITS23_LABELS = LabelScheme(
    values={"kidneys": (1,), "kidney_tumor": (2,), "kidney_cysts": (3,)},
    within={"kidneys": ("kidney_tumor", "kidney_cysts")},
)
LIVER_LABELS = LabelScheme(values={"liver": (1,), "liver_tumor": (2,)}, within={"liver": ("liver_tumor",)})
PANCREAS_LABELS = LabelScheme(
    values={"pancreas": (1,), "pancreatic_tumor": (2,)}, within={"pancreas": ("pancreatic_tumor",)}
)
# Vessels and tumours lie in a liver that is not drawn.
HEPATIC_VESSEL_LABELS = LabelScheme(values={"liver_vessels": (1,), "liver_tumor": (2,)})
LUNG_LABELS = LabelScheme(values={"lung_tumor": (1,)})
SPLEEN_LABELS = LabelScheme(values={"spleen": (1,)})
COLON_LABELS = LabelScheme(values={"colon_tumor": (1,)})


def _kits23(root: Path) -> Iterator[Found]:
    for folder in folders_in(first_folder(root, "dataset", ".")):
        if folder.name.startswith("case_"):
            labels = KITS23_LABELS.of(folder / "segmentation.nii.gz")
            yield Found(folder.name, folder / "imaging.nii.gz", labels)


def _lits_patient(number: str) -> str:
    """LiTS and the Decathlon's liver task are the same scans with the same numbers."""
    return f"lits/{int(number)}"


def _lits(root: Path) -> Iterator[Found]:
    """The two batches have folders of various names, so both kinds of files are looked for below the folder."""
    scans: dict[str, Path] = {}
    drawn: dict[str, Path] = {}
    for files, start in ((scans, "volume-"), (drawn, "segmentation-")):
        for path in root.rglob(f"{start}*.nii*"):
            number = path.name.removeprefix(start).removesuffix(".gz").removesuffix(".nii")
            if number.isdigit():
                files[number] = path
    if not scans and not drawn:
        raise InputError(
            f"{root / 'Training Batch 1' / 'volume-0.nii'} is missing", "unpack both training batches of LiTS there"
        )
    for number in sorted({*scans, *drawn}, key=numbered):
        ct = scans.get(number, drawn.get(number, root).with_name(f"volume-{number}.nii"))
        labels = LIVER_LABELS.of(drawn.get(number, ct.with_name(f"segmentation-{number}.nii")))
        yield Found(f"volume-{number}", ct, labels, patient=_lits_patient(number))


def _decathlon(
    scheme: LabelScheme, patient: Callable[[str], str] = lambda number: ""
) -> Callable[[Path], Iterator[Found]]:
    """Return how to find the training cases of a task; its test cases have no labels."""

    def find(root: Path) -> Iterator[Found]:
        description = read_json(root / "dataset.json", "training", "labels")
        named = {int(value) for value in description["labels"] if str(value).isdigit()}
        if named != scheme.known:
            raise InputError(
                f"{root / 'dataset.json'} has the labels {sorted(named)}, expected {sorted(scheme.known)}",
                "check that it is this task",
            )
        stated = stated_licence(description)
        for case, ct, labels in listed(root, description, "training"):
            number = case.rpartition("_")[2]
            yield Found(
                case, ct, scheme.of(labels), patient=patient(number) if number.isdigit() else "", licence=stated
            )

    return find


def _task(number: int, part: str, find: Callable[[Path], Iterator[Found]], rules_out: tuple[str, ...]) -> DataSet:
    folder = f"Task{number:02d}_{part}"
    name = {"HepaticVessel": "hepatic_vessel"}.get(part, part.lower())
    return DataSet(
        name=f"msd_{name}",
        title=f"{folder} of the Medical Segmentation Decathlon",
        licence="CC BY-SA 4.0",
        page="http://medicaldecathlon.com",
        folders=(folder, f"msd/{folder}", f"MSD/{folder}"),
        find=find,
        rules_out=rules_out,
    )


TUMOURS = (
    DataSet(
        name="kits23",
        title="KiTS23",
        licence="CC BY-NC-SA 4.0",
        page="https://github.com/neheller/kits23",
        folders=("kits23", "KiTS23"),
        find=_kits23,
    ),
    DataSet(
        name="lits",
        title="LiTS",
        licence="as stated on the download page (CC BY-NC-ND 4.0)",
        page="https://competitions.codalab.org/competitions/17094",
        folders=("lits", "LiTS", "LITS"),
        find=_lits,
    ),
    _task(3, "Liver", _decathlon(LIVER_LABELS, _lits_patient), ()),
    _task(6, "Lung", _decathlon(LUNG_LABELS), ()),
    _task(7, "Pancreas", _decathlon(PANCREAS_LABELS), ("head",)),
    _task(8, "HepaticVessel", _decathlon(HEPATIC_VESSEL_LABELS), ("head",)),
    _task(9, "Spleen", _decathlon(SPLEEN_LABELS), ("head",)),
    _task(10, "Colon", _decathlon(COLON_LABELS), ("head",)),
)
