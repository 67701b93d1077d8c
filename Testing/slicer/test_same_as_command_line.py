"""In the scene there is to the voxel what `openvocabct segment` writes, on real CT."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from OpenVocabCTLib.cli import main
from OpenVocabCTLib.volume import CTVolume
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.headless import start_session
from OpenVocabCTSlicer.logic import OpenVocabCTLogic, Request
from Testing.openvocabct_lib.output.output_cases import read_with_slicer
from Testing.slicer.real_ct import PROMPTS, EngineSession, write_crop
from Testing.slicer.scenes import ids, mask_of, names, new_scene, tag


@pytest.fixture(scope="module")
def crop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crop(tmp_path_factory.mktemp("crop") / "crop.nrrd")


@pytest.fixture(scope="module")
def command_line(crop: Path) -> Path:
    output = crop.with_name("expected.seg.nrrd")
    prompts = [word for prompt in PROMPTS for word in ("-p", prompt)]
    with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(sys.stderr):
        main(["segment", str(crop), *prompts, "-o", str(output)])
    assert end.value.code == 0
    return output


def load(scene: Any, path: Path) -> Any:
    """Read a volume the way Slicer does."""
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "chest")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def check(node: Any, shape: tuple[int, int, int], expected_file: Path) -> None:
    expected = {segment.name: segment for segment in read_with_slicer(expected_file, shape)}
    assert set(names(node).values()) == set(expected)
    assert len(expected) >= 3, "the model finds too little for this test to mean anything"
    for segment_id, name in names(node).items():
        np.testing.assert_array_equal(mask_of(node, segment_id, shape), expected[name].mask, err_msg=name)
        assert tag(node, segment_id, "TerminologyEntry") == expected[name].terminology
        segment = node.GetSegmentation().GetSegment(segment_id)
        np.testing.assert_allclose(segment.GetColor(), expected[name].colour, atol=1e-6)


def test_in_any_order_and_one_after_the_other(crop: Path, command_line: Path) -> None:
    scene = new_scene()
    volume = load(scene, crop)
    shape = slicer.util.arrayFromVolume(volume).shape
    logic = OpenVocabCTLogic(EngineSession())
    node = None
    for prompts in (PROMPTS[3:], PROMPTS[2:5][::-1], PROMPTS[:1], PROMPTS):
        results = run(logic.segment(Request(volume, node, prompts)))
        node = results.segmentation
        assert [row.prompt for row in results.rows] == list(prompts)
    assert len(ids(node)) == len(set(ids(node)))
    check(node, shape, command_line)


@pytest.mark.slow
def test_through_the_worker(crop: Path, command_line: Path, tmp_path: Path) -> None:
    scene = new_scene()
    volume = load(scene, crop)
    session = start_session(tmp_path)
    try:
        results = run(OpenVocabCTLogic(session).segment(Request(volume, None, PROMPTS)))
    finally:
        session.close(10)
    check(results.segmentation, slicer.util.arrayFromVolume(volume).shape, command_line)


@pytest.mark.slow
def test_the_batch_script_writes_the_same(crop: Path, command_line: Path, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "OpenVocabCT" / "Scripts" / "batch.py"
    bad = tmp_path / "bad.nrrd"
    bad.write_bytes(b"no volume")
    words = ["--input", bad, crop, "--prompt", *PROMPTS, "--output", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, script, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 2, done.stderr
    assert "1 done, 0 finished before, 1 failed" in done.stdout
    expected = read_with_slicer(command_line, CTVolume.read(crop).array.shape)
    got = read_with_slicer(tmp_path / "out" / "crop.seg.nrrd", CTVolume.read(crop).array.shape)
    assert [segment.id for segment in got] == [segment.id for segment in expected]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask, err_msg=other.name)
        assert (one.name, one.terminology, one.colour) == (other.name, other.terminology, other.colour)
