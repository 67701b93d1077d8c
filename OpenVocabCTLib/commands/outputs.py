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
    from OpenVocabCTLib.volume import CTVolume

_PROBABILITY_SUFFIX = ".nii.gz"
_NIFTI_TYPE, _NIFTI_FLOAT32 = slice(70, 72), (b"\x10\x00", b"\x00\x10")  # of voxels, in either byte order


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

    def check(self, source: Path, prompts: PromptSet) -> None:
        """Find out whether everything can be written, before any time is spent.

        Args:
            source: the input, which must not be overwritten.
            prompts: what is asked for; the files of probabilities are named by it.

        Raises:
            InputError: a suffix is unknown, a folder is missing or not writable, two of the paths are the same file, a
                file would be replaced that is no result, or DICOM is asked for of an input that is none.
        """
        from OpenVocabCTLib.output.formats import DICOM_SEG, PREVIEW_SUFFIXES, TABLE_SUFFIXES, check_output
        from OpenVocabCTLib.output.labelmap import check_replaced_image

        self._check_distinct(source, prompts)
        suffix = check_output(self.segmentation)
        if self.is_dicom:
            _check_dicom(source, self.segmentation, suffix)
        else:
            check_replaced_image(self.segmentation)
        if self.fractional and suffix != DICOM_SEG:
            raise InputError("only DICOM SEG can be fractional", "end the output with .dcm, or use --probabilities DIR")
        if self.statistics is not None:
            check_output(self.statistics, TABLE_SUFFIXES)
        if self.preview is not None:
            check_output(self.preview, PREVIEW_SUFFIXES)
        if self.probabilities is not None:
            _check_probability_folder(self.probabilities, prompts)

    def check_volume(self, volume: CTVolume) -> None:
        """Find out what only the CT itself can tell, before the image pass.

        Raises:
            InputError: DICOM is asked for, and the CT's images lack what it needs.
        """
        if self.is_dicom:
            from OpenVocabCTLib.output.dicom_common import check_volume
            from OpenVocabCTLib.output.dicom_seg import dicom_seg
            from OpenVocabCTLib.output.formats import RTSTRUCT
            from OpenVocabCTLib.output.rtstruct import rtstruct

            check_volume(volume, rtstruct if self.segmentation.name.lower().endswith(RTSTRUCT) else dicom_seg)

    @property
    def is_dicom(self) -> bool:
        """Whether the segmentation goes to a DICOM file."""
        from OpenVocabCTLib.output.formats import DICOM_SUFFIXES

        return self.segmentation.name.lower().endswith(DICOM_SUFFIXES)

    def write(self, study: Study, segmentation: Segmentation, prompts: PromptSet, overlap: Overlap) -> Written:
        """Write what was asked for, each file under its final name only when it is complete.

        DICOM cannot say that nothing was found: no file is written then, and one of an earlier run is removed, so that
        it is not taken for the answer.
        """
        files, notes = list(self._files()), []
        if self.is_dicom and not segmentation.found:
            files.remove(self.segmentation)
            notes.append(_not_written(self.segmentation))
        elif self.fractional:
            _write_fractional(self.segmentation, study, segmentation, prompts)
        else:
            segmentation.write(self.segmentation, overlap=overlap)
        if self.statistics is not None:
            segmentation.write_statistics(self.statistics)
        if self.preview is not None:
            segmentation.write_preview(self.preview)
        if self.probabilities is not None:
            files += _write_probabilities(self.probabilities, study, segmentation, prompts)
        return Written(tuple(files), tuple(notes))

    def _check_distinct(self, source: Path, prompts: PromptSet) -> None:
        from OpenVocabCTLib.output.places import identity

        taken = {identity(source): "the input"}
        maps = () if self.probabilities is None else _probability_files(self.probabilities, prompts)
        for path in (*self._files(), *maps):
            one = identity(path)
            if one in taken:
                raise InputError(
                    f"{path.name} is also {taken[one]}",
                    "give each file its own name" if path not in maps else "give --probabilities a folder of its own",
                )
            taken[one] = "another output"

    def _files(self) -> Iterator[Path]:
        yield from (path for path in (self.segmentation, self.statistics, self.preview) if path is not None)


@dataclass(frozen=True)
class Written:
    """What a run wrote.

    Attributes:
        files: in the order they were written.
        notes: what the user should know about them.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def _not_written(path: Path) -> str:
    """Remove the result of an earlier run, and say so; `Outputs.check` has refused what is none."""
    existed = path.is_file()
    path.resolve().unlink(missing_ok=True)
    removed = "; the one of an earlier run was removed" if existed else ""
    return f"nothing was found, which DICOM cannot say: {path.name} was not written{removed}"


def _check_probability_folder(folder: Path, prompts: PromptSet) -> None:
    from OpenVocabCTLib.output.formats import check_output

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is not a folder", "give the name of a folder for the probabilities")
    existing = folder if folder.is_dir() else folder.parent
    check_output(existing / f"probabilities{_PROBABILITY_SUFFIX}", (_PROBABILITY_SUFFIX,))
    for path in _probability_files(folder, prompts):
        if path.is_file() and not _may_be_probabilities(path):
            raise InputError(
                f"{path.name} in {folder.name} holds no probabilities", "give --probabilities a folder of its own"
            )


def _probability_files(folder: Path, prompts: PromptSet) -> tuple[Path, ...]:
    from OpenVocabCTLib.output.segmentation import segment_ids

    return tuple(folder / f"{segment_id}{_PROBABILITY_SUFFIX}" for segment_id in segment_ids(prompts))


def _may_be_probabilities(path: Path) -> bool:
    """Whether a file's voxels are of the type that an earlier run gave them: a mask or a CT of this name is not."""
    import gzip
    import zlib

    try:
        with gzip.open(path) as stream:
            return stream.read(_NIFTI_TYPE.stop)[_NIFTI_TYPE] in _NIFTI_FLOAT32
    except (OSError, EOFError, zlib.error):
        return False


def _write_probabilities(
    folder: Path, study: Study, segmentation: Segmentation, prompts: PromptSet
) -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    paths = _probability_files(folder, prompts)
    for path, prompt in zip(paths, prompts, strict=True):
        _write_image(study.probabilities(prompt.text), segmentation.geometry, path)
    return paths


def _write_fractional(path: Path, study: Study, segmentation: Segmentation, prompts: PromptSet) -> None:
    from OpenVocabCTLib.output.dicom_seg import write_dicom_seg

    texts = {segment.id: prompt.text for segment, prompt in zip(segmentation, prompts, strict=True)}
    write_dicom_seg(segmentation, path, lambda segment: study.probabilities(texts[segment.id]))


def _check_dicom(source: Path, path: Path, suffix: str) -> None:
    """Refuse to promise DICOM for an input that is plainly none; a folder is looked into when it is read."""
    from OpenVocabCTLib.output.dicom_common import check_replaceable
    from OpenVocabCTLib.output.dicom_seg import check_library
    from OpenVocabCTLib.output.formats import DICOM_SEG
    from OpenVocabCTLib.volume import is_dicom

    if source.exists() and not is_dicom(source):
        raise InputError("DICOM can be written only for a CT that is read from DICOM", "write .seg.nrrd instead")
    if suffix == DICOM_SEG:
        check_library()
    check_replaceable(path)


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
