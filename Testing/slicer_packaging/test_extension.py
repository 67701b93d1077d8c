"""What the extension consists of: CMake lists, index entry, icon, licence, and what may be imported inside Slicer."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, MODULE = ROOT / "OpenVocabCTLib", ROOT / "OpenVocabCT"
# Key -> type, and whether it has to be there, as the Extensions Index's schema v1.0.2 says.
SCHEMA = {
    "$schema": (str, True),
    "category": (str, True),
    "scm_url": (str, True),
    "scm_revision": (str, False),
    "scm_type": (str, False),
    "build_dependencies": (list, False),
    "build_subdirectory": (str, False),
    "enabled": (bool, False),
    "tier": (int, False),
    "dicom_support_rule": (str, False),
}
ALLOWED_IN_SLICER = {
    *sys.stdlib_module_names,
    "winreg",
    "numpy",
    "vtk",
    "slicer",
    "qt",
    "ctk",
    "OpenVocabCTLib",
    "OpenVocabCTSlicer",
    "SegmentEditorOpenVocabCTLib",
    # Slicer's own base class of the effect.
    "SegmentEditorEffects",
}
HEAVY = ("torch", "transformers", "yaml", "SimpleITK", "pydicom", "scipy", "matplotlib", "typer", "nrrd")


def cmake_list(path: Path, name: str) -> list[str]:
    """Entries of one ``set(NAME ...)``."""
    found = re.search(rf"set\({name}\s+([^)]*)\)", path.read_text(encoding="utf-8"))
    assert found, f"{name} is not set in {path}"
    return found[1].split()


def tree(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.parametrize("folder", [LIBRARY, MODULE], ids=["library", "module"])
def test_cmake_packages_every_file(folder: Path) -> None:
    listed = cmake_list(folder / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS")
    resources = cmake_list(folder / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES")
    files = [path.relative_to(folder) for path in tree(folder) if path.name != "CMakeLists.txt"]
    packaged = {path.as_posix() for path in files if path.parts[0] != "Testing"}
    assert set(listed) | set(resources) == packaged
    assert listed == sorted(listed) and all(entry.endswith(".py") for entry in listed)
    assert resources == sorted(resources) and not any(entry.endswith(".py") for entry in resources)


def test_weights_and_vocabulary_are_packaged() -> None:
    resources = cmake_list(LIBRARY / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES")
    assert "prompts/structures.json" in resources
    assert any(entry.startswith("weights/") and entry.endswith("model.safetensors") for entry in resources)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not part of the test requirements")
def test_cmake_accepts_the_files_and_puts_the_library_beside_the_module(tmp_path: Path) -> None:
    """Configure with stand-ins for Slicer's macros that check their arguments and print where files go."""
    (tmp_path / "use.cmake").write_text(
        "set(BUILD_TESTING ON)\n"
        "macro(slicerMacroBuildScriptedModule)\n"
        '  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})\n'
        "  if(MY_UNPARSED_ARGUMENTS)\n    message(FATAL_ERROR unknown)\n  endif()\n"
        "  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})\n"
        "    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})\n      message(FATAL_ERROR ${file})\n    endif()\n"
        "  endforeach()\n"
        '  message(STATUS "built ${MY_NAME} subdirectory=${MY_WITH_SUBDIR} tests=${MY_WITH_GENERIC_TESTS}")\n'
        "endmacro()\n"
        "macro(slicer_add_python_unittest)\n"
        '  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})\n'
        "  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})\n    message(FATAL_ERROR ${MY_SCRIPT})\n  endif()\n"
        '  message(STATUS "tested ${MY_SCRIPT}")\n'
        "endmacro()\n",
        encoding="utf-8",
    )
    (tmp_path / "empty.cmake").write_text('message(STATUS "finished")\n', encoding="utf-8")
    (tmp_path / "SlicerConfig.cmake").write_text(
        "set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)\n"
        "set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)\n"
        "set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)\n",
        encoding="utf-8",
    )
    for compiler in ("C", "CXX"):  # none is needed here, and there may be none
        (tmp_path / f"{compiler}.cmake").write_text("", encoding="utf-8")
    arguments = ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), f"-DSlicer_DIR={tmp_path}"]
    arguments += [f"-DCMAKE_{compiler}_COMPILER_FORCED=ON" for compiler in ("C", "CXX")]
    arguments += [f"-DCMAKE_{compiler}_COMPILER={sys.executable}" for compiler in ("C", "CXX")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "built OpenVocabCTLib subdirectory=TRUE" in done.stdout
    assert "built OpenVocabCT subdirectory=FALSE tests=TRUE" in done.stdout
    assert "tested OpenVocabCT.py" in done.stdout and "tested OpenVocabCTInstalledTest.py" in done.stdout
    assert done.stdout.count("finished") == 2


def test_index_entry_follows_the_schema() -> None:
    entry = json.loads((ROOT / "OpenVocabCT.json").read_text(encoding="utf-8"))
    assert set(entry) <= set(SCHEMA)
    for key, (kind, required) in SCHEMA.items():
        assert not required or key in entry
        assert key not in entry or type(entry[key]) is kind
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= entry["tier"] <= 5
    assert entry["build_dependencies"] == ["PyTorch"]
    repository = Path(urlsplit(entry["scm_url"]).path).stem
    assert urlsplit(entry["scm_url"]).scheme in ("https", "git") and repository.startswith("Slicer")


def test_cmake_metadata_agrees_with_the_index_entry() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    entry = json.loads((ROOT / "OpenVocabCT.json").read_text(encoding="utf-8"))
    assert re.findall(r"project\s*\(\s*([^\s)]+)", text) == ["OpenVocabCT"]
    values = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', text))
    assert set(values) == {
        "HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"
    }  # fmt: skip
    assert values["CATEGORY"] == entry["category"] == "Segmentation"
    assert values["DEPENDS"].split() == entry["build_dependencies"]
    home = entry["scm_url"].removesuffix(".git")
    assert values["HOMEPAGE"] == home
    raw = home.replace("github.com", "raw.githubusercontent.com") + f"/{entry['scm_revision']}/"
    for url in (values["ICONURL"], *values["SCREENSHOTURLS"].split()):
        assert url.startswith(raw)
        assert (ROOT / url.removeprefix(raw)).is_file(), f"{url} does not lead to a file"


def test_icon_is_a_picture_of_128_by_128_with_transparency() -> None:
    data = (MODULE / "Resources/Icons/OpenVocabCT.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (width, height, depth, colour) == (128, 128, 8, 6)
    assert len(data) < 50_000


def test_licence_lies_in_the_root() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0" in text


def text_files() -> list[Path]:
    folders = (LIBRARY, MODULE)
    suffixes = (".py", ".ui", ".txt", ".md", ".yaml", ".json")
    files = [path for folder in folders for path in tree(folder) if path.suffix in suffixes]
    return [ROOT / "CMakeLists.txt", ROOT / "OpenVocabCT.json", *files]


def test_lines_end_with_lf_everywhere() -> None:
    assert [path.name for path in text_files() if b"\r" in path.read_bytes()] == []


def module_level_imports(path: Path) -> set[str]:
    """Top-level names that importing a file imports; bodies of functions and type checking are left out."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").split(".")[0])
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
                for field in ("body", "orelse", "finalbody"):
                    visit(getattr(node, field, []))
                for handler in getattr(node, "handlers", []):
                    visit(handler.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def test_reading_imports_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("try:\n    import torch.nn\nexcept ImportError:\n    import yaml\ndef f():\n    import scipy\n")
    assert module_level_imports(path) == {"torch", "yaml"}


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=lambda path: path.relative_to(MODULE).as_posix())
def test_module_files_import_only_what_slicer_has(path: Path) -> None:
    assert module_level_imports(path) - ALLOWED_IN_SLICER == set()


def test_what_slicer_imports_of_the_library_stays_light() -> None:
    """Import every client-side file of the library, and the install flow, as Slicer does; nothing heavy comes along."""
    names = set()
    for path in MODULE.rglob("*.py"):
        if "Testing" in path.relative_to(MODULE).parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("OpenVocabCTLib"):
                names.add(node.module)
    assert "OpenVocabCTLib.worker.steps" in names
    names.add("OpenVocabCTSlicer.installing")
    program = (
        f"import sys; sys.path[:0] = [{str(MODULE)!r}, {str(ROOT)!r}]\n"
        f"import importlib\nfor name in {sorted(map(str, names))!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_sample_data_is_slicers_chest_ct_with_its_hash() -> None:
    calls = []

    class Logic:
        @staticmethod
        def registerCustomSampleDataSource(  # noqa: N802 -- Slicer's name, and the arguments of Slicer 5.10
            category: str, sampleName: str, uris: str, fileNames: str, nodeNames: str, checksums: str
        ) -> None:
            calls.append({"category": category, "uris": uris, "checksums": checksums})

    sys.path.insert(0, str(MODULE))
    try:
        from OpenVocabCTSlicer.sample_data import register_sample_data
    finally:
        sys.path.remove(str(MODULE))
    register_sample_data(Logic)
    (values,) = calls
    assert values["checksums"] == f"SHA256:{values['uris'].rsplit('/', 1)[-1]}"
    assert re.fullmatch(r"SHA256:[0-9a-f]{64}", values["checksums"])
