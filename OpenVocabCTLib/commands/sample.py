"""The sample CT of the demo: what the PyPI package ``slicerio`` carries, with its reference segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.errors import InputError

if TYPE_CHECKING:
    import numpy as np

# Names as the reference segmentation has them; the last four prompts have no reference.
REFERENCED_PROMPTS = (
    "left lung",
    "right lung",
    "ribs",
    "cervical vertebral column",
    "thoracic vertebral column",
    "lumbar vertebral column",
)
OTHER_PROMPTS = ("heart", "spinal cord", "left kidney", "the quick brown fox")
DEMO_PROMPTS = REFERENCED_PROMPTS + OTHER_PROMPTS


@dataclass(frozen=True)
class Sample:
    """Files of the sample: a chest CT, and a label map of it whose header names the labels."""

    ct: Path
    reference: Path

    @classmethod
    def find(cls, package: str = "slicerio") -> Sample:
        """Find the sample in the installed package, without importing it.

        Args:
            package: import name of the package.

        Raises:
            InputError: the package or its data is not installed.
        """
        spec = find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        if not folders:
            raise InputError("the sample CT is not installed", "run pip install 'openvocabct[demo]'")
        data = Path(folders[0]) / "data"
        sample = cls(data / "CTChest4.nrrd", data / "Segmentation.seg.nrrd")
        for path in (sample.ct, sample.reference):
            if not path.is_file():
                raise InputError(f"the sample {path} is missing", "run pip install --force-reinstall slicerio==1.4.0")
        return sample

    def reference_masks(self) -> dict[str, np.ndarray]:
        """Read the reference: name of the structure -> bool (K, J, I) on the grid of the CT."""
        import nrrd

        labels, header = nrrd.read(str(self.reference), index_order="C")
        masks = {}
        for number in range(sum(key.endswith("_LabelValue") for key in header)):
            value = int(header[f"Segment{number}_LabelValue"])
            masks[header[f"Segment{number}_Name"]] = labels == value
        return masks


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient of two bool masks on the same grid; 0 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 0.0
