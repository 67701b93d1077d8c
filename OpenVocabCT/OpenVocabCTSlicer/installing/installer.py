"""Checks what is there and installs what is not, in small steps, after the user agreed."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTLib.errors import InputError, OpenVocabCTError
from OpenVocabCTLib.worker.steps import Progress, Steps
from OpenVocabCTSlicer.installing.commands import Command, commands, constraints
from OpenVocabCTSlicer.installing.consent import consent_text
from OpenVocabCTSlicer.installing.environment import Environment, start_quietly
from OpenVocabCTSlicer.installing.packages import Installed, inspect, installed_version, leftovers, look
from OpenVocabCTSlicer.installing.pip_settings import is_misled, read_settings
from OpenVocabCTSlicer.installing.plan import Plan, make_plan
from OpenVocabCTSlicer.installing.preflight import Facts, GraphicsCard, obstacles, parse_cards, remarks
from OpenVocabCTSlicer.installing.probe import probe
from OpenVocabCTSlicer.installing.process import pip_environment, run_python
from OpenVocabCTSlicer.installing.requirements import BUNDLED, KEPT, TORCH, Package, packages_for, satisfies
from OpenVocabCTSlicer.installing.slicer_packaging import install_by_slicer, wait_for_others
from OpenVocabCTSlicer.strings import _

_LOG_LINES = 2000
_CARD_SECONDS = 5.0


@dataclass(frozen=True)
class Readiness:
    """Whether the engine can run here, and what it takes.

    Attributes:
        ready: everything is installed.
        problems: what makes an installation fail, one sentence each; empty when it can go on.
        plan: what is installed once the user agrees; empty when ready.
        remarks: what the user should know, one sentence each.
    """

    ready: bool
    problems: tuple[str, ...]
    plan: Plan
    remarks: tuple[str, ...] = ()

    def question(self, wheel_folder: Path | None = None) -> str:
        """Return the text of the one question to the user: packages, sizes, licences."""
        return consent_text(self.plan, self.remarks, wheel_folder)


class Installer:
    """Installs what the engine needs into one Python.

    Args:
        environment: that Python; `slicer_environment()` in Slicer.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._card: GraphicsCard | None = None
        self._card_known = False
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._pip_settings: dict[str, str] = {}

    @property
    def log(self) -> str:
        """What pip printed, without passwords, for the report."""
        return "\n".join(self._log)

    def check(self) -> Readiness:
        """Judge from metadata and the most important files; takes a few milliseconds and starts nothing."""
        # Another extension, or pip in a terminal, may have installed something since.
        importlib.invalidate_caches()
        return self._readiness([look(package, self._environment.folders) for package in self._packages()])

    def examine(self) -> Steps[Readiness]:
        """Like `check`, and ask the graphics driver, which sizes and remarks depend on."""
        yield from self._find_card()
        return self.check()

    def inspect(self) -> Steps[Readiness]:
        """Like `examine`, and compare every file with its record: for a worker that does not start."""
        yield from self._find_card()
        importlib.invalidate_caches()
        found = []
        packages = self._packages()
        for number, package in enumerate(packages):
            yield Progress("starting", number, len(packages))
            found.append((yield from inspect(package, self._environment.folders)))
        return self._readiness(found)

    def install(self, plan: Plan, wheel_folder: Path | None = None) -> Steps[Readiness]:
        """Do what a plan says; ask the user before (`Readiness.question`).

        Args:
            plan: from `check`, `examine` or `inspect`.
            wheel_folder: a folder of wheels to use instead of a network.

        Returns:
            How things are afterwards: ready.

        Raises:
            InputError, ResourceError: it cannot be or was not installed; one sentence says why.
            Cancelled: thrown into the steps.
        """
        self._refuse(plan, wheel_folder)
        for path in plan.remove:
            _remove(path, self._environment.target)
            yield None
        environment = self._environment
        have_light = installed_version("light-the-torch", environment.folders) is not None
        yield from self._read_pip_settings()
        for command in commands(plan, wheel_folder, environment.torch_arguments, have_light):
            yield from wait_for_others(environment.packaging)
            yield from self._run(command, offline=wheel_folder is not None)
        return (yield from self._confirm())

    def _run(self, command: Command, offline: bool) -> Steps[None]:
        environment = self._environment
        importlib.invalidate_caches()
        # Written anew each time: torch belongs to it once it is there.
        with tempfile.TemporaryDirectory(prefix="openvocabct-") as folder:
            kept = Path(folder) / "constraints.txt"
            kept.write_text(constraints(self._kept_versions(command.keeps_torch)), encoding="utf-8")
            self._log.append(f"> {command.module} {' '.join(command.arguments)}")
            if self._goes_by_slicer(command):
                yield from install_by_slicer(environment.packaging, command, kept, self._log.append, offline=offline)
                return
            limits = ("-c", str(kept)) if command.constrained else ()
            arguments = (*environment.python, "-m", command.module, *command.arguments, *limits)
            variables = pip_environment(environment.environ, self._raw_progress(), self._pip_settings)
            yield from run_python(arguments, variables, command.title, self._log.append, offline=offline)

    def _goes_by_slicer(self, command: Command) -> bool:
        environment = self._environment
        # torch goes through our own process: a download of gigabytes must be possible to cancel.  Slicer's own way
        # obeys the user's settings.
        plain = command.installs and command.keeps_torch and not is_misled(environment.environ, self._pip_settings)
        return environment.packaging is not None and plain

    def _read_pip_settings(self) -> Steps[None]:
        arguments = (*self._environment.python, "-m", "pip", "config", "list")
        try:
            # Never logged: addresses of package indexes hold passwords.
            lines = yield from run_python(arguments, self._environment.environ, "pip", lambda line: None)
        except InputError:
            return  # what is wrong with pip is said by the command that matters
        self._pip_settings = read_settings(lines)

    def _confirm(self) -> Steps[Readiness]:
        after = self.check()
        if not after.ready:
            names = ", ".join(package.name for package in after.plan.packages)
            raise InputError(
                _("pip reported success, but {names} cannot be used").format(names=names),
                _("restart Slicer and press Apply again"),
            )
        try:
            yield from probe(self._environment, self._log.append)
        except OpenVocabCTError:
            # A file that is missing is a better reason than the error that its absence causes.
            found = yield from self.inspect()
            for state in found.plan.broken:
                raise InputError(
                    _("{name} is damaged ({reason})").format(name=state.package.name, reason=state.reason),
                    _("press Apply again to repair it"),
                ) from None
            raise
        return after

    def _readiness(self, found: Iterable[Installed]) -> Readiness:
        environment = self._environment
        facts = environment.facts(self._card)
        plan = make_plan(
            found,
            bundled=[name for name, file in BUNDLED.items() if not self._has(file)],
            remove=leftovers(packages_for(facts.system, facts.machine), environment.target),
            cuda=self._expects_cuda(facts),
        )
        if plan.empty:
            return Readiness(True, (), plan)
        problems = (*obstacles(facts, plan.download_mb, plan.disk_mb), *_in_use(plan, facts))
        return Readiness(False, tuple(map(str, problems)), plan, remarks(facts, online=True))

    def _packages(self) -> tuple[Package, ...]:
        facts = self._environment.facts(self._card)
        return packages_for(facts.system, facts.machine)

    def _expects_cuda(self, facts: Facts) -> bool:
        # Without the PyTorch extension, pip's own choice for Linux contains CUDA; for other systems it does not.
        if facts.system == "Linux" and self._environment.torch_arguments is None:
            return facts.machine == "x86_64"
        return self._card is not None and self._card.usable

    def _refuse(self, plan: Plan, wheel_folder: Path | None) -> None:
        if wheel_folder is not None and not any(wheel_folder.glob("*.whl")):
            raise InputError(
                _("the folder holds no wheels (*.whl)"), _("choose the folder with the downloaded packages")
            )
        facts = self._environment.facts(self._card)
        download_mb = plan.download_mb if wheel_folder is None else 0
        for problem in (*obstacles(facts, download_mb, plan.disk_mb), *_in_use(plan, facts)):
            raise problem

    def _has(self, file: str) -> bool:
        return any((folder / file).exists() for folder in self._environment.folders)

    def _kept_versions(self, with_torch: bool) -> dict[str, str]:
        names = (*KEPT, TORCH.name) if with_torch else KEPT
        found = {name: installed_version(name, self._environment.folders) for name in names}
        return {name: version for name, version in found.items() if version is not None}

    def _raw_progress(self) -> bool:
        return satisfies(installed_version("pip", self._environment.folders) or "", ">=24.1")

    def _find_card(self) -> Steps[None]:
        if self._card_known:
            return
        self._card_known = True
        process = start_quietly(self._environment.find_card)
        if process is None:
            return
        deadline = time.monotonic() + _CARD_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                yield None
            # A few lines: they fit into the pipe, so reading does not block once the program has ended.
            if process.returncode == 0 and process.stdout is not None:
                self._card = parse_cards(process.stdout.read().decode("utf-8", errors="replace"))
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()


def _in_use(plan: Plan, facts: Facts) -> tuple[OpenVocabCTError, ...]:
    """Files that this process has loaded cannot be replaced (Windows), or would be mixed with new ones."""
    used = [package.name for package in plan.packages if not facts.loaded.isdisjoint(package.modules)]
    if not used:
        return ()
    what = _("{names} is in use by another module").format(names=", ".join(used))
    return (InputError(what, _("restart Slicer and press Apply before anything else")),)


def _remove(path: Path, folder: Path) -> None:
    # Only what lies directly in the package folder: a plan is data and could say anything.
    if path.parent != folder or path.is_symlink():
        raise InputError(_("a path outside of Slicer's Python folder was to be removed"), _("report this"))
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
