"""DICOM export with Slicer's own subject hierarchy and a plug-in that behaves like QuantitativeReporting's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from OpenVocabCTLib.errors import InputError
from OpenVocabCTLib.output.algorithm import NAME_TAG, TYPE_TAG
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.dicom_export import PLUGIN, REFERENCED_INSTANCES, VOLUME_INSTANCES, DicomExport
from OpenVocabCTSlicer.segments import SegmentWriter
from OpenVocabCTSlicer.volumes import ijk_to_ras
from Testing.slicer.scenes import (
    SHAPE,
    box_mask,
    ct_node,
    edit,
    grid,
    ids,
    put_under,
    segmentation,
    segmentation_node,
    tag,
    vtk_matrix,
)

UIDS = ("1.2.3", "1.2.4")


class Plugin:
    """Exports what the subject hierarchy relates to images of the database."""

    def __init__(self, scene: Scene, complaint: str = "", files: int = 1, takes: bool = True) -> None:
        self._scene, self._complaint, self._files, self._takes = scene, complaint, files, takes

    def examineForExport(self, item: int) -> list[Any]:  # noqa: N802 the name of Slicer's plug-ins
        uids = self._scene.hierarchy.GetItemAttribute(item, REFERENCED_INSTANCES).split()
        known = uids and all(self._scene.database.fileForInstance(uid) for uid in uids)
        return [SimpleNamespace(directory="", item=item)] if known and self._takes else []

    def export(self, exportables: list[Any]) -> str:
        node = self._scene.segmentation
        self._scene.makers = {segment_id: tag(node, segment_id, TYPE_TAG) for segment_id in ids(node)}
        for number in range(self._files):
            Path(exportables[0].directory, f"seg{number}.dcm").write_bytes(b"x")
        return self._complaint


class Scene:
    """A CT of the DICOM database below a study, and a segmentation outside of it."""

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        self.volume = ct_node(self.scene)
        self.volume.SetAttribute(VOLUME_INSTANCES, " ".join(UIDS))
        self.segmentation = segmentation_node(self.scene)
        segment = slicer.vtkSegment()
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(2, 2, 2)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.SetGeometryFromImageToWorldMatrix(vtk_matrix(ijk_to_ras(self.volume)))
        segment.AddRepresentation("Binary labelmap", image)
        assert self.segmentation.GetSegmentation().AddSegment(segment, "left_kidney")
        self.study = self.hierarchy.CreateStudyItem(self.hierarchy.GetSceneItemID(), "study")
        self.hierarchy.CreateItem(self.study, self.volume)
        self.hierarchy.CreateItem(self.hierarchy.GetSceneItemID(), self.segmentation)
        self.known = set(UIDS)
        self.makers: dict[str, str | None] = {}
        # Image Position (Patient) by file, as ctkDICOMDatabase gives it; "" where a file has none of its own.
        self.positions: dict[str, str] = {}
        self.database = SimpleNamespace(
            fileForInstance=lambda uid: f"/db/{uid}" if uid in self.known else "",
            fileValue=lambda file, tag: self.positions.get(file, "") if tag == "0020,0032" else "",
        )

    def export(self, folder: Path, volume: Any = None, **plugin: Any) -> tuple[Path, ...]:
        exporter = DicomExport({PLUGIN: lambda: Plugin(self, **plugin)}, self.database, self.hierarchy)
        return exporter.export(volume or self.volume, self.segmentation, folder)

    def relations(self) -> tuple[Any, ...]:
        """What an export writes into the scene."""
        item, node = self.hierarchy.GetItemByDataNode(self.segmentation), self.segmentation
        name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        return (
            self.hierarchy.GetItemParent(item),
            self.hierarchy.GetItemAttribute(item, REFERENCED_INSTANCES),
            node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()),
            node.GetSegmentation().GetConversionParameter(name),
        )

    def another(self) -> Any:
        """A CT of another patient, also in the database."""
        other = ct_node(self.scene)
        other.SetAttribute(VOLUME_INSTANCES, "9.9.1 9.9.2")
        self.known |= {"9.9.1", "9.9.2"}
        study = self.hierarchy.CreateStudyItem(self.hierarchy.GetSceneItemID(), "study of another")
        self.hierarchy.CreateItem(study, other)
        return other


def test_the_segmentation_is_related_to_its_images_and_exported(tmp_path: Path) -> None:
    scene = Scene()
    assert scene.export(tmp_path) == (tmp_path / "seg0.dcm",)
    assert [path.name for path in tmp_path.iterdir()] == ["seg0.dcm"]
    item = scene.hierarchy.GetItemByDataNode(scene.segmentation)
    assert scene.hierarchy.GetItemParent(item) == scene.study
    assert scene.hierarchy.GetItemAttribute(item, REFERENCED_INSTANCES).split() == list(UIDS)


def test_nothing_that_was_computed_is_called_drawn_by_hand(tmp_path: Path) -> None:
    # Slicer's plug-in writes "MANUAL" for a segment that does not say how it was made.
    scene = Scene()
    mask = box_mask(SHAPE, (0, 0, 0), (3, 3, 3))
    answers = segmentation({"liver": mask, "spleen": np.roll(mask, 3, axis=0)}, grid(shape=SHAPE))
    run(SegmentWriter().write(scene.segmentation, scene.volume, answers))
    scene.export(tmp_path)
    assert scene.makers == {"left_kidney": None, "liver": "AUTOMATIC", "spleen": "AUTOMATIC"}
    assert tag(scene.segmentation, "liver", NAME_TAG) == "OpenVocabCT"
    edit(scene.segmentation, "spleen", mask)
    scene.export(tmp_path)
    assert scene.makers == {"left_kidney": None, "liver": "AUTOMATIC", "spleen": "SEMIAUTOMATIC"}


def place_images(scene: Scene) -> None:
    """Give the images the places of the CT's slices as it is now."""
    lps = np.diag([-1.0, -1, 1, 1]) @ ijk_to_ras(scene.volume)
    for k, uid in enumerate(UIDS):
        scene.positions[f"/db/{uid}"] = "\\".join(f"{value:.6f}" for value in (lps @ [0, 0, k, 1])[:3])


