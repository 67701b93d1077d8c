"""Complete CT series as a scanner writes them, in the positions that patients lie in, and programs to check results."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from OpenVocabCTLib.output import Segmentation
from OpenVocabCTLib.output.algorithm import Algorithm
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.ct_phantoms import ct_phantom
from Testing.openvocabct_lib.dicom_series import write_slice
from Testing.openvocabct_lib.output.output_cases import box_mask, segmentation

SHAPE = (9, 12, 15)
SPACING = (0.8, 0.7)  # mm between rows, between columns
STEP_MM = 2.5
TILT = 0.2  # rad
PATIENT = {
    "PatientName": "Test^Patient",
    "PatientID": "PID-4711",
    "PatientBirthDate": "19500101",
    "PatientSex": "O",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.9",
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.77",
    "PositionReferenceIndicator": "",
    "Manufacturer": "Generated",
    "PatientPosition": "HFS",
    "SliceThickness": 2.5,
    "KVP": 120,
}


@dataclass(frozen=True)
class Position:
    """How slices lie: (2, 3) row and column vectors, and the step (3,) from one to the next in mm."""

    axes: NDArray[np.float64]
    step: NDArray[np.float64]


def _position(row: Any, column: Any, sign: float = 1.0, step: Any = None) -> Position:
    axes = np.array([row, column], dtype=float)
    return Position(axes, sign * STEP_MM * np.cross(*axes) if step is None else np.asarray(step, dtype=float))


_OBLIQUE = Rotation.from_euler("xyz", [10, 5, 20], degrees=True).as_matrix().T[:2]
POSITIONS = {
    "axial": _position((1, 0, 0), (0, 1, 0)),
    "oblique": _position(*_OBLIQUE),
    "tilted": _position((1, 0, 0), (0, math.cos(TILT), math.sin(TILT)), step=(0, 0, STEP_MM)),
    "flipped order": _position((1, 0, 0), (0, 1, 0), sign=-1),
    "decubitus": _position((0, 1, 0), (-1, 0, 0)),
}


def write_clinical(folder: Path, position: str = "axial", skip: tuple[int, ...] = (), **options: Any) -> list[Path]:
    """Write a series; file names do not follow the order of the slices."""
    place, paths = POSITIONS[position], []
    for k, pixels in enumerate(ct_phantom(SHAPE)):
        if k in skip:
            continue
        path = folder / f"IM{(k * 7919) % 1000:03d}"
        attributes = PATIENT | {"SOPInstanceUID": f"1.2.826.0.1.3680043.8.498.55.{k + 1}", "InstanceNumber": k + 1}
        corner = np.array([-50.0, -40.0, 100.0]) + k * place.step
        write_slice(path, pixels, corner, place.axes.ravel(), SPACING, **(attributes | options))
        paths.append(path)
    return paths


def write_enhanced(path: Path, position: str = "axial", shuffle: bool = True, **attributes: Any) -> Dataset:
    """Write an enhanced CT; its frames are not in the order of the slices."""
    place, ct = POSITIONS[position], ct_phantom(SHAPE)
    order = [(k * 4) % len(ct) for k in range(len(ct))] if shuffle else list(range(len(ct)))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword, value in PATIENT.items():
        if keyword not in ("SliceThickness", "KVP"):
            setattr(dataset, keyword, value)
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "CT", generate_uid(), 3
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, len(ct)
    _, dataset.Rows, dataset.Columns = ct.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(SPACING), SliceThickness=STEP_MM)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[f"{x:.9g}" for x in place.axes.ravel()])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = Sequence()
    for k in order:
        corner = np.array([-50.0, -40.0, 100.0]) + k * place.step
        frame = _item(PlanePositionSequence=[_item(ImagePositionPatient=[f"{x:.9g}" for x in corner])])
        # Every frame has its own intercept: that of one must not be used for all.
        transformation = _item(RescaleSlope=1, RescaleIntercept=-1000 - k, RescaleType="HU")
        frame.PixelValueTransformationSequence = [transformation]
        frame.FrameContentSequence = [_item(DimensionIndexValues=[k + 1])]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.PixelData = np.stack([ct[k] + 1000 + k for k in order]).astype("<i2").tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


MODEL = Algorithm("test-model", "1.2.3", "ab" * 32)


def segmented(volume: CTVolume) -> Segmentation:
    """A segmentation with coded and free segments, two that overlap, one with a side, one in a region, one missing."""
    from dataclasses import replace

    shape = volume.geometry.shape
    k, j, i = shape
    masks = {
        "left kidney": box_mask(shape, (1, 2, 3), (4, 6, 7)),
        "spinal cord": box_mask(shape, (3, 5, 5), (k - 1, j - 4, i - 4)),
        "gallbladder": None,
        "a strange shadow": box_mask(shape, (2, 3, 4), (k - 2, j - 5, i - 6)),
        "liver cyst": box_mask(shape, (5, j // 2, 1), (6, j // 2 + 1, 2)),
    }
    return replace(segmentation(masks, volume.geometry, volume), algorithm=MODEL)


def program(name: str, package: str) -> str:
    """Return the path of a program of the system; without it the test fails under CI and is skipped elsewhere."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = f"needs the program {name}: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
