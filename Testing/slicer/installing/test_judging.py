from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from OpenVocabCTLib.errors import Cancelled, InputError, ResourceError
from OpenVocabCTLib.worker.steps import run
from OpenVocabCTSlicer.installing import environment
from OpenVocabCTSlicer.installing.commands import Command, constraints
from OpenVocabCTSlicer.installing.consent import consent_text
from OpenVocabCTSlicer.installing.packages import canonical, leftovers
from OpenVocabCTSlicer.installing.pip_output import PipOutput, failure, without_credentials
from OpenVocabCTSlicer.installing.pip_settings import harmless, is_misled, read_settings
from OpenVocabCTSlicer.installing.plan import Plan
from OpenVocabCTSlicer.installing.preflight import GraphicsCard, gather, obstacles, parse_cards, remarks
from OpenVocabCTSlicer.installing.probe import PROGRAM
from OpenVocabCTSlicer.installing.process import pip_environment, run_python
from OpenVocabCTSlicer.installing.requirements import (
    BUNDLED,
    PACKAGES,
    TORCH,
    Package,
    package,
    packages_for,
    satisfies,
)
from OpenVocabCTSlicer.installing.slicer_packaging import install_by_slicer, wait_for_others
from Testing.slicer.installing.fake_python import facts_for

ROOT = Path(__file__).resolve().parents[3]
CARD = GraphicsCard("NVIDIA RTX", "551.61", 8000)


def library_requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {canonical(one.name): one for one in map(Requirement, project["dependencies"])}


MACHINES = [("Linux", "x86_64", "linux"), ("Windows", "AMD64", "win32"), ("Darwin", "arm64", "darwin")]


@pytest.mark.parametrize(("system", "machine", "platform"), [*MACHINES, ("Linux", "aarch64", "linux")])
def test_requirements_are_the_librarys_minus_what_slicer_brings(system: str, machine: str, platform: str) -> None:
    asked = {canonical(one.name): Requirement(one.requirement).specifier for one in packages_for(system, machine)}
    bundled = {canonical(name) for name in BUNDLED}
    here = {"platform_machine": machine, "sys_platform": platform}
    needed = {
        name: one.specifier
        for name, one in library_requirements().items()
        if name not in bundled and (one.marker is None or one.marker.evaluate(here))
    }
    assert asked == needed
    assert PACKAGES[0] == TORCH


def test_package_that_reports_over_the_network_is_never_brought() -> None:
    asked = [name for name, one in ((one.name, one) for one in PACKAGES) if not one.alone and "openvino" in name]
    assert asked == [] and package("openvino").alone


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_facts_about_packages_agree_with_what_is_installed_here(package: Package) -> None:
    metadata = importlib.metadata.metadata(package.name)
    stated = [metadata.get("License-Expression"), metadata.get("License"), *(metadata.get_all("Classifier") or [])]
    words = {"Apache-2.0": "Apache", "PSF-2.0": "Python Software Foundation", "BSD-3-Clause": "BSD-3-Clause"}
    assert any(words.get(package.licence, package.licence) in text for text in stated if text)
    files = importlib.metadata.files(package.name)
    assert files is not None
    assert set(package.files) <= {str(file) for file in files}
    assert sum(file.size or 0 for file in files) / 1e6 <= package.disk_mb


def test_longest_path_inside_the_packages_is_known() -> None:
    from OpenVocabCTSlicer.installing.preflight import LONGEST_PATH

    for one in PACKAGES:
        for file in importlib.metadata.files(one.name) or ():
            assert len(str(file)) <= LONGEST_PATH


def test_constraints_keep_slicers_versions_and_ignore_what_pip_cannot_read() -> None:
    text = constraints({"numpy": "2.0.2", "SimpleITK": "2.5.0-custom build", "torch": "2.9.0+cu126", "other": "1"})
    assert text.splitlines() == ["numpy==2.0.2", "torch==2.9.0+cu126"]


def test_consent_names_every_package_size_and_licence() -> None:
    text = consent_text(Plan(packages=PACKAGES, cuda=True), ("the driver is old",))
    for one in PACKAGES:
        line = next(line for line in text.splitlines() if line.startswith(f"- {one.name}:"))
        assert one.licence in line and "B" in line
    assert "6.5 GB" in text and "NVIDIA's own licence" in text and "The driver is old." in text
    offline = consent_text(Plan(packages=PACKAGES), wheel_folder=Path("wheels"))
    assert "without a network" in offline and "Download" not in offline and "NVIDIA" not in offline


