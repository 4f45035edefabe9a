"""The recipe `classic-gru` is the recurrent model of the tutorials."""

import warnings

import keras
import numpy as np
import pytest
from testing import randomize, tiny_tokenizer

from keras_llm.models import (
    ScratchTextClassifier,
    build_model,
    load_preset,
    save_preset,
)
from keras_llm.recipes import load_recipe

IDS = np.random.default_rng(0).integers(5, 300, (3, 7)).astype("int32")
INPUTS = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}


@pytest.fixture(scope="module")
def model():
    settings = load_recipe("classic-gru", {"model.hidden_dim": 16}).model
    model = build_model(settings, tiny_tokenizer())
    randomize(model.backbone)
    return model


def tutorial(model, kernel, bias, sequences):
    """Keras's own layers, with the weights of the model."""
    width, size = model.backbone.hidden_dim, model.backbone.vocabulary_size
    plain = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(size, width),
            keras.layers.GRU(width, return_sequences=sequences),
            keras.layers.Dense(kernel.shape[1]),
        ]
    )
    layer = model.backbone.blocks[0].mixer
    biases = [layer.input_projection.bias, layer.cell.recurrent.bias]
    plain.set_weights(
        [
            model.backbone.token_embedding.embeddings,
            layer.input_projection.kernel,
            layer.cell.recurrent.kernel,
            np.stack([np.asarray(each) for each in biases]),
            kernel,
            bias,
        ]
    )
    return plain


def test_it_is_embedding_gru_and_linear_of_keras(model):
    embedding = model.backbone.embedding
    kernel = embedding.token_embedding.reverse_embeddings
    plain = tutorial(model, kernel, embedding.output_bias, True)
    assert model.count_params() == plain.count_params()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = np.asarray(model(INPUTS))
    np.testing.assert_allclose(found, plain(IDS), rtol=1e-4, atol=1e-5)
    # The tutorials' look at the last step only.
    last = tutorial(model, kernel, embedding.output_bias, False)
    np.testing.assert_allclose(found[:, -1], last(IDS), rtol=1e-4, atol=1e-5)


def test_it_is_saved_and_generates_as_any_other(model, tmp_path):
    expected = np.asarray(model(INPUTS))
    cache = model.backbone.initial_cache(3, 7)
    for t in range(7):
        index = np.full(3, t, "int32")
        token = IDS[:, t : t + 1]
        logits, _, cache = model.call_with_cache(token, cache, index)
        np.testing.assert_allclose(
            logits[:, 0], expected[:, t], rtol=1e-4, atol=1e-5
        )
    model.compile(sampler="greedy", jit_compile=False)
    assert model.generate("the people", max_length=16).startswith("the people")
    save_preset(model, tmp_path / "preset")
    loaded = load_preset(tmp_path / "preset")
    np.testing.assert_array_equal(loaded(INPUTS), expected)


def test_a_classifier_of_it_is_linear_on_the_last_state(model):
    classifier = ScratchTextClassifier(model.backbone, 3, dropout=0.0)
    randomize(classifier.head)
    plain = tutorial(model, classifier.head.kernel, np.zeros(3), False)
    expected = keras.ops.softmax(plain(IDS))
    np.testing.assert_allclose(
        classifier(INPUTS), expected, rtol=1e-4, atol=1e-6
    )
