"""Install flow: what is needed, what is there, one question, then pip in small steps.

Example:
    installer = Installer(slicer_environment())
    readiness = installer.check()  # a few milliseconds
    if not readiness.ready and not readiness.problems and ask(readiness.question()):
        yield from installer.install(readiness.plan)
"""

from __future__ import annotations

from OpenVocabCTSlicer.installing.environment import Environment, slicer_environment, slicer_python
from OpenVocabCTSlicer.installing.installer import Installer, Readiness
from OpenVocabCTSlicer.installing.pip_output import InstallProgress
from OpenVocabCTSlicer.installing.plan import Plan

__all__ = [
    "Environment",
    "InstallProgress",
    "Installer",
    "Plan",
    "Readiness",
    "slicer_environment",
    "slicer_python",
]