def test_windows_paths_are_counted() -> None:
    long = Path("C:/" + "x" * 90)
    assert not obstacles(facts_for(Path("C:/short"), system="Windows", long_paths=False), 1, 1)
    assert not obstacles(facts_for(long, system="Windows", long_paths=True), 1, 1)
    (error,) = obstacles(facts_for(long, system="Windows", long_paths=False), 1, 1)
    assert "too long" in error.what


def test_remarks_tell_of_proxy_and_driver_but_never_the_password() -> None:
    facts = facts_for(Path(), proxies={"HTTPS_PROXY": "socks5://me:secret@proxy"}, card=GraphicsCard("old", "470.1", 9))
    text = " ".join(remarks(facts, online=True))
    assert "HTTPS_PROXY" in text and "SOCKS" in text and "470.1" in text and "secret" not in text
    assert remarks(facts_for(Path(), card=CARD), online=True) == ()
    assert "cpu" in remarks(facts_for(Path(), card=GraphicsCard("small", "551.61", 2000)), online=False)[0]


def test_graphics_cards_are_read() -> None:
    printed = "NVIDIA T400 4GB, 537.13, 4096\nNVIDIA A100, 80GB, 537.13, 81920\nbroken line\n"
    assert parse_cards(printed) == GraphicsCard("NVIDIA A100, 80GB", "537.13", 81920)
    assert not GraphicsCard("x", "[N/A]", 1).usable and CARD.usable


@given(st.text())
def test_any_output_of_the_driver_is_survived(text: str) -> None:
    card = parse_cards(text)
    assert card is None or card.memory_mb >= 0


@given(st.text(max_size=20))
def test_any_version_text_is_survived(text: str) -> None:
    assert satisfies(text, ">=2.4") in (True, False)


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("OSError: [Errno 28] No space left on device", ResourceError, "disk is full"),
        ("ERROR: Could not install: [WinError 5] Access is denied: 'c10.dll'", InputError, "in use"),
        ("ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", InputError, "certificate"),
        ("ProxyError('Cannot connect to proxy.')", InputError, "cannot be downloaded"),
        ("ERROR: ResolutionImpossible: for help visit", InputError, "do not fit"),
        ("ERROR: No matching distribution found for torch>=2.6", InputError, "there is no torch for"),
        ("ERROR: something else at https://me:secret@host/simple", InputError, "something else at https://host"),
    ],
)
def test_failures_are_one_sentence(line: str, kind: type[Exception], words: str) -> None:
    error = failure(["Collecting torch", line], offline=False)
    assert type(error) is kind and words in str(error) and "\n" not in str(error) and "secret" not in str(error)


def test_failure_without_output_is_a_sentence_too() -> None:
    assert "printed nothing" in str(failure([], offline=True))


@given(st.lists(st.text(max_size=80)))
def test_any_output_of_pip_is_survived(lines: list[str]) -> None:
    output = PipOutput("x")
    for line in lines:
        output.feed(line)
    assert str(failure(output.lines, offline=False))
    assert all("secret" not in without_credentials(f"https://user:secret@{word}/") for word in ("a", "b.c"))


def test_wheel_and_archive_names_become_package_names() -> None:
    output = PipOutput("x")
    assert output.feed("  Downloading torch-2.9.0-cp312-cp312-win_amd64.whl (114.0 MB)")
    assert output.progress.text == "torch"
    assert output.feed("Collecting typer>=0.29") and output.progress.text == "typer"


def test_remains_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("~umpy", "~orch", "~", "torchvision-1.dist-info", "torch-1.dist-info", "~oss"):
        (tmp_path / name).mkdir()
    (tmp_path / "torch-1.dist-info/RECORD").write_text("x,,\n", encoding="utf-8")
    assert [path.name for path in leftovers(PACKAGES, tmp_path)] == ["~orch"]
    assert leftovers(PACKAGES, tmp_path / "nowhere") == ()


