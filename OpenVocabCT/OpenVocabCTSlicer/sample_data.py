"""Registers the CT of the tutorial with Slicer's Sample Data module; nothing is downloaded before a click."""

from __future__ import annotations

from typing import Any

CATEGORY = "OpenVocabCT"
SAMPLE = "OpenVocabCTChest"
SHA256 = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}"


def register_sample_data(sample_data_logic: Any) -> None:
    """Offer Slicer's chest CT under our own category.

    Args:
        sample_data_logic: the class ``SampleData.SampleDataLogic``; only what Slicer 5.10 takes is given to it.
    """
    sample_data_logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        uris=URL,
        fileNames="CT-chest.nrrd",
        nodeNames="CTChest",
        checksums=f"SHA256:{SHA256}",
    )
