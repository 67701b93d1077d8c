"""Choices for a finished model: voxel thresholds on training patients, how sure it may be on validation patients."""

from __future__ import annotations

from openvocabct_training.calibration.command import calibrate
from openvocabct_training.calibration.thresholds import choose_thresholds

__all__ = ["calibrate", "choose_thresholds"]
