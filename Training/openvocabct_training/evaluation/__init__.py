"""Evaluation of anything that segments from prompts: accuracy, open vocabulary, robustness and cost.

`cases` says what is evaluated, `predictors` against what, `suites` how, and `run` puts them together.
"""

from openvocabct_training.evaluation.compare import compare
from openvocabct_training.evaluation.curves import curves
from openvocabct_training.evaluation.metrics import dice
from openvocabct_training.evaluation.run import Options, evaluate, summarise
from openvocabct_training.evaluation.wordings import ABSENT_IN_HEAD_AND_NECK, NONSENSE, PARAPHRASES

__all__ = [
    "ABSENT_IN_HEAD_AND_NECK",
    "NONSENSE",
    "PARAPHRASES",
    "Options",
    "compare",
    "curves",
    "dice",
    "evaluate",
    "summarise",
]
