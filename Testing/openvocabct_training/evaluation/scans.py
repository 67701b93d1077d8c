"""Tiny scans on an oblique, flipped, anisotropic grid, and systems whose answers are known in the patient's space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from openvocabct_training.evaluation.cases import EvaluationCase
from openvocabct_training.evaluation.patient import Patient
from openvocabct_training.evaluation.predictors import Answer, Predictor, Query
from OpenVocabCTLib.geometry import Geometry
from OpenVocabCTLib.output.masks import CroppedMask
from OpenVocabCTLib.prompts.parsing import PromptSet
from OpenVocabCTLib.prompts.vocabulary import Vocabulary
from OpenVocabCTLib.volume import CTVolume
from Testing.openvocabct_lib.inference.phantoms import patient_hu

LEFT, RIGHT, LARYNX = "left_parotid_gland", "right_parotid_gland", "larynx"
Shape = Callable[[np.ndarray], np.ndarray]


def grid(
    shape: tuple[int, int, int] = (18, 20, 24),
    spacing: tuple[float, float, float] = (6.0, 7.0, 8.0),
    degrees: tuple[float, float, float] = (8.0, -5.0, 12.0),
    signs: tuple[int, int, int] = (-1, 1, -1),
) -> Geometry:
    """A grid around the origin of patient space; (K, J, I), and mm along I, J, K."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees))
    direction = np.array(transform.GetMatrix()).reshape(3, 3) @ np.diag(signs)
    middle = direction @ np.diag(spacing) @ ((np.array(shape[::-1]) - 1) / 2)
    return Geometry(shape, spacing, tuple(-middle), tuple(direction.ravel().tolist()))


GRID = grid()


def points_of(geometry: Geometry) -> np.ndarray:
    """(K, J, I, 3) LPS mm of the voxels' centres."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij")
    points: np.ndarray = (np.stack([i, j, k, np.ones_like(i)], -1) @ geometry.affine_lps().T)[..., :3]
    return points


def ball(x: float, y: float, z: float, radius: float) -> Shape:
    centre = np.array([x, y, z])
    return lambda points: np.linalg.norm(points - centre, axis=-1) < radius


# What patient_hu draws brightly, and one structure that only the references know.
SHAPES: Mapping[str, Shape] = {
    LEFT: ball(30, -10, 15, 18),
    RIGHT: ball(-30, -15, -20, 14),
    LARYNX: ball(0, -30, 0, 13),
}


def ct(geometry: Geometry = GRID) -> CTVolume:
    return CTVolume.from_array(patient_hu(points_of(geometry)), geometry)


def masks(geometry: Geometry = GRID, shapes: Mapping[str, Shape] = SHAPES) -> dict[str, np.ndarray]:
    return {concept: shape(points_of(geometry)) for concept, shape in shapes.items()}


def cropped(geometry: Geometry = GRID, shapes: Mapping[str, Shape] = SHAPES) -> dict[str, CroppedMask]:
    return {concept: CroppedMask.from_full(mask) for concept, mask in masks(geometry, shapes).items()}


def write_scan(folder: Path, values: Mapping[str, int] | None = None) -> Path:
    """``ct.nii.gz`` and ``labels.nii.gz`` of the phantom; concept -> label value."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = ct()
    sitk.WriteImage(volume.to_sitk(), str(folder / "ct.nii.gz"))
    values = {LEFT: 1, RIGHT: 2, LARYNX: 3} if values is None else values
    drawn = masks()
    labels = sum(
        (drawn[concept] * np.uint8(value) for concept, value in values.items()), np.zeros(GRID.shape, np.uint8)
    )
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(volume.to_sitk())
    sitk.WriteImage(image, str(folder / "labels.nii.gz"))
    return folder


def write_list(path: Path, cases: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return path


def case_in_memory(
    folder: Path, shapes: Mapping[str, Shape] = SHAPES, case: str = "one", **changes: Any
) -> EvaluationCase:
    """A case whose references need no file."""
    path = write_scan(folder) / "ct.nii.gz"
    return EvaluationCase(case, "phantom", path, lambda geometry: masks(geometry, shapes).items(), **changes)


class KnownSystem:
    """Finds shapes in the patient's space by the concepts that the vocabulary reads from the words.

    Args:
        shapes: concept or text -> what it finds.
        refused: concepts and texts that it does not judge.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape] = SHAPES,
        refused: Sequence[str] = (),
        name: str = "known",
        fingerprint: str = "1",
    ) -> None:
        self.shapes, self.refused, self.name, self.fingerprint = dict(shapes), set(refused), name, fingerprint
        self.encoded: list[CTVolume] = []
        self.asked: list[Query] = []
        self.fails_after: int | None = None

    def encode(self, volume: CTVolume) -> KnownScan:
        if self.fails_after is not None and len(self.encoded) >= self.fails_after:
            raise KeyboardInterrupt
        self.encoded.append(volume)
        return KnownScan(self, points_of(volume.geometry))


class KnownScan:
    seconds = 2.0

    def __init__(self, system: KnownSystem, points: np.ndarray) -> None:
        self.system, self.points = system, points

    def segment(self, queries: Sequence[Query]) -> list[Answer]:
        self.system.asked += queries
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Answer:
        concept = PromptSet.parse([query.text])[0].concept
        keys = [query.text] if concept is None else [query.text, concept.id]
        if self.system.refused.intersection(keys):
            return Answer(None)
        shape = next((self.system.shapes[key] for key in keys if key in self.system.shapes), None)
        mask = None if shape is None else CroppedMask.from_full(shape(self.points))
        found = mask is not None and mask.count > 0
        return Answer(mask if found else None, 0.9 if found else 0.1)


def patient(folder: Path, predictor: Predictor | None = None, **changes: Any) -> Patient:
    held_out = changes.pop("held_out", ())
    return Patient(case_in_memory(folder, **changes), predictor or KnownSystem(), Vocabulary.load(), held_out)
