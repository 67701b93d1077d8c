from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from OpenVocabCTLib.errors import ModelError
from OpenVocabCTLib.models import checkpoints
from OpenVocabCTLib.models.checkpoints import (
    MODELS_VARIABLE,
    available_models,
    describe,
    read_config,
    resolve,
    sha256_file,
    verify,
)
from OpenVocabCTLib.models.config import ModelConfig
from Testing.openvocabct_lib.model_folder import PARAMETERS, write_model_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    return write_model_folder(tmp_path / "models" / "test-model")


def test_intact_model_is_verified(folder: Path) -> None:
    verify(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "text_bank.safetensors"])
def test_one_changed_bit_is_noticed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=name):
        verify(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "text_bank.safetensors", "config.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        verify(folder)


def test_weights_without_a_hash_are_refused(folder: Path) -> None:
    (folder / "extra.safetensors").write_bytes(b"anything")
    with pytest.raises(ModelError, match=r"extra\.safetensors"):
        verify(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", '"text"', "{}", '{"sha256": []}', '{"sha256": {"model.safetensors": 3}}', '{"sha256": {}}']
)
def test_unusable_configuration_is_a_model_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        verify(folder)


def test_configuration_that_is_not_utf8_is_a_model_error(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(ModelError, match=r"config\.json"):
        verify(folder)


def test_hashes_of_files_elsewhere_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["sha256"]["../other/model.safetensors"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="not a file beside it"):
        verify(folder)


def test_describe(folder: Path) -> None:
    info = describe(folder)
    assert (info.name, info.version, info.licence, info.spacing_mm) == (
        "test-model",
        "1.2.3",
        "Apache-2.0",
        (3.0, 3.0, 3.0),
    )
    assert info.parameters == PARAMETERS
    assert info.concepts == ("left_lung", "spinal_cord")
    assert info.folder == folder


def test_describe_names_the_missing_entry(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "m", preprocessing={})
    with pytest.raises(ModelError, match="spacing_mm"):
        describe(folder)


@pytest.mark.parametrize(
    "changes", [{"concepts": ["left_lung"]}, {"concepts": {"left_lung": 3}}, {"preprocessing": {"spacing_mm": "fine"}}]
)
def test_describe_refuses_entries_of_the_wrong_kind(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"config\.json is malformed"):
        describe(write_model_folder(tmp_path / "m", **changes))


def with_length(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        with_length(b"[]"),
        with_length(b"{}")[:9],
        pytest.param(with_length(b'{"a":' * 100_000), id="nested"),
        pytest.param(with_length(b'{"a": {"shape": [1' + b"0" * 4000 + b"]}}"), id="huge"),
    ],
)
def test_weights_that_are_no_safetensors_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        describe(folder)


def test_resolve_by_name_and_by_folder(folder: Path) -> None:
    assert resolve("test-model") == folder
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder


def test_a_folder_of_that_name_does_not_hide_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_model_folder(tmp_path / "elsewhere" / "test-model")
    monkeypatch.chdir(other.parent)
    assert resolve("test-model") == folder
    assert resolve("./test-model").resolve() == other


def test_unknown_model_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(ModelError, match="test-model") as error:
        resolve("no-such-model")
    assert "no-such-model" in error.value.what


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve(tmp_path)


def test_one_damaged_model_does_not_hide_the_others(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = write_model_folder(folder.parent / "broken")
    (broken / "config.json").write_text("{", encoding="utf-8")
    assert [info.name for info in available_models() if info.folder.parent == folder.parent] == ["test-model"]
    assert "broken" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"concepts": ["left_lung"]},
        {"concepts": {"left_lung": None}},
        {"concepts": {"left_lung": {"cases": "many"}}},
        {"decision": None},
        {"decision": {"minimum_scans": "ten"}},
        {"preprocessing": {"spacing_mm": 10**400}},
    ],
)
def test_a_malformed_model_is_told_and_does_not_hide_the_others(folder: Path, changes: dict[str, object]) -> None:
    broken = write_model_folder(folder.parent / "broken", **changes)
    assert [info.name for info in available_models() if info.folder.parent == folder.parent] == ["test-model"]
    with pytest.raises(ModelError, match="malformed"):
        describe(broken)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": {"threshold": float("nan")}},
        {"decision": {"presence_threshold": 73}},
        {"decision": {"concept_thresholds": {"spinal_cord": -0.1}}},
        {"preprocessing": {"spacing_mm": 3.0, "hu_windows": [[1500, -1000]], "tile": [64, 64, 64]}},
        {"preprocessing": {"spacing_mm": 3.0, "hu_windows": [[-1000, 1500]], "tile": [64, 64, 64], "tile_overlap": 1}},
    ],
)
def test_numbers_that_would_find_nothing_are_refused(changes: dict[str, dict[str, object]]) -> None:
    """A structure for which no probability is enough would be "not in this scan"."""
    raw = ModelConfig().to_dict()
    assert ModelConfig.from_dict(raw) == ModelConfig()
    with pytest.raises(ValueError, match=r"no probability|makes? no sense"):
        ModelConfig.from_dict(raw | changes)


def test_a_folder_that_was_never_finished_is_no_model(folder: Path) -> None:
    write_model_folder(folder.parent / ".other.0123456789ab.part")
    assert [info.name for info in available_models() if info.folder.parent == folder.parent] == ["test-model"]


def test_a_configuration_nested_without_end_is_a_model_error(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ModelError, match="not valid JSON"):
        read_config(folder)


def test_several_model_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = write_model_folder(tmp_path / "more" / "second")
    separator = ";" if sys.platform == "win32" else ":"
    monkeypatch.setenv(MODELS_VARIABLE, f"{folder.parent}{separator}{second.parent}{separator}")
    assert {"test-model", "second"} <= {info.name for info in available_models()}


def test_large_files_are_hashed_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * (5 * checkpoints._CHUNK_BYTES // 256) + b"rest"
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_only_the_standard_library_is_needed() -> None:
    code = (
        "import sys; import OpenVocabCTLib.models.checkpoints;"
        "print(sorted({'numpy', 'torch', 'safetensors', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
