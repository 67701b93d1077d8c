"""Exporting a segmentation as DICOM SEG with the plug-in that Slicer's DICOM module uses for it.

The plug-in comes with Slicer 5.12, before that with the extension QuantitativeReporting. It needs to know which images
of the DICOM database the segmentation belongs to, and reads that from the subject hierarchy.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.atomic import os_error
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.belonging import check_belonging, reference_of
from OpenVocabCTSlicer.dicom_place import check_place
from OpenVocabCTSlicer.segment_tags import SegmentTags
from OpenVocabCTSlicer.segments import own_masks

Node = Any  # MRML nodes come without type information.

PLUGIN = "DICOMSegmentationPlugin"
VOLUME_INSTANCES = "DICOM.instanceUIDs"
REFERENCED_INSTANCES = "DICOM.ReferencedInstanceUIDs"


class DicomExport:
    """Writes segmentations to DICOM files.

    Args:
        plugins: makes Slicer's DICOM plug-ins, by name; ``slicer.modules.dicomPlugins``.
        database: ``slicer.dicomDatabase``; None where Slicer was built without DICOM.
        hierarchy: the scene's vtkMRMLSubjectHierarchyNode.
    """

    def __init__(self, plugins: Mapping[str, Callable[[], Any]], database: Any, hierarchy: Any) -> None:
        self._plugins, self._database, self._hierarchy = plugins, database, hierarchy

    @classmethod
    def of_application(cls, scene: Any) -> DicomExport:
        """Make it with what this Slicer offers."""
        import slicer

        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        return cls(getattr(slicer.modules, "dicomPlugins", {}), getattr(slicer, "dicomDatabase", None), hierarchy)

    def export(self, volume: Node, segmentation: Node, folder: Path) -> tuple[Path, ...]:
        """Export one segmentation.

        Args:
            volume: the CT that was segmented, loaded from the DICOM database.
            segmentation: vtkMRMLSegmentationNode with at least one segment.
            folder: where the file goes.

        Returns:
            The files that were written.

        Raises:
            InputError: the CT does not come from the database or was moved since, the segmentation belongs to another
                CT, the plug-in is missing or refuses, or the folder cannot be written; where the segmentation belongs
                is unchanged then.
        """
        uids = self._instances(volume)
        if segmentation is None or segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            raise InputError("there is no segment to export", "run the segmentation first")
        if PLUGIN not in self._plugins:
            raise InputError(
                "Slicer has no plug-in that writes DICOM SEG",
                "install the extension QuantitativeReporting, or Slicer 5.12 or newer",
            )
        check_belonging(segmentation, volume, "choose the CT that it belongs to")
        check_place(volume, segmentation, self._database, uids)
        with self._related(segmentation, volume, uids) as item:
            plugin = self._plugins[PLUGIN]()
            exportables = plugin.examineForExport(item)
            if not exportables:
                raise InputError(
                    "Slicer's DICOM plug-in does not take this segmentation", "check its series in the DICOM module"
                )
            _tell_makers(segmentation)
            try:
                return _export(plugin, exportables, folder)
            except OSError as error:
                raise os_error(error, folder) from error

    def _instances(self, volume: Node) -> list[str]:
        uids = ((volume.GetAttribute(VOLUME_INSTANCES) if volume is not None else None) or "").split()
        if not uids or self._database is None:
            raise InputError(
                "the CT does not come from the DICOM database", "import its series and load it with the DICOM module"
            )
        if not all(self._database.fileForInstance(uid) for uid in uids):
            raise InputError("the images of the CT are no longer in the DICOM database", "import the series again")
        return uids

    @contextmanager
    def _related(self, segmentation: Node, volume: Node, uids: list[str]) -> Iterator[int]:
        """Put the segmentation into the study of the CT, with the images it was made from; back when that is no use."""
        hierarchy, item = self._hierarchy, int(self._hierarchy.GetItemByDataNode(segmentation))
        parent, images = hierarchy.GetItemParent(item), hierarchy.GetItemAttribute(item, REFERENCED_INSTANCES)
        hierarchy.SetItemAttribute(item, REFERENCED_INSTANCES, " ".join(uids))
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume)))
        try:
            with _with_reference(segmentation, volume):
                yield item
        except BaseException:
            hierarchy.SetItemParent(item, parent)
            if images:
                hierarchy.SetItemAttribute(item, REFERENCED_INSTANCES, images)
            else:
                hierarchy.RemoveItemAttribute(item, REFERENCED_INSTANCES)
            raise


@contextmanager
def _with_reference(segmentation: Node, volume: Node) -> Iterator[None]:
    """Note the CT of a segmentation that does not know its own, as one from a file; a known geometry stays."""
    if reference_of(segmentation) is not None:
        yield
        return
    import slicer

    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    content = segmentation.GetSegmentation()
    before = content.GetConversionParameter(name)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    try:
        yield
    except BaseException:
        segmentation.SetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole(), None)
        content.SetConversionParameter(name, before)
        raise


def _tell_makers(segmentation: Node) -> None:
    """Note of our segments whether their voxels were edited since; others say themselves who made them."""
    for segment_id, digest in run(own_masks(segmentation)).items():
        tags = SegmentTags(segmentation.GetSegmentation().GetSegment(segment_id))
        tags.tell_maker(with_help=not tags.has_mask(digest))


def _export(plugin: Any, exportables: Any, folder: Path) -> tuple[Path, ...]:
    """Export into a folder beside the target, and move what is complete."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".openvocabct-") as temporary:
        for exportable in exportables:
            exportable.directory = temporary
        complaint = plugin.export(exportables)
        made = sorted(Path(temporary).rglob("*.dcm"))
        if complaint or not made:
            reason = " ".join(str(complaint).split())[:200] if complaint else "no file was written"
            raise InputError(f"Slicer's DICOM plug-in failed ({reason})", "see Slicer's error log")
        written = []
        for file in made:
            os.replace(file, folder / file.name)
            written.append(folder / file.name)
    return tuple(written)
