"""Systems to compare with, trained on the same patches with the same losses for the same number of steps."""

from openvocabct_training.baselines.fixed_classes import DynUNetSegmentation, SwinUNETRSegmentation
from openvocabct_training.baselines.loading import BASELINES, load_baseline
from openvocabct_training.baselines.predictor import Predictor
from openvocabct_training.baselines.universal_model import UniversalModelSegmentation
from openvocabct_training.baselines.visual_prompt import VisualPromptSegmentation

__all__ = [
    "BASELINES",
    "DynUNetSegmentation",
    "Predictor",
    "SwinUNETRSegmentation",
    "UniversalModelSegmentation",
    "VisualPromptSegmentation",
    "load_baseline",
]
