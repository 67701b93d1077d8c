"""The one question that is asked before anything is installed."""

from __future__ import annotations

from pathlib import Path

from OpenVocabCTSlicer.installing.plan import Plan
from OpenVocabCTSlicer.strings import _


def consent_text(plan: Plan, remarks: tuple[str, ...] = (), wheel_folder: Path | None = None) -> str:
    """Say what will be installed, how large it is and under which licences.

    Args:
        plan: what will be done.
        remarks: what else the user should know, one sentence each.
        wheel_folder: packages come from there; None: they are downloaded.

    Returns:
        Plain text for a message box.
    """
    lines: list[str | None] = [_("OpenVocabCT needs Python packages that are not part of Slicer:"), ""]
    for package in plan.packages:
        lines.append(
            _("- {name}: {purpose}, about {size}, licence {licence}").format(
                name=package.name,
                purpose=package.purpose,
                size=size_text(plan.sizes(package)[1]),
                licence=package.licence,
            )
        )
    lines += [f"- {name}" for name in plan.bundled]
    lines += [
        "",
        _("They bring what they need in turn, under MIT, BSD, Apache-2.0, MPL-2.0, PSF or similar licences."),
        _("PyTorch for NVIDIA cards also contains CUDA, under NVIDIA's own licence.")
        if plan.cuda and plan.torch
        else None,
        _origin(plan, wheel_folder),
        _("What Slicer brings itself (such as numpy, scipy, SimpleITK) stays as it is."),
    ]
    for state in plan.broken:
        lines.append(
            _("{name} was installed only in part ({reason}) and is installed anew.").format(
                name=state.package.name, reason=state.reason
            )
        )
    if plan.remove:
        lines.append(
            _("Remains of an interrupted installation are deleted: {names}.").format(
                names=", ".join(path.name for path in plan.remove)
            )
        )
    lines += [f"{remark[:1].upper()}{remark[1:]}." for remark in remarks]
    lines += ["", _("Install them into Slicer's Python now?")]
    return "\n".join(line for line in lines if line is not None)


def _origin(plan: Plan, wheel_folder: Path | None) -> str:
    space = size_text(plan.disk_mb)
    if wheel_folder is not None:
        return _("Taken from a folder on this computer, without a network; {space} of disk space.").format(space=space)
    return _("Download about {download}, disk space about {space}.").format(
        download=size_text(plan.download_mb), space=space
    )


def size_text(megabytes: int) -> str:
    """Return a size for people, such as "95 MB" or "2.5 GB"."""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
