from __future__ import annotations

import numpy as np
import pytest

from openvocabct_training.evaluation.predictors import Query, SegmenterPredictor, load_predictor
from OpenVocabCTLib.errors import InputError
from Testing.openvocabct_lib.inference.phantoms import LEFT_HU, oblique_geometry, volume_on
from Testing.openvocabct_lib.inference.small_model import window_segmenter


def test_a_segmenter_answers_queries_in_their_order() -> None:
    segmenter = window_segmenter()
    volume = volume_on(oblique_geometry((10, -5, 20), (-1, 1, -1)))
    scan = SegmenterPredictor(segmenter, "window", "1").encode(volume)
    left, mandible, spleen, liver = scan.segment([Query(t) for t in ("L kidney", "mandible", "spleen", "liver")])
    assert left.found and left.mask is not None and liver.mask is not None
    assert left.mask.full().sum() > 0
    assert float(np.median(volume.array[left.mask.full()])) == LEFT_HU
    assert liver.mask.count > left.mask.count
    assert left.presence is not None and left.presence > 0.5
    # Refused without being judged; judged and not found.
    assert not mandible.found and mandible.presence is None
    assert not spleen.found and spleen.presence is not None and spleen.presence < 0.5


def test_held_out_structures_are_answered_from_their_words() -> None:
    segmenter = window_segmenter()
    scan = SegmenterPredictor(segmenter, "window", "1").encode(volume_on(oblique_geometry((0, 0, 0))))
    refused, free, known = scan.segment([Query("mandible"), Query("mandible", free=True), Query("left kidney")])
    assert not refused.found and refused.presence is None
    assert free.found and free.presence is not None
    assert known.found
    assert segmenter.model.calls > 0
    (sided,) = scan.segment([Query("left mandible", free=True)])
    assert sided.presence is not None
    calls = segmenter.model.calls
    scan.segment([Query("larynx", free=True)])
    assert segmenter.model.calls == calls  # the image pass is shared
    assert segmenter.questions.guarded  # users are


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("no_such_module:make", "there is no predictor"),
        ("openvocabct_training.evaluation.predictors:nothing", "there is no predictor"),
        ("openvocabct_training.evaluation.predictors", "package.module:function"),
        ("", "package.module:function"),
    ],
)
def test_bad_factories(factory: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_predictor(factory, None)


def test_a_factory_gets_the_model() -> None:
    assert load_predictor("builtins:repr", "folder") == "'folder'"