@pytest.mark.parametrize("who", [("volume",), ("volume", "segmentation")])
def test_a_ct_that_was_moved_for_itself_is_refused(who: tuple[str, ...], tmp_path: Path) -> None:
    # The masks are where the CT was moved to, while a DICOM file would be shown on the images, which stayed.
    scene = Scene()
    place_images(scene)
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    before = scene.relations()
    moved = np.eye(4)
    moved[:3, 3] = 3.3, 0, 0
    transform = put_under(scene.scene, scene.volume, moved)
    if "segmentation" in who:
        scene.segmentation.SetAndObserveTransformNodeID(transform.GetID())
        assert scene.export(tmp_path), "both under one transform are to each other as before"
        for node in (scene.volume, scene.segmentation):
            node.HardenTransform()
        before = scene.relations()
    with pytest.raises(InputError, match=r"different transforms|no longer where its DICOM images are"):
        scene.export(tmp_path)
    assert scene.relations() == before


def test_what_was_found_while_the_ct_was_elsewhere_is_refused(tmp_path: Path) -> None:
    scene = Scene()
    place_images(scene)
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    mask = box_mask(SHAPE, (1, 1, 1), (3, 3, 3))

    def find(prompt: str) -> None:
        run(SegmentWriter().write(scene.segmentation, scene.volume, segmentation({prompt: mask}, grid(shape=SHAPE))))

    find("liver")
    moved = np.eye(4)
    moved[:3, 3] = 3.3, 0, 0
    put_under(scene.scene, scene.volume, moved)
    find("spleen")
    scene.volume.SetAndObserveTransformNodeID(None)
    with pytest.raises(InputError, match="'spleen' does not lie on the voxels of the CT"):
        scene.export(tmp_path)
    find("spleen")
    assert scene.export(tmp_path)


