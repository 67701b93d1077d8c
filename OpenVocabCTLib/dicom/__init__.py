"""Reading DICOM CT: pydicom for the headers, GDCM (through SimpleITK) for compressed pixels.

`locations` finds the files, `frames` reads the header of each image, `catalogue` sorts them into series, `series`
makes a volume of one of them with `phases` and `pixels`. `looking` tells CT from the rest at a glance. `source` keeps
what a DICOM result has to say about its source images.
"""

from __future__ import annotations

from OpenVocabCTLib.dicom.catalogue import Catalogue, SeriesSummary, scan
from OpenVocabCTLib.dicom.frames import Frame
from OpenVocabCTLib.dicom.locations import Location, is_dicom_file
from OpenVocabCTLib.dicom.series import Series, read_series
from OpenVocabCTLib.dicom.source import DicomSource

__all__ = [
    "Catalogue",
    "DicomSource",
    "Frame",
    "Location",
    "Series",
    "SeriesSummary",
    "is_dicom_file",
    "read_series",
    "scan",
]
