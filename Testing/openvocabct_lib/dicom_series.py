"""Writing small DICOM CT series for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = "1.2.826.0.1.3680043.8.498.1"


def write_slice(
    path: Path,
    hounsfield: NDArray[Any],
    position: Any,
    orientation: Any = AXIAL,
    spacing: tuple[float, float] = (0.8, 0.7),
    slope: float = 1,
    intercept: float = -1024,
    **attributes: Any,
) -> Dataset:
    """Write one CT image (rows, columns) in HU; `spacing` is mm between rows, between columns.

    `attributes` are DICOM keywords; None removes one.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    dataset.SeriesInstanceUID = SERIES
    dataset.SeriesNumber = 2
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = 1
    dataset.Rows, dataset.Columns = hounsfield.shape
    dataset.PixelSpacing = list(spacing)
    dataset.ImagePositionPatient = [f"{float(x):.9g}" for x in position]
    dataset.ImageOrientationPatient = [f"{float(x):.9g}" for x in orientation]
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = np.rint((hounsfield - intercept) / slope).astype("<i2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def write_series(
    folder: Path,
    ct: NDArray[Any],
    step: Any = (0.0, 0.0, 2.5),
    origin: Any = (-50.0, -40.0, 100.0),
    skip: tuple[int, ...] = (),
    **options: Any,
) -> list[Path]:
    """Write the slices of a CT (K, J, I), `step` mm apart, under names that do not follow their order."""
    paths = []
    for k, pixels in enumerate(ct):
        if k in skip:
            continue
        path = folder / f"IM{(k * 7919) % 1000:03d}"
        write_slice(path, pixels, np.add(origin, np.multiply(step, k)), **{"InstanceNumber": k + 1, **options})
        paths.append(path)
    return paths