def test_a_geometry_finer_than_the_ct_can_be_exported(tmp_path: Path) -> None:
    scene = Scene()
    place_images(scene)
    mask = box_mask(SHAPE, (1, 1, 1), (3, 3, 3))
    run(SegmentWriter().write(scene.segmentation, scene.volume, segmentation({"liver": mask}, grid(shape=SHAPE))))
    content = scene.segmentation.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    finer, image = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(content.GetConversionParameter(name), finer, False)
    finer.SetSpacing(*(value / 2 for value in finer.GetSpacing()))
    finer.SetExtent(0, 2 * SHAPE[2] - 1, 0, 2 * SHAPE[1] - 1, 0, 2 * SHAPE[0] - 1)
    content.SetConversionParameter(name, slicer.vtkSegmentationConverter.SerializeImageGeometry(finer))
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    assert resample(content.GetSegment("liver").GetRepresentation("Binary labelmap"), finer, image)
    content.GetSegment("liver").AddRepresentation("Binary labelmap", image)
    assert scene.export(tmp_path)
    assert scene.makers["liver"] == "SEMIAUTOMATIC"


def test_a_ct_that_was_cropped_is_still_in_its_place(tmp_path: Path) -> None:
    scene = Scene()
    place_images(scene)
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    matrix = ijk_to_ras(scene.volume)
    matrix[:3, 3] = (matrix @ [2, 1, 1, 1])[:3]
    scene.volume.SetIJKToRASMatrix(vtk_matrix(matrix))
    assert scene.export(tmp_path)


def test_a_segmentation_of_another_ct_is_refused(tmp_path: Path) -> None:
    scene = Scene()
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    before, other = scene.relations(), scene.another()
    with pytest.raises(InputError, match="belongs to another CT: choose the CT"):
        scene.export(tmp_path, other)
    assert scene.relations() == before
    assert not list(tmp_path.iterdir())
    assert scene.export(tmp_path)


@pytest.mark.parametrize("knows_its_ct", [True, False])
@pytest.mark.parametrize("related", ["", "1.2.9"])
@pytest.mark.parametrize("options", [{"complaint": "it is wrong"}, {"files": 0}, {"takes": False}])
def test_an_export_that_fails_changes_nothing(options: Any, related: str, knows_its_ct: bool, tmp_path: Path) -> None:
    scene = Scene()
    if knows_its_ct:
        scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    if related:
        item = scene.hierarchy.GetItemByDataNode(scene.segmentation)
        scene.hierarchy.SetItemAttribute(item, REFERENCED_INSTANCES, related)
    before = scene.relations()
    with pytest.raises(InputError, match="DICOM plug-in"):
        scene.export(tmp_path, **options)
    assert scene.relations() == before


def test_a_geometry_that_the_user_chose_stays(tmp_path: Path) -> None:
    scene = Scene()
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scene.volume)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = scene.segmentation.GetSegmentation().GetConversionParameter(name)
    finer = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, finer, False)
    finer.SetSpacing(0.1, 0.1, 0.1)
    wanted = slicer.vtkSegmentationConverter.SerializeImageGeometry(finer)
    scene.segmentation.GetSegmentation().SetConversionParameter(name, wanted)
    scene.export(tmp_path)
    assert scene.segmentation.GetSegmentation().GetConversionParameter(name) == wanted


@pytest.mark.parametrize("options", [{"complaint": "terminology\nis missing"}, {"files": 0}])
def test_what_the_plugin_complains_about_is_said_and_nothing_is_left(options: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plug-in failed \((terminology is missing|no file was written)\)"):
        Scene().export(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_ct_that_was_loaded_from_a_file(tmp_path: Path) -> None:
    scene = Scene()
    scene.volume.RemoveAttribute(VOLUME_INSTANCES)
    with pytest.raises(InputError, match="does not come from the DICOM database: import"):
        scene.export(tmp_path)


def test_images_that_were_deleted(tmp_path: Path) -> None:
    scene = Scene()
    scene.known.discard(UIDS[1])
    with pytest.raises(InputError, match="no longer in the DICOM database"):
        scene.export(tmp_path)


def test_no_segment(tmp_path: Path) -> None:
    scene = Scene()
    scene.segmentation.GetSegmentation().RemoveAllSegments()
    with pytest.raises(InputError, match="no segment to export"):
        scene.export(tmp_path)


def test_without_the_plugin(tmp_path: Path) -> None:
    scene = Scene()
    with pytest.raises(InputError, match="QuantitativeReporting"):
        DicomExport({}, scene.database, scene.hierarchy).export(scene.volume, scene.segmentation, tmp_path)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Scene().export(tmp_path / "gone")