def test_real_pip_that_finds_no_wheel_is_explained(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", str(tmp_path)]
    with pytest.raises(InputError, match="there is no no-such-package-of-ours for this computer's Python: add it"):
        run(run_python([*arguments, "no-such-package-of-ours"], {}, "x", lambda _line: None, offline=True))


def test_python_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(InputError, match="reinstall Slicer"):
        run(run_python(["/nowhere/PythonSlicer"], {}, "x", lambda _line: None))


def test_facts_of_this_machine_are_gathered(tmp_path: Path) -> None:
    facts = gather(tmp_path, tmp_path / "missing", {"https_proxy": "http://proxy", "HTTP_PROXY": ""})
    assert facts.writable and facts.free_mb is not None and facts.temporary_free_mb is None
    assert facts.proxies == {"HTTPS_PROXY": "http://proxy"}
    assert "pytest" in facts.loaded


class FakePackaging:
    """``slicer.packaging`` of Slicer 5.12: the same keywords, answers when `step` is called."""

    def __init__(self, code: int = 0, busy: int = 0) -> None:
        self.code = code
        self.busy = busy
        self.calls: list[dict[str, Any]] = []
        self._log: Callable[[str], None] | None = None
        self._done: Callable[[int], None] | None = None

    def isPipInstallInProgress(self) -> bool:  # noqa: N802 -- Slicer's name
        self.busy -= 1
        return self.busy >= 0

    def pip_install(
        self,
        requirements: list[str],
        constraints: str | None = None,
        no_deps_requirements: list[str] | None = None,
        skip_packages: list[str] | None = None,
        blocking: bool = True,
        show_progress: bool = True,
        requester: str | None = None,
        logCallback: Callable[[str], None] | None = None,
        completedCallback: Callable[[int], None] | None = None,
    ) -> None:
        assert not blocking and not show_progress and type(requirements) is list
        self.calls.append({"requirements": requirements, "constraints": constraints, "requester": requester})
        self._log, self._done = logCallback, completedCallback

    def end(self) -> None:
        assert self._log is not None and self._done is not None
        self._log("Collecting typer")
        self._log("ERROR: [Errno 28]" if self.code else "Successfully installed typer")
        self._done(self.code)


COMMAND = Command("pip", ("install", "typer>=0.29"), "typer")


def test_slicers_own_way_is_used_without_blocking(tmp_path: Path) -> None:
    packaging, lines = FakePackaging(), []
    steps = install_by_slicer(packaging, COMMAND, tmp_path / "c.txt", lines.append)
    assert [next(steps) for _number in range(3)][1:] == [None, None]
    packaging.end()
    run(steps)
    assert lines == ["Collecting typer", "Successfully installed typer"]
    assert packaging.calls == [
        {"requirements": ["typer>=0.29"], "constraints": str(tmp_path / "c.txt"), "requester": "OpenVocabCT"}
    ]


def test_slicers_own_way_reports_failures_and_finishes_before_cancelling(tmp_path: Path) -> None:
    packaging = FakePackaging(code=1)
    steps = install_by_slicer(packaging, COMMAND, tmp_path, lambda _line: None)
    next(steps)
    packaging.end()
    with pytest.raises(ResourceError):
        run(steps)
    packaging = FakePackaging()
    steps = install_by_slicer(packaging, COMMAND, tmp_path, lambda _line: None)
    next(steps)
    steps.throw(Cancelled("stopped", "x"))  # pip goes on: Slicer cannot stop it
    packaging.end()
    with pytest.raises(Cancelled):
        run(steps)


def test_other_extensions_are_waited_for() -> None:
    assert len(list(wait_for_others(FakePackaging(busy=3)))) == 3
    assert list(wait_for_others(None)) == []


def fake_application(testing: bool = False, no_window: bool = False) -> Any:
    return SimpleNamespace(
        testingEnabled=lambda: testing, commandOptions=lambda: SimpleNamespace(noMainWindow=no_window)
    )


@pytest.mark.parametrize(
    ("testing", "no_window", "used"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_slicers_own_way_only_where_its_callbacks_come(
    monkeypatch: pytest.MonkeyPatch, testing: bool, no_window: bool, used: bool
) -> None:
    packaging = FakePackaging()
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=fake_application(testing, no_window)))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/opt/{name}")
    found = environment.slicer_environment()
    assert found.python == ("/opt/PythonSlicer",)
    assert (found.packaging is packaging) is used


def test_pytorch_extension_is_asked_for_its_arguments_and_never_imports_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def arguments(backend: None, torch: str, vision: None) -> list[str]:
        assert backend is None and vision is None
        return ["install", f"torch{torch}", "torchvision"]

    logic = SimpleNamespace(_getPipInstallArguments=arguments)
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=fake_application()))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=logic))
    monkeypatch.setattr(environment.shutil, "which", lambda name: name)
    assert environment.slicer_environment().torch_arguments == ("install", "torch>=2.6", "torchvision")
    logic.__dict__.clear()  # a later version of that extension
    assert environment.slicer_environment().torch_arguments == ("install", "torch>=2.6", "torchvision")


