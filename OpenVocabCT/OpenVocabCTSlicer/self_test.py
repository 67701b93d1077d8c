"""The self test's checks: with the embedded weights, a small made-up chest and no network."""

from __future__ import annotations

import time
import unittest
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.logic import OpenVocabCTLogic, Request, Results
from OpenVocabCTSlicer.strings import _

_SHAPE = (48, 64, 64)
_SPACING = 6.0
_PROMPTS = ("lungs", "left lung")
_SECOND_PROMPT_SECONDS = 10.0


def check_engine(scene: Any, session: Any) -> str:
    """Run two prompts, then a third, on a made-up chest.

    Args:
        scene: an empty scene.
        session: connects to a worker; it is closed at the end.

    Returns:
        One sentence that says what was done.

    Raises:
        AssertionError: something is not as it must be.
    """
    check = unittest.TestCase()
    volume = add_chest(scene)
    logic = OpenVocabCTLogic(session)
    try:
        results = run(logic.segment(Request(volume, None, _PROMPTS)))
        _check_results(check, results, _PROMPTS)
        check.assertTrue(results.rows[0].found, results.rows[0].reason)
        began = time.monotonic()
        again = run(logic.segment(Request(volume, results.segmentation, ("spinal cord",))))
        seconds = time.monotonic() - began
        _check_results(check, again, ("spinal cord",))
        check.assertLess(seconds, _SECOND_PROMPT_SECONDS, "the CT was read again for a second prompt")
    finally:
        session.close()
    return _("The engine answered; a second prompt took {seconds:.1f} s").format(seconds=seconds)


def _check_results(check: unittest.TestCase, results: Results, prompts: tuple[str, ...]) -> None:
    check.assertEqual(len(results.rows), len(prompts))
    for row in results.rows:
        if not row.found:
            check.assertTrue(row.reason, row.prompt)
            check.assertIsNone(row.segment_id)
            continue
        assert results.segmentation is not None
        segment = results.segmentation.GetSegmentation().GetSegment(row.segment_id)
        check.assertIsNotNone(segment, row.prompt)
        check.assertEqual(segment.GetName(), row.name)
        check.assertGreater(row.volume_ml, 0)


def add_chest(scene: Any) -> Any:
    """Add a volume of 48 x 64 x 64 voxels: a body with two lungs and a spine, in HU."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "SelfTestChest")
    voxels = chest()
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = vtk_to_numpy(numpy_to_vtk(voxels.ravel()))
    node.SetAndObserveImageData(image)
    node.SetSpacing(_SPACING, _SPACING, _SPACING)
    # Voxel axes of an ordinary CT: left, posterior, superior.
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    return node


def chest() -> np.ndarray:
    """Return the voxels (K, J, I) in HU, int16; the same every time."""
    k, j, i = (axis.astype(float) for axis in np.ogrid[tuple(slice(0, n) for n in _SHAPE)])

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        squares = [((axis - c) / r) ** 2 for axis, c, r in zip((k, j, i), centre, radii, strict=True)]
        return squares[0] + squares[1] + squares[2] <= 1

    voxels = np.full(_SHAPE, -1000.0)
    body = ((j - 32) / 18) ** 2 + ((i - 32) / 27) ** 2 <= np.ones_like(k)
    voxels[body] = 40
    for side in (20, 44):
        voxels[ball((26, 31, side), (20, 13, 9))] = -830
    spine = ((j - 44) / 3.5) ** 2 + ((i - 32) / 3.5) ** 2 <= np.ones_like(k)
    voxels[spine] = 250
    noise = np.random.default_rng(1).normal(0, 12, _SHAPE)
    return np.clip(voxels + noise, -1024, 3071).astype(np.int16)
