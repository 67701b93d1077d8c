"""Scans whose NIfTI headers say nothing true: grid and Hounsfield units come from a table."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.files import away_from_namesakes
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.memory import is_out_of_memory
from OpenVocabCTLib.volume import CTVolume


@dataclass(frozen=True)
class TrueHeader:
    """What a table says of a scan, in place of its own header.

    Attributes:
        spacing: mm along I, J, K.
        slope, intercept: HU = slope * stored + intercept.
        origin: centre of voxel (0, 0, 0) in LPS mm.
        rows, columns: direction cosines of I and J in LPS, as DICOM's Image Orientation (Patient).
    """

    spacing: tuple[float, float, float]
    slope: float = 1.0
    intercept: float = 0.0
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rows: tuple[float, float, float] = (1.0, 0.0, 0.0)
    columns: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def meaning(self) -> Any:
        """Plain data: equal headers and equal files give equal volumes."""
        return [list(part) if isinstance(part, tuple) else part for part in astuple(self)]

    def read(self, path: Path) -> CTVolume:
        """Read the stored values of a file and give them this header.

        Raises:
            InputError: the file cannot be read, or is no CT with this header.
            ResourceError: it does not fit into memory.
        """
        import SimpleITK as sitk

        try:
            with away_from_namesakes(path) as alone:
                stored = sitk.GetArrayFromImage(sitk.ReadImage(str(alone)))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise ResourceError(f"{path.name} does not fit into memory", "free memory, use fewer --jobs") from error
            raise InputError(f"{path.name} cannot be read", "download it again") from error
        if stored.ndim != 3:
            raise InputError(f"{path.name} has {stored.ndim} dimensions", "download it again")
        hu = np.rint(stored.astype(np.float32) * self.slope + self.intercept)
        normal = np.cross(self.rows, self.columns)
        direction = np.stack((self.rows, self.columns, normal), axis=1)
        geometry = Geometry(stored.shape, self.spacing, self.origin, tuple(direction.ravel().tolist()))
        return CTVolume.from_array(np.clip(hu, -32768, 32767).astype(np.int16), geometry, source=path)