def test_slicer_without_its_python_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=fake_application()))
    monkeypatch.setattr(environment.shutil, "which", lambda _name: None)
    with pytest.raises(InputError, match="PythonSlicer was not found"):
        environment.slicer_environment()


def test_the_probe_uses_the_text_encoder() -> None:
    """A torch that is too old for transformers imports well; only its use shows that it does not work."""
    old = (
        "import importlib.metadata as m\nreal = m.version\nm.version = lambda n: '2.5.1' if n == 'torch' else real(n)\n"
    )
    for before, works in (("", True), (old + "import torch\ntorch.__version__ = '2.5.1'\n", False)):
        result = subprocess.run([sys.executable, "-c", before + PROGRAM], capture_output=True, text=True, check=False)
        assert (result.returncode == 0) is works, result.stderr
        assert ("torch" in result.stdout) is works and (works or "PyTorch" in result.stderr)


def test_readme_downloads_what_is_asked_for() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for one in PACKAGES:
        assert f'"{one.requirement}"' in text


def test_a_torch_that_transformers_switches_off_is_outdated() -> None:
    assert not satisfies("2.5.1", TORCH.specifier) and satisfies("2.6.0+cu124", TORCH.specifier)
    assert library_requirements()["torch"].specifier == Requirement(TORCH.requirement).specifier


def test_folders_of_this_python_are_named_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = Path(environment.sysconfig.get_path("purelib"))
    link = tmp_path / "lib64"
    link.symlink_to(target)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(link), str(target), str(tmp_path), "nowhere"])
    assert environment.slicer_environment().folders == (tmp_path, link)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert environment.slicer_environment().folders == (target, tmp_path)


def wheel(folder: Path) -> None:
    """Write a package that pip can install."""
    info = "thing-1.0.dist-info"
    with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize(
    ("section", "line"),
    [("global", "target = {}"), ("install", "prefix = {}"), ("global", "root = {}"), ("install", "user = true")],
)
def test_real_pip_installs_where_python_looks(tmp_path: Path, section: str, line: str) -> None:
    config = tmp_path / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    # Where packages come from is the user's affair; where they go is not.
    found = f"[global]\nfind-links = {tmp_path}\nno-index = true\ndry-run = true\n"
    own = line.format(tmp_path / "elsewhere")
    config.write_text(found + (f"{own}\n" if section == "global" else f"[install]\n{own}\n"), encoding="utf-8")
    wheel(tmp_path)
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = str(tmp_path / "venv/bin/python")
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")}
    settings = read_settings(run(run_python((python, "-m", "pip", "config", "list"), environ, "", print)))
    assert settings["find-links"] == str(tmp_path)
    variables = pip_environment(environ, raw_progress=False, settings=settings)
    run(run_python((python, "-m", "pip", "install", "thing"), variables, "", print))
    assert list((tmp_path / "venv").glob("lib/python3*/site-packages/thing.py"))
    assert not (tmp_path / "elsewhere").exists()


def test_settings_of_pip_are_read_from_any_output() -> None:
    lines = ["install.target='/a'", "global.target='/b'", "global.x=oops", "nothing", ":env:.prefix='/c'", "list.y='1'"]
    assert read_settings(lines) == {"target": "/a"}
    assert is_misled({}, {"prefix": "/c"}) and is_misled({"Pip_User": "1"}, {}) and not is_misled({}, {"proxy": "x"})
    assert harmless({"Pip_User": "1", "PIP_INDEX_URL": "mine"}, {"index-url": "theirs", "root": "/r", "user": "1"}) == {
        **{"PIP_USER": "0", "PIP_DRY_RUN": "0", "PIP_REQUIRE_VIRTUALENV": "0"},
        **{"PIP_INDEX_URL": "mine", "PIP_CONFIG_FILE": os.devnull},
    }
