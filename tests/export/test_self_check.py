"""An export whose graph does not answer as its model does is refused."""

import keras_hub
import numpy as np
import pytest
from stock_models import stock_model
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.export.parts import graph_of
from keras_llm.export.self_check import check_answers
from keras_llm.recipes.settings import GenerationSettings


def graph(model):
    return graph_of(model, GenerationSettings(), 0, None, False)[0]


@pytest.mark.slow  # an export
def test_gpt_neox_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="GPTNeoXCausalLM cannot be exported"):
        to_saved_model(stock_model("GPTNeoX"), tmp_path / "saved" / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def gpt2():
    model = stock_model("GPT2")
    return model, graph(model)


@pytest.mark.slow
def test_the_graph_of_a_right_model_passes(gpt2):
    check_answers(*gpt2)


def test_prompts_have_different_lengths_and_whole_answers(gpt2):
    (one, first), (other, second) = gpt2[1].greedy_tokens(
        ["The", "the people of"], 5
    )
    assert 0 < len(one) < len(other)
    assert 0 < len(first) <= 5 and 0 < len(second) <= 5


def test_another_weight_is_seen(gpt2):
    model, exported = gpt2
    weight = model.backbone.transformer_layers[1].weights[0]
    before = weight.numpy()
    # The graph was asked with other weights than the model is.
    asked = exported.greedy_tokens(["The", "the people of the union"], 8)
    try:
        weight.assign(
            before + np.random.default_rng(0).normal(size=before.shape)
        )
        stale = type("Stale", (), {"greedy_tokens": lambda *_: asked})()
        with pytest.raises(InputError, match="cached decoding does not"):
            check_answers(model, stale)
    finally:
        weight.assign(before)


@pytest.mark.slow  # an export
def test_near_ties_are_no_difference():
    model = stock_model("GPT2")
    backbone = keras_hub.models.GPT2Backbone.from_config(
        model.backbone.get_config()
    )
    randomize(backbone, deviation=0.5)
    # Pairs of tokens that differ in the last bits alone.
    embeddings = backbone.token_embedding.embeddings
    values = embeddings.numpy()
    pairs = np.repeat(values[::2], 2, axis=0)[: len(values)]
    pairs[1::2] += 1e-7
    embeddings.assign(pairs)
    twin = keras_hub.models.GPT2CausalLM(
        backbone=backbone, preprocessor=model.preprocessor
    )
    check_answers(twin, graph(twin))
