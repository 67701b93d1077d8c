"""The files that a run writes: checked before the work, written after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from OpenVocabCTLib.errors import InputError, ResourceError

if TYPE_CHECKING:
    import numpy as np

    from OpenVocabCTLib.geometry import Geometry
    from OpenVocabCTLib.inference import Study
    from OpenVocabCTLib.output.segmentation import Overlap, Segmentation
    from OpenVocabCTLib.prompts import PromptSet

_PROBABILITY_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class Outputs:
    """Where the results go; None is not asked for.

    Attributes:
        segmentation: .seg.nrrd, a label map, or DICOM.
        statistics: .csv with one row per prompt.
        preview: .png picture.
        probabilities: folder for one .nii.gz of probabilities per prompt.
        fractional: DICOM SEG holds probabilities instead of masks.
    """

    segmentation: Path
    statistics: Path | None = None
    preview: Path | None = None
    probabilities: Path | None = None
    fractional: bool = False

    def check(self, source: Path) -> None:
        """Find out whether everything can be written, before any time is spent.

        Args:
            source: the input, which must not be overwritten.

        Raises:
            InputError: a suffix is unknown, a folder is missing or not writable, two of the paths are the same file,
                or DICOM is asked for of an input that is none.
        """
        from OpenVocabCTLib.output.formats import (
            DICOM_SEG,
            DICOM_SUFFIXES,
            PREVIEW_SUFFIXES,
            TABLE_SUFFIXES,
            check_output,
        )

        taken = {source.resolve(): "the input"}
        for path in self._files():
            if path.resolve() in taken:
                raise InputError(f"{path.name} is also {taken[path.resolve()]}", "give each file its own name")
            taken[path.resolve()] = "another output"
        suffix = check_output(self.segmentation)
        if suffix in DICOM_SUFFIXES:
            _check_dicom(source)
        if self.fractional and suffix != DICOM_SEG:
            raise InputError("only DICOM SEG can be fractional", "end the output with .dcm, or use --probabilities DIR")
        if self.statistics is not None:
            check_output(self.statistics, TABLE_SUFFIXES)
        if self.preview is not None:
            check_output(self.preview, PREVIEW_SUFFIXES)
        if self.probabilities is not None:
            _check_probability_folder(self.probabilities)

    def write(self, study: Study, segmentation: Segmentation, prompts: PromptSet, overlap: Overlap) -> tuple[Path, ...]:
        """Write what was asked for, each file under its final name only when it is complete.

        Returns:
            The files, in the order they were written; DICOM is left out where nothing was found, which it cannot say.
        """
        written = list(self._files())
        if not segmentation.found and self.segmentation.name.lower().endswith(".dcm"):
            written.remove(self.segmentation)
        elif self.fractional:
            _write_fractional(self.segmentation, study, segmentation, prompts)
        else:
            segmentation.write(self.segmentation, overlap=overlap)
        if self.statistics is not None:
            segmentation.write_statistics(self.statistics)
        if self.preview is not None:
            segmentation.write_preview(self.preview)
        if self.probabilities is None:
            return tuple(written)
        return tuple(written) + _write_probabilities(self.probabilities, study, segmentation, prompts)

    def _files(self) -> Iterator[Path]:
        yield from (path for path in (self.segmentation, self.statistics, self.preview) if path is not None)


def _check_probability_folder(folder: Path) -> None:
    from OpenVocabCTLib.output.formats import check_output

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is not a folder", "give the name of a folder for the probabilities")
    existing = folder if folder.is_dir() else folder.parent
    check_output(existing / f"probabilities{_PROBABILITY_SUFFIX}", (_PROBABILITY_SUFFIX,))


def _write_probabilities(
    folder: Path, study: Study, segmentation: Segmentation, prompts: PromptSet
) -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    written = []
    for segment, prompt in zip(segmentation, prompts, strict=True):
        path = folder / f"{segment.id}{_PROBABILITY_SUFFIX}"
        _write_image(study.probabilities(prompt.text), segmentation.geometry, path)
        written.append(path)
    return tuple(written)


def _write_fractional(path: Path, study: Study, segmentation: Segmentation, prompts: PromptSet) -> None:
    from OpenVocabCTLib.output.dicom_seg import write_dicom_seg

    texts = {segment.id: prompt.text for segment, prompt in zip(segmentation, prompts, strict=True)}
    write_dicom_seg(segmentation, path, lambda segment: study.probabilities(texts[segment.id]))


def _check_dicom(source: Path) -> None:
    """Refuse to promise DICOM for an input that is plainly none; a folder is looked into when it is read."""
    from OpenVocabCTLib.volume import is_dicom

    if source.exists() and not is_dicom(source):
        raise InputError("DICOM can be written only for a CT that is read from DICOM", "write .seg.nrrd instead")


def _write_image(array: np.ndarray, geometry: Geometry, path: Path) -> None:
    import numpy as np
    import SimpleITK as sitk

    from OpenVocabCTLib.output.atomic import replacing

    voxels = np.asarray(array, dtype=np.float32)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    with replacing(path, _PROBABILITY_SUFFIX) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            # ITK's NIfTI writer does not report a full disk; what is read back tells.
            written = sitk.ReadImage(str(temporary))
            complete = np.array_equal(sitk.GetArrayViewFromImage(written), voxels)
        except RuntimeError:
            complete = False
        if not complete:
            raise ResourceError(
                f"{path.name} could not be written completely", "free space on the disk or write somewhere else"
            )
