"""Encoders of KerasHub fill masks in a SavedModel as they do in Python."""

import keras_hub
import numpy as np
import pytest
from graph_checks import check_saved_model
from served import serve
from stock_classifiers import (
    FAMILIES,
    LENGTH,
    stock_backbone,
    stock_classifier_tokenizer,
)
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.generation.filling import MaskFiller

TEXTS = [
    "the [MASK] of the union",
    "[MASK][MASK] people, [MASK]",
    "the war and peace",
    "people [MASK]!",
]


def stock_encoder(name, tokenizer=None):
    """A `keras_hub` encoder with random weights."""
    models = keras_hub.models
    tokenizer = tokenizer or stock_classifier_tokenizer(name)
    backbone = stock_backbone(name, tokenizer)
    preprocessor = getattr(models, f"{name}MaskedLMPreprocessor")(
        tokenizer, sequence_length=LENGTH
    )
    model = getattr(models, f"{name}MaskedLM")(
        backbone, preprocessor=preprocessor
    )
    randomize(model)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_it_fills_masks_as_in_python(name):
    model = stock_encoder(name)
    filler, served = MaskFiller(model), serve(model)
    found = served.call("fill", text=TEXTS)
    assert found["num_masks"] == [1, 3, 0, 1]
    for index, text in enumerate(TEXTS):
        if not (count := found["num_masks"][index]):
            continue
        [expected] = filler.fill([text])
        assert found["text"][index] == expected.text
        tokens, scores = (
            found[name][index][:count] for name in ("tokens", "scores")
        )
        assert tokens == [
            [each.token for each in mask] for mask in expected.masks
        ]
        np.testing.assert_allclose(
            scores,
            [[each.probability for each in mask] for mask in expected.masks],
            rtol=1e-3,
        )
    check_saved_model(served.folder)


def test_a_tokenizer_that_moves_its_ids_is_refused(tmp_path):
    class Moved(keras_hub.tokenizers.BertTokenizer):
        def tokenize(self, inputs):
            return super().tokenize(inputs) + 1

    words = stock_classifier_tokenizer("Bert").vocabulary
    model = stock_encoder("Bert", Moved(words))
    with pytest.raises(InputError, match="Moved cannot be exported: expected"):
        to_saved_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
