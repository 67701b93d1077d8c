"""Calibration of a finished model: how sure it may be that a structure is in a scan, chosen on validation patients."""

from __future__ import annotations

from openvocabct_training.calibration.command import calibrate

__all__ = ["calibrate"]
