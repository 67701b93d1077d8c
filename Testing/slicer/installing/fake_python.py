"""A package folder built by code, and a stand-in for Slicer's Python whose pip writes into it; no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenVocabCTSlicer.installing.environment import Environment
from OpenVocabCTSlicer.installing.preflight import Facts
from OpenVocabCTSlicer.installing.requirements import BUNDLED, KEPT, PACKAGES, Package

GOOD = {package.name: package.specifier.strip("=>") for package in PACKAGES}
SCRIPT = Path(__file__).with_name("pip_stand_in.py")


def write_package(folder: Path, name: str, version: str, files: Sequence[str]) -> Path:
    """Write files, metadata and record as pip does; returns the metadata folder."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    rows = []
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
        rows.append(f"{file},sha256=unchecked,{path.stat().st_size}")
    rows += [f"{info.name}/METADATA,,1", "../../bin/tool,,10", f"{info.name}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return info


def write_ours(folder: Path, package: Package, version: str | None = None) -> Path:
    """Write one of our packages in a good version."""
    return write_package(folder, package.name, version or GOOD[package.name], package.files)


def write_slicers(folder: Path) -> None:
    """Write what Slicer brings itself."""
    for name in KEPT:
        write_package(folder, name, "1.2.3", [BUNDLED.get(name, f"{name.replace('-', '_')}.py")])


def facts_for(folder: Path, **changes: Any) -> Facts:
    """A machine on which everything works."""
    facts = Facts(
        python=(3, 12),
        system="Linux",
        machine="x86_64",
        folder=folder,
        writable=True,
        free_mb=100_000,
        temporary_free_mb=100_000,
    )
    return replace(facts, **changes)


class FakeSlicer:
    """Package folder, environment and the commands that were run."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site-packages"
        self.site.mkdir()
        write_slicers(self.site)
        self._folder = folder
        self._record = folder / "commands.jsonl"

    def environment(self, facts: Mapping[str, Any] | None = None, behaviour: str = "", **changes: Any) -> Environment:
        """Describe this Slicer; `behaviour` is what its pip does wrong."""
        environ = {
            "STAND_IN_SITE": str(self.site),
            "STAND_IN_RECORD": str(self._record),
            "STAND_IN_BEHAVIOUR": behaviour,
            "PIP_USER": "1",
        }
        environment = Environment(
            python=(sys.executable, str(SCRIPT)),
            folders=(self.site,),
            target=self.site,
            environ=environ,
            facts=lambda card: facts_for(self.site, card=card, **(facts or {})),
            find_card=("a-program-that-does-not-exist",),
        )
        return replace(environment, **changes)

    @property
    def commands(self) -> list[dict[str, Any]]:
        """What pip was asked to do: arguments, constraints, environment."""
        if not self._record.exists():
            return []
        return [json.loads(line) for line in self._record.read_text(encoding="utf-8").splitlines()]
