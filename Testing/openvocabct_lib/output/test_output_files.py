"""Where files may go, and that they are either complete or not there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from OpenVocabCTLib.errors import InputError, ResourceError
from OpenVocabCTLib.output import Segmentation, check_output
from OpenVocabCTLib.output.atomic import replacing
from OpenVocabCTLib.output.formats import DICOM_SUFFIXES, LABEL_MAP_SUFFIXES, SEG_NRRD, SEGMENTATION_SUFFIXES
from Testing.openvocabct_lib.output.output_cases import grid, segmentation

WRITERS: dict[str, Callable[[Segmentation, Path], None]] = {
    **dict.fromkeys((SEG_NRRD, *LABEL_MAP_SUFFIXES), lambda result, path: result.write(path, overlap="first")),
    ".csv": lambda result, path: result.write_statistics(path),
    ".png": lambda result, path: result.write_preview(path),
}


def noise() -> Segmentation:
    """A segmentation that does not compress, with more prompts than fit into a small table."""
    random = np.random.default_rng(0)
    masks: dict[str, np.ndarray | None] = {f"spot {n}": None for n in range(8)}
    masks["noise"] = random.random((16, 24, 24)) > 0.5
    return segmentation(masks, grid(shape=(16, 24, 24)), reason="no room")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let files grow to `size` bytes only, which writers meet like a full disk."""
    if os.name != "posix":
        pytest.skip("limits of the size of a file are a POSIX facility")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_full_disk_is_said_and_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    with file_size_limit(500), pytest.raises(ResourceError) as raised:
        WRITERS[suffix](noise(), tmp_path / f"out{suffix}")
    assert str(raised.value).count(f"out{suffix}") == 1
    assert ".part" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_the_last_moment(
    suffix: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"full.*free some disk space"):
        WRITERS[suffix](noise(), target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), MemoryError()])
def test_any_failure_leaves_nothing_and_is_passed_on(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_success_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    target.write_text("old")
    with replacing(target, ".nii.gz") as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links as on POSIX")
def test_colleagues_can_read_it_and_links_are_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    mask = os.umask(0o022)
    try:
        with replacing(link) as temporary:
            temporary.write_text("new")
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o644


def test_long_names_are_no_problem(tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 120 + ".csv")
    with replacing(target) as temporary:
        temporary.write_text("x")
    assert target.exists()


@pytest.mark.parametrize("suffix", SEGMENTATION_SUFFIXES)
@pytest.mark.parametrize("change", [str, str.upper])
def test_known_suffixes_are_accepted(suffix: str, change: Callable[[str], str], tmp_path: Path) -> None:
    assert check_output(tmp_path / f"patient.1.{change(suffix)}") == suffix
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", (SEG_NRRD, *LABEL_MAP_SUFFIXES))
def test_upper_case_suffixes_are_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"OUT{suffix.upper()}"
    noise().write(path, overlap="first")
    assert path.stat().st_size > 0


@pytest.mark.parametrize("name", ["out.txt", "out", "out.gz", "out.nii.bz2", ".nii.gz", "out.stl"])
def test_unknown_suffixes_are_refused_with_a_list(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.seg\.nrrd, \.nii\.gz, \.nii, \.nrrd, \.mha"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("suffix", DICOM_SUFFIXES)
def test_dicom_of_a_ct_that_is_none_is_refused_with_what_to_do_instead(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"read from DICOM: write \.seg\.nrrd"):
        noise().write(tmp_path / f"out{suffix}")
    assert not list(tmp_path.iterdir())


def test_tables_and_pictures_have_their_own_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv"):
        noise().write_statistics(tmp_path / "table.xlsx")
    with pytest.raises(InputError, match=r"\.png"):
        noise().write_preview(tmp_path / "picture.jpg")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'missing' of out.nii does not exist: create it"):
        check_output(tmp_path / "missing" / "out.nii")


def test_a_file_in_place_of_the_folder_and_the_reverse_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        check_output(tmp_path / "file" / "out.nii")
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path / "folder.nii")


def test_a_name_that_the_disk_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        check_output(tmp_path / ("x" * 300 + ".nii"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of any bytes")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Copied from a disk with Latin-1 names; SimpleITK ends the whole process on them."""
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        for suffix in LABEL_MAP_SUFFIXES:
            with pytest.raises(InputError, match="is not in UTF-8"):
                check_output(place / f"out{suffix}")
        assert check_output(place / "out.seg.nrrd") == ".seg.nrrd"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"Permission denied.*permissions"):
        check_output(tmp_path / "out.nii")
    with pytest.raises(InputError, match="Permission denied"):
        noise().write_statistics(tmp_path / "out.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="permissions"):
            check_output(tmp_path / "out.nii")
    finally:
        tmp_path.chmod(0o755)


def test_what_is_there_is_left_alone_by_the_check(tmp_path: Path) -> None:
    target = tmp_path / "out.nii"
    target.write_text("precious")
    check_output(target)
    assert target.read_text() == "precious"
