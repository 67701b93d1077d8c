"""The options that reach the model through the services of the commands, and what is built ahead."""

from __future__ import annotations

import sys
from pathlib import Path

from OpenVocabCTLib.commands.services import with_embedding_folder
from OpenVocabCTLib.inference.embedding_folder import EmbeddingFolder
from OpenVocabCTLib.prompts.matching import phrase_index
from OpenVocabCTLib.worker.loading import warm_up
from Testing.openvocabct_lib.fake_model import fake_services, write_ct
from Testing.openvocabct_lib.test_cli import assert_one_line_error, run, segment


def test_a_model_gets_the_folder_for_its_embeddings(tmp_path: Path) -> None:
    services = fake_services()
    assert with_embedding_folder(services, None) is services
    loaded = with_embedding_folder(services, tmp_path / "new" / "cache").load_model("name", "cpu")
    assert (loaded.name, loaded.device) == ("name", "cpu")
    assert isinstance(loaded.segmenter.folder, EmbeddingFolder)
    assert loaded.segmenter.folder.folder == tmp_path / "new" / "cache"


def test_a_cache_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct.nii.gz")
    (tmp_path / "file").write_text("not a folder")
    assert_one_line_error(segment(ct, tmp_path / "a.seg.nrrd", "--cache", tmp_path / "file"), 2)
    assert_one_line_error(run("batch", ct, "-p", "bones", "-o", tmp_path / "out", "--cache", tmp_path / "file"), 2)
    assert segment(ct, tmp_path / "a.seg.nrrd", "--cache", tmp_path / "cache").exit_code == 0


def test_what_the_first_answer_needs_is_built_ahead() -> None:
    phrase_index.cache_clear()
    warm_up()
    assert phrase_index.cache_info().currsize == 1
    assert "SimpleITK" in sys.modules
