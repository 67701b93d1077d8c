"""The command lines of an installation, as data: what runs can be tested without running it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from OpenVocabCTSlicer.installing.plan import Plan
from OpenVocabCTSlicer.installing.requirements import KEPT, TORCH, Package

LIGHT_THE_TORCH = "light-the-torch>=0.5"


@dataclass(frozen=True)
class Command:
    """One run of Python.

    Attributes:
        module: what ``-m`` runs, "pip" or "light_the_torch".
        arguments: its arguments.
        title: what is going on, for the progress bar.
        constrained: whether the versions of what is there already are to be kept.
        keeps_torch: whether that goes for torch too; not for the commands that install it.
    """

    module: str
    arguments: tuple[str, ...]
    title: str
    constrained: bool = True
    keeps_torch: bool = True

    @property
    def installs(self) -> bool:
        """Whether this is an ordinary ``pip install``."""
        return self.module == "pip" and self.arguments[:1] == ("install",)


def commands(
    plan: Plan, wheel_folder: Path | None = None, torch_arguments: Sequence[str] | None = None, have_light: bool = False
) -> tuple[Command, ...]:
    """Turn a plan into command lines.

    Args:
        plan: what has to be done.
        wheel_folder: take packages from there and use no network; None: download them.
        torch_arguments: how the PyTorch extension installs torch (arguments of ``light_the_torch``, which chooses the
            build for the graphics driver); None without that extension.
        have_light: whether light-the-torch is installed.

    Returns:
        The commands in the order in which they run: torch first, so that nothing else decides its version.
    """
    source = () if wheel_folder is None else ("--no-index", "--find-links", str(wheel_folder))
    lines = [_uninstall(state.package.name for state in plan.broken)] if plan.broken else []
    if plan.torch:
        if torch_arguments is not None and wheel_folder is None:
            if not have_light:
                lines.append(Command("pip", ("install", LIGHT_THE_TORCH), "light-the-torch"))
            lines.append(Command("light_the_torch", tuple(torch_arguments), TORCH.name, keeps_torch=False))
        else:
            lines.append(Command("pip", ("install", TORCH.requirement, *source), TORCH.name, keeps_torch=False))
    alone = [package for package in plan.packages if package.alone]
    if alone:
        lines.append(Command("pip", ("install", "--no-deps", *_requirements(alone), *source), _names(alone)))
    others = [package for package in plan.packages if package != TORCH and not package.alone]
    if others or plan.bundled:
        arguments = ("install", *_requirements(others), *plan.bundled, *source)
        lines.append(Command("pip", arguments, ", ".join(filter(None, (_names(others), *plan.bundled)))))
    return tuple(lines)


def _uninstall(names: Iterable[str]) -> Command:
    # Not --force-reinstall: it would also reinstall what other extensions share.
    return Command("pip", ("uninstall", "--yes", *names), "pip", constrained=False)


def _requirements(packages: Iterable[Package]) -> tuple[str, ...]:
    return tuple(package.requirement for package in packages)


def _names(packages: Iterable[Package]) -> str:
    return ", ".join(package.name for package in packages)


def constraints(versions: Mapping[str, str]) -> str:
    """Return pip constraints that keep what Slicer brings, and torch, at exactly the versions that are there.

    These are no versions of ours: without this, a new package may pull a newer numpy over the one that Slicer was
    built with, and Slicer does not start any more.

    Args:
        versions: installed versions by distribution name.
    """
    kept = (*KEPT, TORCH.name)
    return "".join(f"{name}=={versions[name]}\n" for name in kept if _is_version(versions.get(name, "")))


def _is_version(text: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return False
    return True
